"""The page on the paper's tasks, from records alone."""

import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("aeon", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

from typer.testing import CliRunner

from benchmarks.paper.__main__ import app
from benchmarks.paper.contenders import CONTENDERS
from benchmarks.paper.page import write_page
from benchmarks.paper.pairs import pairs
from benchmarks.paper.record import path_of, settings_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def tiny(tmp_path):
    """Records of two pairs and two seeds, made by hand: the seminorm saves 75 % and 0 %."""
    chosen = [*pairs("pendulum"), *pairs("moons")]
    for pair, saved in zip(chosen, (0.75, 0.0), strict=True):
        for contender in CONTENDERS:
            for seed in range(2):
                evaluations = 1000 if "seminorm" not in contender.name else round(1000 * (1 - saved))
                made = {"loss": 1.0, "forward_evaluations": 10, "backward_evaluations": evaluations}
                made |= {"forward_rejected": 0, "backward_rejected": 3, "seconds": 2.0, "cpu_seconds": 1.0}
                if contender.name == "package-default":
                    made |= {"seconds": 4.0, "cpu_seconds": 4.0}
                record = {
                    "pair": pair.name, "contender": contender.name, "seed": seed, "backend": "torch",
                    "settings": settings_of(pair), "versions": {"machine": "test"}, "quality_name": "test quality",
                    "state": 10, "parameters": 100, "epochs": [made], "quality": {str(pair.epochs): 1.0 + seed},
                    "gradients": [], "samples": [], "failure": "",
                }  # fmt: skip
                path = path_of(tmp_path, pair.name, contender.name, "torch", seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(record))
    return tmp_path


def test_the_page_has_every_pair_the_median_and_its_plots(tiny):
    page = tiny / "docs" / "results.md"
    done = CliRunner().invoke(app, ["--out", str(tiny), "--report", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "| pendulum-1e-04-1e-04 | 1,000 | 1,000 | 250 | 75 % | 75 % |" in text
    assert "| moons-1e-05-1e-05 | 1,000 | 1,000 | 1,000 | 0 % | 0 % |" in text
    assert "median 38 %, best 75 %, worst 0 %" in text and "within one standard deviation in 2 of 2 pairs" in text
    assert (
        "1.5 ± 0.71" in text and "| **median** |  | 0.25 |" in text and "| **median of wall times** |  | 0.50 |" in text
    )
    for picture in ("reductions", "times", "training"):
        assert (tiny / "docs" / "results" / f"{picture}.png").stat().st_size > 5000


ROOT = Path(__file__).parents[2]


RECORDS = ROOT / "benchmarks" / "results" / "paper"


def test_the_page_links_the_reading_beside_it(tiny):
    link = "(reading.md)"
    page = tiny / "docs" / "results.md"
    write_page(tiny, page)
    assert link not in page.read_text()
    page.with_name("reading.md").write_text("# Reading the results\n")
    write_page(tiny, page)
    assert link in page.read_text()


@pytest.mark.skipif(not RECORDS.exists(), reason="the records are in a checkout only")
def test_the_reading_is_of_the_records_that_are_there():
    files = sorted(RECORDS.rglob("*.json"), key=lambda path: path.relative_to(RECORDS).as_posix())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    text = (ROOT / "docs" / "reading.md").read_text()
    assert digest in text, f"records changed: read docs/results.md again, then docs/reading.md and README.md ({digest})"


def test_a_page_of_two_engines_is_refused(tiny):
    path = next(tiny.glob("trainings/*/gauss-torch-0.json"))
    other = json.loads(path.read_text()) | {"backend": "julia"}
    path.with_name("gauss-julia-0.json").write_text(json.dumps(other))
    done = CliRunner().invoke(app, ["--out", str(tiny), "--report", str(tiny / "page.md")])
    assert done.exit_code == 1 and "engines julia, torch" in done.output


def test_a_page_of_nothing_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["--out", str(tmp_path), "--report", str(tmp_path / "page.md")])
    assert done.exit_code == 1 and "holds no records" in done.output
