"""The README's figures, made from the recorded results.

    python -m benchmarks.readme

writes them between the two marks in README.md; a test compares.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .paper.record import read_records
from .paper.summary import Results, spread
from .speed.bars import BEST, EMBEDDED, OVER_DIFFRAX, Bar
from .speed.cases import Case
from .speed.records import CaseRecord, Record, load

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
SECTION = re.compile(
    r"(?<=<!-- figures: made by `python -m benchmarks.readme` from benchmarks/results -->\n).*?(?=<!-- /)", re.S
)


def figures() -> str:
    """Return the section: training steps beside other packages, and what the seminorm saves in whole trainings."""
    steps = _steps(load(RESULTS / "speed" / "one-thread.json"))
    return f"{steps}\n\n{_trainings(Results(read_records(RESULTS / 'paper')))}\n"


def _steps(record: Record) -> str:
    processor = record.machine["processor"].split(" (")[0]
    says = f"""Training steps (forward and backward) of a tanh network in float32 on one core of an {processor}, at
    equal or smaller gradient error: another package's time, and how many times faster the fastest mode of pyseminorm
    is; in parentheses with a [`WarmStart`](docs/warm-start.md), which begins each solve with the step of the one
    before."""
    head = ("network, batch, outputs", "torchdiffeq, seminorm", "embedded engine", "with Julia", "diffrax, its fastest")
    rows = [_row(case) for case in record.cases if case.case["bar"]]
    return "\n".join([_filled(says), "", _line([*head, "with Julia"]), "|---" + "|---:" * 5 + "|", *rows])


def _row(case: CaseRecord) -> str:
    title = Case(**case.case).title
    beside_torchdiffeq = [_time(BEST, case), _faster(EMBEDDED, case), _faster(BEST, case)]
    return _line([title, *beside_torchdiffeq, _time(OVER_DIFFRAX, case), _faster(OVER_DIFFRAX, case)])


def _time(bar: Bar, case: CaseRecord) -> str:
    match = bar.match(case)
    return "–" if match is None or match.peer.median is None else f"{1e3 * match.peer.median:.3g} ms"


def _faster(bar: Bar, case: CaseRecord) -> str:
    cold, warm = bar.match(case, warm=False), bar.match(case)
    if cold is None or warm is None:
        return "–"
    return f"{cold.ratio:.3g}×" + (f" ({warm.ratio:.3g}×)" if warm.ratio > cold.ratio else "")


def _trainings(results: Results) -> str:
    def times(name: str) -> str:
        found = spread([results.ratio(pair, name, "package-default", "cpu_seconds") for pair in results.pairs])
        return "–" if found is None else f"{found[0]:.2f} (best {found[1]:.2f}, worst {found[2]:.2f})"

    saved = spread([results.reduction(pair, "norm-seminorm", "norm-torchdiffeq") for pair in results.pairs])
    assert saved is not None
    median, worst, best = (f"{round(100 * share)} %" for share in saved)
    return _filled(f"""The paper's claim, measured on {len(results.pairs)} pairs of task and tolerance (Neural CDEs, a
    latent ODE, flows, mechanics): the seminorm saves a median of {median} of the backward evaluations (best {best},
    worst {worst}). Whole trainings with `BacksolveAdjoint()` on the embedded engine take, of the time that torchdiffeq
    takes with its default norm, a median of {times("backsolve")}, and with `compile="trace"` of {times("traced")}.""")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120)


def write(readme: Path) -> None:
    """Write the section anew."""
    text, count = SECTION.subn(figures(), readme.read_text())
    assert count == 1, f"{readme} has no marks for the figures"
    readme.write_text(text)


if __name__ == "__main__":
    write(ROOT / "README.md")
