"""The events of a solve as a user gets them: differentiable times and states."""

from __future__ import annotations

import torch
from torch import Tensor

from ..events import EventRecord
from ..problem.discontinuities import Discontinuities
from ..problem.torch_modes import without_autocast
from .autograd import SolveContext
from .event_search import Crossing, EventSearch
from .event_times import crossing_rate, differentiate_time


def event_records(context: SolveContext, ys: Tensor) -> list[EventRecord]:
    """Return the events that a solve met, of its rows ``ys`` (rows, *shape); notes what their conditions were there."""
    events = context.events
    return [] if events is None else [_record(context, events, crossing, ys) for crossing in events.crossings]


def _record(context: SolveContext, events: EventSearch, crossing: Crossing, ys: Tensor) -> EventRecord:
    spec, t, (index, element) = context.spec, crossing.t, crossing.condition
    y, fn, time = ys[events.rows[crossing.t]], events.events[index].fn, torch.tensor(t, dtype=torch.float64)
    value = fn(spec.time(t), spec.from_tensor(y)).reshape(-1)[element]
    crossing.residual = value.item()
    if torch.is_grad_enabled() and (value.requires_grad or y.requires_grad):
        slope = _slope(context, crossing, y.detach().reshape(-1))
        rate = crossing_rate(fn, element, t, y, slope, spec)
        time = differentiate_time(value, y, t, rate, f"event[{index}]")
        if time.requires_grad:
            y = y + slope.view(y.shape) * (time - time.detach()).to(y)
    return EventRecord(index, element, time, spec.from_tensor(y))


def _slope(context: SolveContext, crossing: Crossing, y: Tensor) -> Tensor:
    """Return dy/dt (size,) at a crossing: what the adjoint takes for it at outputs."""
    if crossing.slope is not None:
        return crossing.slope
    spec, times = context.spec, context.times
    discontinuities = Discontinuities.of(times[0], times[-1], context.options.discontinuities, spec.real_dtype)
    context.stats.forward.nf += 1
    with torch.no_grad(), without_autocast(spec.device):
        return context.field.f(discontinuities.arrive(crossing.t), y)
