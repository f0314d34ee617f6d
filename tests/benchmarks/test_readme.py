"""The README: its figures are the recorded ones, its links lead somewhere, its commands and its example run."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyseminorm.cli import app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.skipif(not (ROOT / "benchmarks" / "results").exists(), reason="the results are in a checkout only")
def test_the_figures_are_those_of_the_recorded_results():
    from benchmarks.readme import SECTION, figures

    (section,) = SECTION.findall(TEXT)
    assert section == figures(), "run `python -m benchmarks.readme`"


def test_no_figure_stands_outside_of_that_section():
    outside = re.sub(r"<!-- figures.*<!-- /figures -->", "", TEXT, flags=re.DOTALL)
    assert not re.findall(r"[\d.]+ ?(?:×|%|ms\b)", outside)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT))))
def test_a_link_leads_to_a_file(link):
    assert (ROOT / link).exists()


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.count("PassStats") == 2


@pytest.mark.parametrize("command", sorted(set(re.findall(r"pyseminorm (?:setup|demo|crosscheck|profile)\b", TEXT))))
def test_a_command_exists(command):
    done = CliRunner().invoke(app, [*shlex.split(command)[1:], "--help"])
    assert done.exit_code == 0, done.output


def test_the_test_command_is_marked_for_ci():
    marked = re.search(r"<!-- tests -->\n```sh\n(.*)\n```", TEXT)
    assert marked and marked[1].endswith("&& pytest -n 2")


def test_the_requirements_are_those_of_the_package_and_of_the_workflow():
    project = (ROOT / "pyproject.toml").read_text()
    (python,) = re.findall(r'^requires-python = ">=(.+)"', project, flags=re.MULTILINE)
    (lowest,) = re.findall(r'"torch>=(.+)"', project)
    assert f"Python {python} or newer and PyTorch {lowest} or newer" in TEXT
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert f"'torch=={lowest}.0'" in workflow and f'python: ["{python}", ' in workflow
