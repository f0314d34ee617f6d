"""Numbers from records: reductions, qualities, ratios of times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .contenders import picked_by_auto
from .pairs import TASKS
from .record import Record


@dataclass(frozen=True)
class Quality:
    """Final quality over seeds; the deviation is that of a sample, None for a single seed."""

    mean: float
    deviation: float | None

    def agrees_with(self, other: Quality) -> bool | None:
        """Whether the means differ by at most the larger standard deviation; None where there is none."""
        if self.deviation is None or other.deviation is None:
            return None
        return abs(self.mean - other.mean) <= max(self.deviation, other.deviation)


class Results:
    """All records, asked by pair and contender; failed trainings count nowhere but in `failures`."""

    def __init__(self, records: Iterable[Record]) -> None:
        everything = list(records)
        self.failures = [record for record in everything if record.failure]
        self.records = [record for record in everything if not record.failure]
        order = {task.name: i for i, task in enumerate(TASKS)}
        found = {(order[r.settings["task"]], -r.settings["rtol"], r.pair) for r in self.records}
        self.pairs = [pair for _, _, pair in sorted(found)]

    def of(self, pair: str, contender: str) -> dict[int, Record]:
        """The records of a contender by seed."""
        return {r.seed: r for r in self.records if (r.pair, r.contender) == (pair, contender)}

    def mean(self, pair: str, contender: str, column: str) -> float | None:
        """Mean over seeds of a column's total."""
        totals = [record.total(column) for record in self.of(pair, contender).values()]
        return statistics.mean(totals) if totals else None

    def ratio(self, pair: str, contender: str, usual: str, column: str) -> float | None:
        """The column's total over that of the ``usual`` contender, over the seeds that both have."""
        new, old = self.of(pair, contender), self.of(pair, usual)
        seeds = new.keys() & old.keys()
        base = sum(old[seed].total(column) for seed in seeds)
        return sum(new[seed].total(column) for seed in seeds) / base if base else None

    def reduction(self, pair: str, contender: str, usual: str) -> float | None:
        """The share of backward evaluations that is saved."""
        ratio = self.ratio(pair, contender, usual, "backward_evaluations")
        return None if ratio is None else 1 - ratio

    def quality(self, pair: str, contender: str) -> Quality | None:
        """Final quality of a contender."""
        found = [r.final_quality for r in self.of(pair, contender).values()]
        values = [quality for quality in found if quality is not None]
        if not values:
            return None
        return Quality(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)

    def same_quality(self, pair: str, contender: str, usual: str) -> bool | None:
        """Whether two contenders end within one standard deviation of each other."""
        new, old = self.quality(pair, contender), self.quality(pair, usual)
        return None if new is None or old is None else new.agrees_with(old)

    def gradient_errors(self, pair: str, contender: str) -> list[float | None]:
        """Relative errors at the start, in the middle and at the end, as far as recorded; None where a pass failed."""
        return [
            e.error for r in self.records if r.pair == pair for e in r.gradients if e.contender == contender
        ]  # fmt: skip

    def picked_by_auto(self, pair: str) -> str:
        """The contender that ``adjoint="auto"`` is for this pair."""
        record = next(r for r in self.records if r.pair == pair)
        return picked_by_auto(record.state, record.parameters)


def spread(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Median, least and largest of what is known.

    >>> spread([0.5, None, 0.1, 0.3])
    (0.3, 0.1, 0.5)
    """
    known = [value for value in values if value is not None]
    return (statistics.median(known), min(known), max(known)) if known else None
