"""The floor plan of the laboratory: it uses the package and not the other way round, and its modules make no circle."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (ROOT / "benchmarks").rglob("*.py")
}


def imports(file):
    """Every module, and every name of one, that a file imports anywhere in it."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*start, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{name.name}" for name in node.names))


def test_the_package_does_not_use_the_laboratory():
    package = list((ROOT / "pyseminorm").rglob("*.py"))
    assert package and not [f for f in package if any(name.split(".")[0] == "benchmarks" for name in imports(f))]


def test_modules_make_no_circle():
    uses = {name: {used for used in imports(file) if used in FILES and used != name} for name, file in FILES.items()}
    assert "benchmarks.paper.experiment" in uses["benchmarks.paper.tasks.flow"]
    done = set()
    while ready := {name for name in uses.keys() - done if uses[name] <= done}:
        done |= ready
    assert uses.keys() - done == set()
