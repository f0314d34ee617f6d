"""Derivatives of events' times and states, by the implicit function theorem.

The time t(p) of a crossing g(t, y(t; p)) = 0 has the derivative

    dt/dp = -(dg/dy . dy/dp) / (dg/dt + dg/dy . dy/dt),

and the state there, y(t(p); p), moves with it by dy/dt. What is differentiated is a state at a time held constant, as
every adjoint gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..problem.state import StateSpec
from .refusals import refuse_again

ConditionFunction = Callable[[Tensor, Any], Tensor]


def crossing_rate(
    fn: ConditionFunction, element: int, t: float, y: Tensor, slope: Tensor, spec: StateSpec
) -> float | None:
    """Return dg/dt + dg/dy . slope for ``y``, ``slope`` (size,); None where autograd does not reach fn's arguments."""
    with torch.enable_grad():
        when, state = spec.time(t).requires_grad_(), y.detach().reshape(-1).clone().requires_grad_()
        value = fn(when, spec.unflatten(state)).reshape(-1)[element]
    if not value.requires_grad:
        return None
    by_time, by_state = torch.autograd.grad(value, [when, state], allow_unused=True)
    if by_time is None and by_state is None:
        return None
    rate = 0.0 if by_time is None else by_time.item()
    return rate if by_state is None else rate + torch.dot(by_state, slope.to(by_state)).item()


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


def differentiate_time(value: Tensor, y: Tensor, t: float, rate: float | None, name: str) -> Tensor:
    """Return ``t``, float64, with the derivative of a crossing's time, of the state ``y`` there.

    ``value``: the condition there, differentiable by what both were computed from; ``rate``: by `crossing_rate`.
    """
    apply: Any = _EventTime.apply
    time: Tensor = apply(value, y if rate is None else None, t, rate, name)
    return time
