"""The report of the comparison of speed: bars, records, the page."""

import re
from dataclasses import asdict

import pytest

pytest.importorskip("matplotlib", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

from speed_cases import ROOT, ROWS, record_with, row
from typer.testing import CliRunner

from benchmarks.speed import bars, modes, report
from benchmarks.speed.__main__ import app
from benchmarks.speed.peers import torch_packages
from benchmarks.speed.records import load

RESULTS = ROOT / "benchmarks" / "results" / "speed"


needs_results = pytest.mark.skipif(not RESULTS.exists(), reason="the results are in a checkout only")


def test_bars_compare_at_equal_or_smaller_error():
    rows = [
        *ROWS,
        row("torchode a", 0.16, 1e-5),
        row(torch_packages.ADJOINT, 0.6, 2e-5),
        row(f"{torch_packages.ADJOINT}, import changed", 0.15, 3e-5, package=torch_packages.IMPORTED),
    ]
    found = {title: cells[0] for title, cells in bars.verdicts(record_with(rows)).items()}
    ratios = [found[bar.title].found for bar in bars.BARS]
    # None of ours is guarded; of diffrax the fastest is b, whose error is met at 1e-2
    assert ratios == [pytest.approx(20.0), None, *map(pytest.approx, (8.0, 0.5, 20.0, 4.0, 0.5, 4.0))]
    assert [found[bar.title].met for bar in bars.BARS] == [False, None, False, False, False, False, True, True]


def test_the_explicit_object_is_not_guarded():
    ours = {"backend": "torch", "method": "tsit5", "adjoint": "Discrete"}
    rows = [
        row(f"torch+{how} Discrete tsit5", seconds, 1e-5, 1e-3, compile=how, **ours)
        for how, seconds in (("trace", 0.016), (modes.COMPILED, 0.008))
    ]
    found = bars.verdicts(record_with([*ROWS, *rows]))
    assert found[bars.GUARDED.title][0].found == pytest.approx(50)
    assert found[bars.BEST.title][0].found == pytest.approx(100)


def test_a_bar_says_what_it_is_without_a_warm_start():
    ours = {"backend": "torch", "method": "tsit5", "adjoint": "Discrete", "compile": modes.COMPILED}
    rows = [
        row(f"torch+compiled Discrete tsit5 {start}", seconds, 1e-5, 1e-3, start=start, **ours)
        for start, seconds in (("warm", 0.004), ("", 0.008))
    ]
    record = record_with([*ROWS, *rows])
    best = bars.verdicts(record)[bars.BEST.title][0]
    assert (best.found, best.cold) == pytest.approx((200, 100))
    assert "| 200 (≥ 200; 100 without a warm start) |" in report.text(record)


def test_the_other_bars_read_their_sections():
    settings = {"backend": "torch", "compile": "", "adjoint": "Backsolve"}
    record = record_with(
        ROWS,
        overhead=[{"case": "case2", "settings": settings, "ratio": 1.25}],
        outputs=[{"settings": {**settings, "adjoint": "Discrete"}, "ratio": 1.2}],
        memory=[{"backend": "torch", "adjoint": "Gauss", "parameter_bytes": 4e7, "backward_bytes": 1e8}],
    )
    cells = next(cells for title, cells in bars.verdicts(record).items() if "torch engine, BacksolveAdjoint" in title)
    assert [(c.found, c.met) for c in cells] == [(None, None), (1.25, True), (None, None), (None, None)]
    assert [(cell.found, cell.met) for _, cell in bars.further(record)] == [(1.2, False), (2.5, True)]


def test_a_record_comes_back_from_its_file(tmp_path):
    record = record_with(ROWS)
    record.save(tmp_path / "one-thread.json")
    assert asdict(load(tmp_path / "one-thread.json")) == asdict(record)
    assert [p.name for p in tmp_path.iterdir()] == ["one-thread.json"]


def test_the_report_has_tables_bars_notes_and_plots(tmp_path):
    record_with(ROWS).save(tmp_path / "results" / "one-thread.json")
    to = tmp_path / "docs" / "performance.md"
    done = CliRunner().invoke(app, ["report", str(tmp_path / "results"), "--to", str(to)])
    assert done.exit_code == 0, done.output
    text = to.read_text()
    assert '| best mode over torchdiffeq "seminorm" | 20 (≥ 200, **not met**) | – (≥ 20) |' in text
    assert "no Julia here" in text and "torch Gauss tsit5 at 1e-02: UnsupportedError: not this" in text
    assert "| diffrax a | 30 | 1.0e-06 | none reaches it |" in text
    assert "](performance/case1-1-threads.png)" in text
    assert {f.name for f in (to.parent / "performance").iterdir()} == {"case1-1-threads.png"}
    tables = [line.count("|") for line in text.splitlines() if line.startswith("| torch Disc")]
    assert tables and len(set(tables)) == 1


@needs_results
def test_the_page_is_what_the_records_say():
    page = re.sub(r"!\[.*\n\n", "", (ROOT / "docs" / "performance.md").read_text())
    for file in RESULTS.glob("*.json"):
        assert report.text(load(file)).strip() in page, f"make docs/performance.md again: {file.name} has changed"


def test_a_report_of_nothing_says_so(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 1 and "has no *.json" in done.output
