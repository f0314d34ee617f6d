"""What is asked of pyseminorm, as ratios in one run on one thread, and what a record has for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .contender import OURS
from .peers.torch_packages import ADJOINT, IMPORTED, SEMINORM
from .records import CaseRecord, Record, Row
from .work_precision import Match, compared, matches

DIFFRAX, TORCHODE = "diffrax", "torchode"


@dataclass(frozen=True)
class Bar:
    """Our fastest mode of a kind over a peer, at equal or smaller gradient error; ``asked``: for cases 1 to 4."""

    title: str
    peer: Callable[[Row], bool]
    ours: Callable[[Row], bool]
    asked: tuple[float, ...]

    def match(self, record: CaseRecord, *, warm: bool = True) -> Match | None:
        """The fastest peer of this kind, and our fastest mode at its error (``warm``: those with a `WarmStart` too);
        None where one is missing.
        """
        peer = next((row for row in compared(record) if self.peer(row)), None)
        found = (
            [] if peer is None else matches(record, peer, lambda row: self.ours(row) and (warm or not _is_warm(row)))
        )
        return next(iter(found), None)


@dataclass(frozen=True)
class ImportBar(Bar):
    """The same call of another package, at the same tolerances, over the peer."""

    def match(self, record: CaseRecord, *, warm: bool = True) -> Match | None:
        peer = next((row for row in compared(record) if self.peer(row)), None)
        ours = next((row for row in compared(record) if self.ours(row)), None)
        return None if peer is None or ours is None else Match(peer, ours)


def _is_warm(row: Row) -> bool:
    return row.settings.get("start") == "warm"


def _is_seminorm(row: Row) -> bool:
    return row.contender == SEMINORM


def _any(row: Row) -> bool:
    return row.package == OURS


def _backsolve(row: Row) -> bool:
    return row.settings["adjoint"] == "Backsolve"


def _guarded(row: Row) -> bool:
    return row.settings["compile"] in ("trace", "julia")


def _is_of(package: str) -> Callable[[Row], bool]:
    return lambda row: row.package == package


def _embedded(row: Row) -> bool:
    return row.settings["backend"] == "torch"


BEST = Bar('best mode over torchdiffeq "seminorm"', _is_seminorm, _any, (200, 20, 7, 2.3))
BACKSOLVE = Bar('BacksolveAdjoint, best mode, over torchdiffeq "seminorm"', _is_seminorm, _backsolve, (80, 4, 2, 2))
GUARDED = Bar('compile= in solve, best mode, over torchdiffeq "seminorm"', _is_seminorm, _guarded, (150, 20, 7, 2.3))
EMBEDDED = Bar('torch engine, best mode, over torchdiffeq "seminorm"', _is_seminorm, _embedded, (80, 35, 20, 4))
OVER_DIFFRAX = Bar("best mode over diffrax's best", _is_of(DIFFRAX), _any, (1.1, 1, 1, 1))
EMBEDDED_OVER_TORCHODE = Bar(
    "torch engine, best mode, over torchode's best", _is_of(TORCHODE), _embedded, (8, 4, 3, 1.5)
)
EMBEDDED_OVER_DIFFRAX = Bar(
    "torch engine, best mode, over diffrax's best", _is_of(DIFFRAX), _embedded, (0.4, 0.9, 1, 1.5)
)
ONLY_IMPORT = ImportBar(
    "odeint_adjoint, only the import changed, over torchdiffeq's own",
    lambda row: row.contender == ADJOINT,
    lambda row: row.package == IMPORTED and row.contender.startswith(f"{ADJOINT},"),
    (3, 3, 2, 1.5),
)
BARS = (
    BEST,
    GUARDED,
    BACKSOLVE,
    OVER_DIFFRAX,
    EMBEDDED,
    EMBEDDED_OVER_TORCHODE,
    EMBEDDED_OVER_DIFFRAX,
    ONLY_IMPORT,
)
OVERHEAD = {"torch": (1.5, 1.3, 1.2, 1.1), "julia": (1.3, 1.2, 1.15, 1.1)}  # at most, cases 1 to 4
OUTPUTS_RATIO, PER_OUTPUT, MEMORY = 1.1, 8.0, 3.0  # at most


@dataclass(frozen=True)
class Verdict:
    """One cell of the bars' table; ``found`` is None where it was not measured.

    ``cold``: what was found without a `WarmStart`, where the best has one.
    """

    asked: str
    found: float | None
    met: bool | None
    how: str
    cold: float | None = None


def verdicts(record: Record) -> dict[str, list[Verdict]]:
    """Title of a bar -> its cells for cases 1 to 4."""
    cases = {case.case["bar"]: case for case in record.cases if case.case["bar"]}
    table = {bar.title: [_ratio(bar, cases.get(i + 1), bar.asked[i]) for i in range(4)] for bar in BARS}
    for backend, asked in OVERHEAD.items():
        title = f"eager field: whole pass over its bare calls, {backend} engine, BacksolveAdjoint"
        rows = {row["case"]: row for row in _of(record, "overhead", backend, "Backsolve")}
        table[title] = [_at_most(asked[i], rows.get(f"case{i + 1}"), "ratio", "") for i in range(4)]
    return table


def further(record: Record) -> Iterator[tuple[str, Verdict]]:
    """The bars that are not of a case: calls per output, and memory."""
    for backend in ("torch", "julia"):
        for row in _of(record, "outputs", backend, "Discrete"):
            title = f"{backend} DiscreteAdjoint: products with 1,000 outputs over those with 2"
            yield title, _at_most(OUTPUTS_RATIO, row, "ratio", "")
        for adjoint in ("Backsolve", "Interpolating", "Gauss"):
            for row in _of(record, "outputs", backend, adjoint):
                yield f"{backend} {adjoint}Adjoint: products per output", _at_most(PER_OUTPUT, row, "per_output", "")
        for adjoint in ("Gauss", "Discrete"):
            for row in record.sections.get("memory", []):
                if row["backend"] == backend and row["adjoint"] == adjoint and row["parameter_bytes"] > 3.9e7:
                    found = {"ratio": row["backward_bytes"] / row["parameter_bytes"]}
                    title = f"{backend} {adjoint}Adjoint: peak of backward() over the parameters' bytes, 10⁷ parameters"
                    yield title, _at_most(MEMORY, found, "ratio", "")


def _of(record: Record, section: str, backend: str, adjoint: str) -> list[dict[str, Any]]:
    wanted = {"backend": backend, "adjoint": adjoint}
    return [r for r in record.sections.get(section, []) if wanted.items() <= r["settings"].items()]


def _ratio(bar: Bar, case: CaseRecord | None, asked: float) -> Verdict:
    match = None if case is None else bar.match(case)
    if match is None:
        return Verdict(f"≥ {asked:g}", None, None, "")
    how = f"{match.ours.contender} at {match.ours.tolerance:.0e} over {match.peer.contender}"
    cold = bar.match(case, warm=False) if case is not None and _is_warm(match.ours) else None
    return Verdict(f"≥ {asked:g}", match.ratio, match.ratio >= asked, how, cold.ratio if cold else None)


def _at_most(asked: float, row: dict[str, Any] | None, name: str, how: str) -> Verdict:
    found = None if row is None else float(row[name])
    return Verdict(f"≤ {asked:g}", found, None if found is None else found <= asked, how)
