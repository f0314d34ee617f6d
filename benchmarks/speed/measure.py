"""Measuring one case: errors first, then the ladder, then times, the contenders taking turns."""

from __future__ import annotations

import gc
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from .cases import Problem, relative_error
from .contender import COMPILED, Contender, Outcome, Solver
from .records import CaseRecord, Row, counts
from .reference import Reference
from .work_precision import COMPARED, descend, first_rung

CURVE = (1e-3, 1e-4, 1e-6, 1e-7)  # further tolerances of peers, for work-precision curves
CURVE_REPEATS = 3
COMPILING = 180.0  # seconds that a first step may take beyond the limit
COMPILES = ("inductor", COMPILED, "auto")  # whose steps at another tolerance may be of a kind that was not compiled yet
# A turn is a few steps of a training loop. The first is not counted (the caches hold another contender's data), unless
# the step is slow, when that does not matter; then come as many as make up TURN seconds, 8 at most.
TURN, LONGEST_TURN, SLOW = 0.02, 8, 0.25
VERY_SLOW, FEW_REPEATS = 2.0, 3
LOSS_AGREES = 1e-3  # relative; a peer with another loss solves another problem

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How often every step is timed, and the seconds that one may take; ``budget``: seconds that the first steps of all
    in a case may take, so that what was made within them is timed.
    """

    repeats: int = 7
    limit: float = 30.0
    curves: bool = True
    budget: float = math.inf


class TimeLimitError(Exception):
    """A step took longer than the limit."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` in what takes longer; where Python runs no code meanwhile, when it ends."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f"a step takes over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(eq=False)
class Entry:
    """A row on its way: the solver that makes its steps."""

    row: Row
    solver: Solver
    usual: float = field(default=0.0)  # seconds of a step, as far as known


def measure(
    problem: Problem, exact: Reference, contenders: Sequence[Contender], plan: Plan, record: CaseRecord, tell: Tell
) -> None:
    """Fill ``record``; what it holds when this is interrupted is valid."""
    record.loss = exact.loss
    trials = Trials(problem, exact, plan, record)
    peers = [(c, trials.entry(c, COMPARED)) for c in _told(contenders, tell, "error") if not c.ours]
    compared = [entry for _, entry in peers if entry is not None]
    targets = [entry.row.error for entry in compared]
    drawn: list[Entry] = []  # for the curves only
    curves = plan.curves and problem.case.curve
    if curves:
        chosen = [contender for contender, entry in peers if entry is not None and contender.curve]
        drawn += [e for c in _told(chosen, tell, "curve") for t in CURVE if (e := trials.entry(c, t))]
    for mode in _told([c for c in contenders if c.ours], tell, "ladder"):
        visited = descend(lambda t, mode=mode: trials.entry(mode, t), _error, min(targets, default=0.0))  # type: ignore[misc]
        first = _first_rungs(visited, targets)
        compared += first
        drawn += [entry for entry in visited if entry not in first] if curves else []
    # A shared machine can be slower for half a minute: what is compared takes its turns within seconds.
    take_turns(problem, compared, plan.repeats, plan.limit, record, tell)
    take_turns(problem, drawn, min(CURVE_REPEATS, plan.repeats), plan.limit, record, tell)


def _told(contenders: Sequence[Contender], tell: Tell, doing: str) -> Iterator[Contender]:
    for contender in contenders:
        tell(f"{doing}: {contender.name}")
        yield contender


def _error(entry: Entry) -> float:
    return entry.row.error


def _first_rungs(visited: Sequence[Entry], targets: Sequence[float]) -> list[Entry]:
    """The rungs to time: the first that meets each target."""
    rungs = [first_rung((entry.row for entry in visited), target) for target in targets]
    return [entry for entry in visited if any(entry.row is rung for rung in rungs)]


