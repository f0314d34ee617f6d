"""A solve with events as a chain of solves: each goes up to an event that changes the state, the next on from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import InvalidInputError, LastGoodState
from .events import Event, EventRecord
from .passes.event_search import EventSearch
from .passes.kept_trajectory import JoinedTrajectory
from .problem.state import StateSpec, all_finite
from .retcode import ReturnCode
from .solution import Solution
from .stats import PassStats, Stats
from .torch_internals import pytree

SolveSegment = Callable[..., Solution]  # of (state, times, event=search)


def solve_segments(
    solve_segment: SolveSegment, y0: Any, ts: Tensor, events: Sequence[Event], max_steps: int
) -> Solution:
    """Solve from event to event by ``solve_segment``, and join what came of it; ``max_steps`` limits all together."""
    state, times, residuals = y0, ts.to("cpu", torch.float64), None
    parts: list[Solution] = []
    while True:
        search = EventSearch(events, max_steps, residuals)
        try:
            part = solve_segment(state, times, event=search)
        except BaseException as error:  # the user's own, too
            _count_segments(error, parts)
            raise
        parts.append(part)
        max_steps -= part.stats.forward.naccept + part.stats.forward.nreject
        met = [record for record in part.events if events[record.event].interrupts]
        if any(events[record.event].ends for record in met):
            part.retcode = ReturnCode.Terminated
            break
        times = times[len(part.ts) :]
        if not met or not len(times):
            break
        state, residuals = _reset(met, events, StateSpec.of(y0)), search.residuals()
        times = torch.cat([met[0].t.reshape(1), times])
    return _join(parts, ts)


def _count_segments(error: BaseException, parts: Sequence[Solution]) -> None:
    """Let the last good state of an error count what the segments before it took."""
    good = getattr(error, "last_good_state", None)
    if parts and isinstance(good, LastGoodState):
        passes, ends = [*(part.stats.forward for part in parts), good.stats], [*_ends(parts), good.t]
        error.last_good_state = dataclasses.replace(good, stats=_join_passes(passes, ends))  # type: ignore[attr-defined]


def _ends(parts: Sequence[Solution]) -> list[float]:
    """Return the times of the events that have ended segments."""
    return [part.events[-1].t.item() for part in parts]


def _reset(met: Sequence[EventRecord], events: Sequence[Event], spec: StateSpec) -> Any:
    """Return the state after the resets of events that happened together."""
    t, y = met[0].t.to(spec.device, spec.real_dtype), met[0].y
    for index in dict.fromkeys(record.event for record in met):
        reset = events[index].reset
        assert reset is not None
        y = reset(t, pytree.tree_map(torch.clone, y))  # the event's own state is the user's, too
        _check_state(y, spec, f"event[{index}].reset")
    return y


def _check_state(y: Any, spec: StateSpec, name: str) -> None:
    try:
        found = StateSpec(y)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} must return a state like y0: {error}") from None
    if found.kind != spec.kind:
        raise InvalidInputError(
            f"{name} returned {found.dtype} of shapes {found.shapes} on {found.device}: expected a state like y0, "
            f"{spec.dtype} of shapes {spec.shapes} on {spec.device}, in its structure."
        )
    if not all_finite(spec.flatten(y).detach()):
        raise InvalidInputError(f"{name} returned NaN or infinite values: expected a finite state.")


def _join(parts: Sequence[Solution], ts: Tensor) -> Solution:
    """Return one solution for all segments, its times and those of its events in the dtype of ``ts``."""
    last, ends = parts[-1], _ends(parts[:-1])
    end = last.events[-1].t.item() if last.retcode is ReturnCode.Terminated else last.stats.forward.times[-1]
    dtype = ts.dtype if ts.is_floating_point() else torch.float64
    ys = [part.ys if part is parts[0] else pytree.tree_map(lambda x: x[1:], part.ys) for part in parts]
    records = [dataclasses.replace(record, t=record.t.to(ts.device, dtype)) for part in parts for record in part.events]
    kept = [part._trajectory for part in parts if part._trajectory is not None]
    rows = sum(len(part.ts) for part in parts) - len(ends)
    return dataclasses.replace(
        last,
        ys=ys[0] if len(parts) == 1 else pytree.tree_map(lambda *rows: torch.cat(rows), *ys),
        ts=ts[:rows],
        stats=_JoinedStats([part.stats for part in parts], [*ends, end]),
        events=records,
        _trajectory=JoinedTrajectory(kept) if len(kept) > 1 else kept[0] if kept else None,
    )


class _JoinedStats(Stats):
    """Sums over segments; of the backward pass over those that have made it."""

    def __init__(self, parts: Sequence[Stats], ends: Sequence[float]) -> None:
        self._parts = parts
        self.forward = _join_passes([part.forward for part in parts], ends)

    @property
    def backward(self) -> PassStats | None:  # type: ignore[override]
        passes = [part.backward for part in reversed(self._parts) if part.backward is not None]
        return _add(passes) if passes else None


def _join_passes(passes: Sequence[PassStats], ends: Sequence[float]) -> PassStats:
    """Return the sums of forward passes, and the times of their steps up to their ends."""
    joined = _add(passes)
    joined.times = [t for one, end in zip(passes, ends, strict=True) for t in _until(one.times, end)]
    return joined


def _add(passes: Sequence[PassStats]) -> PassStats:
    """Return the sums of all counts, the largest of all errors, and all times."""
    names = [field.name for field in dataclasses.fields(PassStats) if field.type in ("int", "float")]
    sums = {name: sum(getattr(one, name) for one in passes) for name in names}
    return PassStats(
        **sums,
        times=[t for one in passes for t in one.times],
        proposed=passes[0].proposed,
        param_error=_largest([one.param_error for one in passes]),
        state_error=_largest([one.state_error for one in passes]),
        cancellation=_largest([one.cancellation for one in passes]),
        drift=_largest([one.drift for one in passes]),
    )


def _largest(errors: Sequence[float | None]) -> float | None:
    return max((error for error in errors if error is not None), default=None)


def _until(times: Sequence[float], end: float) -> list[float]:
    """Return the times of steps, of which the last may end after an event, at which it ends here."""
    if len(times) > 1 and (times[-1] - end) * (times[-1] - times[0]) > 0:
        return [*times[:-1], end]
    return list(times)
