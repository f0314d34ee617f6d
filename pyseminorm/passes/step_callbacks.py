"""The user's callbacks on steps, as an engine calls them: on flat states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..stepping import StepCallback
from .recorded_steps import StepReport


def make_report(
    accept: StepCallback | None, reject: StepCallback | None, unflatten: Callable[[Tensor], Any]
) -> StepReport | None:
    """Return what tells the user's callbacks of steps; None where there are none."""
    if accept is None and reject is None:
        return None

    def report(accepted: bool, t: float, z: Tensor, dt: float) -> None:
        callback = accept if accepted else reject
        if callback is not None:
            callback(t, unflatten(z.clone()), dt)  # which may write into it

    return report


def make_announcement(
    step: StepCallback | None, unflatten: Callable[[Tensor], Any]
) -> Callable[[float, Tensor, float], None] | None:
    """Return what tells the user's callback of a step before it is tried; None where there is none."""
    return None if step is None else lambda t, z, dt: step(t, unflatten(z), dt)