class Trials:
    """First steps, with the unchanged parameters: they give the error. A refusal or a failure leaves out by name."""

    def __init__(self, problem: Problem, exact: Reference, plan: Plan, record: CaseRecord) -> None:
        self._problem, self._exact, self._plan, self._record = problem, exact, plan, record
        self._compiled: set[str] = set()
        self._until = time.perf_counter() + plan.budget

    def entry(self, contender: Contender, tolerance: float) -> Entry | None:
        """The contender at this tolerance, after one step; its row is in the record. None where there is none."""
        name = f"{contender.name} at {tolerance:.0e}"
        later = contender.ours and contender.name in self._compiled
        allowed = self._plan.limit + (0 if later and contender.settings.get("compile") not in COMPILES else COMPILING)
        self._problem.change(0)
        left = self._until - time.perf_counter()
        try:
            if left <= 0:
                raise TimeLimitError("no time was left for it")
            with limited(min(allowed, left)):
                started = time.perf_counter()
                solver = contender.make(self._problem, tolerance)
                solver.refresh()
                solver.step()
                seconds = time.perf_counter() - started
            outcome = solver.outcome()
        except Exception as error:  # a peer may raise anything, and the others are to be measured still
            self._record.leave_out(name, _reason(error))
            return None
        self._compiled.add(contender.name)
        if tolerance == COMPARED and not contender.ours and not self._agrees(outcome):
            self._record.leave_out(name, f"its loss is {outcome.loss:.8g}, the reference's {self._exact.loss:.8g}")
            return None
        row = self._row(contender, tolerance, outcome, seconds)
        self._record.rows.append(row)
        return Entry(row, solver)

    def _agrees(self, outcome: Outcome) -> bool:
        return abs(outcome.loss - self._exact.loss) <= LOSS_AGREES * abs(self._exact.loss)

    def _row(self, contender: Contender, tolerance: float, outcome: Outcome, seconds: float) -> Row:
        return Row(
            contender.name, contender.package, tolerance, outcome.loss,
            relative_error(outcome.gradient, self._exact.gradient), seconds,
            counts(outcome.forward), counts(outcome.backward), dict(contender.settings),
        )  # fmt: skip


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


def take_turns(
    problem: Problem, entries: Sequence[Entry], repeats: int, limit: float, record: CaseRecord, tell: Tell
) -> None:
    """Time every entry ``repeats`` times, one turn of each after the other, so that noise hits all alike."""
    dropped: set[int] = set()
    for repeat in range(repeats if entries else 0):
        tell(f"repeat {repeat + 1} of {repeats}: {len(entries) - len(dropped)} timed")
        gc.collect()
        start = repeat % len(entries)
        for entry in (*entries[start:], *entries[:start]):
            if id(entry) in dropped or (entry.usual > VERY_SLOW and repeat >= FEW_REPEATS):
                continue
            try:
                _turn(problem, entry, 1 + repeat * (LONGEST_TURN + 1), limit)
            except Exception as error:  # as in a trial
                dropped.add(id(entry))
                record.leave_out(f"{entry.row.contender} at {entry.row.tolerance:.0e}", _reason(error))
                entry.row.seconds.clear()


def _turn(problem: Problem, entry: Entry, change: int, limit: float) -> None:
    """One turn; every contender sees the same changes of the parameters in its turn."""
    if entry.usual <= SLOW:
        warm = _timed_step(problem, entry.solver, change, limit)
        entry.usual = min(entry.usual or warm, warm)
    steps = max(1, min(LONGEST_TURN, int(TURN / entry.usual)))
    seconds = [_timed_step(problem, entry.solver, change + i, limit) for i in range(1, 1 + steps)]
    entry.row.seconds += seconds
    entry.usual = statistics.median(entry.row.seconds)


def _timed_step(problem: Problem, solver: Solver, change: int, limit: float) -> float:
    problem.change(change)
    solver.refresh()
    with limited(limit):
        started = time.perf_counter()
        solver.step()
        return time.perf_counter() - started
