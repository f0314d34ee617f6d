"""The documentation: every public name is in it, and examples of docstrings are shown as such."""

import ast
import re
from pathlib import Path

import pytest

import pyseminorm

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyseminorm"
ERRORS = {name for name in pyseminorm.__all__ if name.endswith(("Error", "Warning"))} | {"LastGoodState"}  # one module


def test_every_public_name_is_described():
    shown = set(re.findall(r"^::: pyseminorm\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE))
    assert shown == set(pyseminorm.__all__) - ERRORS | {"errors"}


def examples():
    """Docstrings that have some, by the names of what they describe."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            described = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            docstring = (ast.get_docstring(node) if described else None) or ""
            if ">>>" in docstring:
                found[f"{file.stem}.{getattr(node, 'name', '')}"] = docstring
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_section(name):
    """Elsewhere it would be shown as quoted text, with its lines run together."""
    lines = EXAMPLES[name].splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.lstrip().startswith(">>>"):
            assert line.startswith("    ") and (before.strip() == "Examples:" or before.startswith("    "))


@pytest.mark.capture
def test_examples_of_the_page_on_compiled_fields_run(capsys):
    """One after the other, as a reader would type them; on the engine that this machine has."""
    page = (ROOT / "docs" / "compiling.md").read_text()
    blocks = [b for b in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "basicConfig" not in b]
    exec(compile("\n".join(blocks), "docs/compiling.md", "exec"), {})
    assert "disagrees with func" in capsys.readouterr().out


def test_the_example_of_the_page_on_events_runs(capsys):
    page = (ROOT / "docs" / "events.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(block, "docs/events.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[1.428, 3.712, 5.54]\n")
