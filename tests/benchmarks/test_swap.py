"""`python -m benchmarks.peers.swap`: it measures both packages, and docs/migrating.md states what was recorded."""

import pytest

pytest.importorskip("torchdiffeq")
pytest.importorskip("aeon")
pytestmark = pytest.mark.peer("torchdiffeq")
swap = pytest.importorskip("benchmarks.peers.swap")


@pytest.mark.skipif(not swap.RECORD.exists(), reason="the results are in a checkout only")
def test_the_page_states_the_record():
    (section,) = swap.SECTION.findall(swap.PAGE.read_text())
    assert section == swap.report(swap.load(swap.RECORD)), "run `python -m benchmarks.peers.swap --record`"


def test_a_case_is_measured_with_both_packages():
    row = swap.measure("case1", repeats=1)
    for interface in swap.INTERFACES:
        assert {package: len(seconds) for package, seconds in row[interface].items()} == dict.fromkeys(swap.PACKAGES, 1)
    assert swap.line(row).startswith("| 2-16-16-2, batch 1, 10 outputs | ")
