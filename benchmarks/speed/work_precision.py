"""Work at equal error: the ladder of tolerances, its first rung that meets a peer's error, and ratios of medians."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .contender import OURS
from .records import CaseRecord, Row

COMPARED = 1e-5  # rtol and atol of every peer
LADDER = tuple(10.0 ** -(1 + i / 2) for i in range(17))  # half decades from 1e-1 to 1e-9

Rung = TypeVar("Rung")


def descend(
    attempt: Callable[[float], Rung | None], error: Callable[[Rung], float], target: float,
    ladder: Sequence[float] = LADDER,
) -> list[Rung]:  # fmt: skip
    """The rungs from the top until one has an error <= ``target``, or until an attempt gives None."""
    visited: list[Rung] = []
    for tolerance in ladder:
        rung = attempt(tolerance)
        if rung is None:
            break
        visited.append(rung)
        if error(rung) <= target:
            break
    return visited


def first_rung(rows: Iterable[Row], target: float) -> Row | None:
    """The row of the largest tolerance among those with an error <= ``target``."""
    return max((row for row in rows if row.error <= target), key=lambda row: row.tolerance, default=None)


@dataclass(frozen=True)
class Match:
    """One of our modes at the rung that meets the error of a peer; ``ratio``: how many times faster it is."""

    peer: Row
    ours: Row

    @property
    def ratio(self) -> float:
        assert self.peer.median is not None and self.ours.median is not None
        return self.peer.median / self.ours.median


def modes_of(record: CaseRecord) -> dict[str, list[Row]]:
    """The rows of every mode of ours, by its name."""
    found: dict[str, list[Row]] = {}
    for row in record.rows:
        if row.package == OURS:
            found.setdefault(row.contender, []).append(row)
    return found


def compared(record: CaseRecord) -> list[Row]:
    """The timed rows of peers at the compared tolerance, fastest first."""
    rows = [r for r in record.rows if r.package != OURS and r.tolerance == COMPARED and r.seconds]
    return sorted(rows, key=lambda row: row.median or 0.0)


def matches(record: CaseRecord, peer: Row, wanted: Callable[[Row], bool] = lambda _: True) -> list[Match]:
    """Our modes at the error of ``peer`` or below, fastest first; those that do not reach it have no match."""
    rungs = (first_rung(rows, peer.error) for rows in modes_of(record).values())
    found = [Match(peer, row) for row in rungs if row is not None and row.seconds and wanted(row)]
    return sorted(found, key=lambda match: -match.ratio)
