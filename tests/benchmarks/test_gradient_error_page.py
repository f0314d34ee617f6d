"""docs/gradient-error.md states what benchmarks/results/gradient-error says."""

import re
from pathlib import Path

import pytest

pytest.importorskip("aeon", reason="the extra benchmarks is not installed")
study = pytest.importorskip("benchmarks.studies.gradient_error")

PAGE = Path("docs/gradient-error.md")
pytestmark = pytest.mark.skipif(not study.RECORD.exists(), reason="the results are in a checkout only")


@pytest.fixture(scope="module")
def rows():
    return [row for section in study.SECTIONS for row in study.recorded(section) if row.estimate is not None]


def number(pattern):
    (found,) = re.findall(pattern, " ".join(PAGE.read_text().split()))
    return int(found.replace(",", ""))


def test_the_tables_are_those_of_the_records():
    for table in (study.table(), study.control_table()):
        assert table in PAGE.read_text(), "run `python -m benchmarks.studies.gradient_error report`, and read the page"


def test_no_warning_is_false_and_none_is_missing(rows):
    small, large = (
        [row.warned for row in rows if inside(row.true)] for inside in (lambda x: x < 0.05, lambda x: x > 0.3)
    )
    assert len(small) == number(r"it never was \(of ([\d,]+) with an estimate\)") and not any(small)
    assert len(large) == number(r"and always \(of (\d+)\)") and all(large)


def test_what_control_leaves_is_counted():
    passes = [
        row
        for section in ("fields", "others", "unseen")
        for row in study.recorded(section)
        if row.adjoint != "discrete"
    ]
    assert len(passes) == number(r"Of ([\d,]+) passes of the oscillating fields")
    assert sum(row.controlled > 3e-2 for row in passes) == number(r"of the oscillating fields (\d+) stay above 3 %")
