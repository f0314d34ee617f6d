"""The examples learn what they say they learn."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _run(name, capsys):
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
@pytest.mark.capture
def test_a_neural_cde_tells_spirals_apart(capsys):
    assert int(re.search(r"right (\d+)%", _run("neural_cde.py", capsys)[-1])[1]) > 95


@pytest.mark.slow
@pytest.mark.capture
def test_a_flow_learns_two_moons(capsys):
    assert int(_run("density.py", capsys)[-1].split("%")[0]) > 80


@pytest.mark.parametrize("page", ["controlled", "flows"])
def test_the_pages_about_kinds_of_equations_run(page):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), flags=re.DOTALL)
    exec(compile(block, f"docs/{page}.md", "exec"), {})
