"""The events of a solve as a user gets them: times and states, with derivatives by the implicit function theorem.

The time t(p) of a crossing g(t, y(t; p)) = 0 has the derivative

    dt/dp = -(dg/dy . dy/dp) / (dg/dt + dg/dy . dy/dt),

and the state there, y(t(p); p), moves with it by dy/dt. What is differentiated is a state at a time held constant, as
every adjoint gives it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..events import EventRecord
from ..problem.discontinuities import Discontinuities
from ..problem.torch_modes import without_autocast
from .autograd import SolveContext
from .event_search import Crossing, EventSearch, crossing_rate
from .refusals import refuse_again


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
        time = _differentiate_time(value, y, t, rate, f"event[{index}]")
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


class _EventTime(torch.autograd.Function):
    """The time of a crossing, as a function of the condition's value there at that time, held constant.

    ``anchor`` is there for a time that has no derivative: asking for one raises by name, where it would be zero.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, anchor: Tensor | None, t: float, rate: float | None, name: str) -> Tensor:
        ctx.rate, ctx.name, ctx.t = rate, name, t
        ctx.save_for_backward(value)
        return torch.tensor(t, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        rate = ctx.rate
        if rate is None or rate == 0.0 or not math.isfinite(rate):
            raise UnsupportedError(
                f"the time of {ctx.name} at t = {ctx.t} has no derivative: its fn "
                + ("is not differentiable by t or y there." if rate is None else f"changes at the rate {rate} there.")
                + " Leave this event's t and y, and what follows from a reset there, out of the loss."
            )
        (value,) = ctx.saved_tensors
        gradient = (-grad / rate).to(value)
        if torch.is_grad_enabled():
            (gradient,) = refuse_again(1, gradient, grad, value)
        return gradient, None, None, None, None


def _differentiate_time(value: Tensor, y: Tensor, t: float, rate: float | None, name: str) -> Tensor:
    """Return ``t``, float64, with the derivative of a crossing's time, of the state ``y`` there.

    ``value``: the condition there, differentiable by what both were computed from; ``rate``: by `crossing_rate`.
    """
    apply: Any = _EventTime.apply
    time: Tensor = apply(value, y if rate is None else None, t, rate, name)
    return time
