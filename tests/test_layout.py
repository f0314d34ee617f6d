"""The floor plan: a room uses rooms below its own only, no module hides a public name, functions are small."""

import ast
import statistics
from pathlib import Path

import pytest

import pyseminorm

PACKAGE = Path(pyseminorm.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the lowest floor to the highest; a module is on the floor of its longest prefix here.
FLOORS = (
    (
        "errors",
        "retcode",
        "stats",
        "host_copies",
        "imports",
        "arguments",
        "norms",
        "stepping",
        "grids",
        "adjoints",
        "events",
        "version",
    ),
    ("torch_internals",),
    ("problem",),
    ("methods",),
    ("graphs",),
    ("passes",),
    ("engines.torch",),
    ("engines.julia.session",),
    ("engines.julia.calls",),
    ("engines.julia.native",),
    ("engines.julia", "engines"),
    (
        "compiled",
        "julia_function",
        "paths",
        "cnf",
        "profiling",
        "segments",
        "solution",
        "solving",
        "crosschecking",
        "torchdiffeq",
    ),
    ("",),
    ("demo",),
    ("cli",),
)
FLOOR = {prefix: floor for floor, prefixes in enumerate(FLOORS) for prefix in prefixes}


def _module(file: Path) -> str:
    """The dotted name of a file inside the package."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _floor(module: str) -> int:
    parts = module.split(".")
    return next(FLOOR[name] for n in range(len(parts), -1, -1) if (name := ".".join(parts[:n])) in FLOOR)


def _imports(file: Path) -> list[str]:
    """The modules of the package that a file imports, anywhere in it."""
    package = ["pyseminorm", *file.relative_to(PACKAGE).parent.parts]
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        start = package[: len(package) - node.level + 1] if node.level else []
        source = [*start, *(node.module.split(".") if node.module else [])]
        if source[:1] == ["pyseminorm"]:
            found += [_existing([*source[1:], name.name]) for name in node.names]
    return found


def _existing(parts: list[str]) -> str:
    """The module that a name is, or that holds it."""
    path = PACKAGE.joinpath(*parts)
    return ".".join(parts if path.is_dir() or path.with_suffix(".py").is_file() else parts[:-1])


@pytest.mark.parametrize("file", FILES, ids=_module)
def test_no_room_imports_upwards(file):
    here = _floor(_module(file))
    assert [name for name in _imports(file) if _floor(name) > here] == []


def test_rooms_make_no_circle():
    """Modules of one floor may use each other, but not in a circle."""
    uses = {_module(file): set(_imports(file)) for file in FILES}
    done: set[str] = set()
    while ready := {name for name in uses.keys() - done if uses[name] <= done | {name}}:
        done |= ready
    assert uses.keys() - done == set()


def test_no_module_hides_a_public_name():
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert modules & set(pyseminorm.__all__) == set()


def _functions(file: Path) -> list[tuple[str, int]]:
    """The functions of a file with their lines of code, without docstrings and the functions inside."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            inner = [x for x in ast.walk(node) if isinstance(x, ast.FunctionDef) and x is not node]
            found.append((node.name, lines - sum(x.end_lineno - x.lineno + 1 for x in inner)))
    return found


def test_files_and_functions_are_small():
    lengths = {_module(file): len(file.read_text().splitlines()) for file in FILES}
    assert {name: n for name, n in lengths.items() if n > 450 and name != "methods.tableaus"} == {}
    sizes = [lines for file in FILES for _, lines in _functions(file)]
    assert statistics.quantiles(sizes, n=10)[-1] <= 16
