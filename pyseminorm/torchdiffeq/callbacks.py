"""Methods of func that torchdiffeq calls around steps, as `StepCallbacks`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from ..stepping import StepCallback, StepCallbacks
from .solvers import Solver

_NAMES = ("callback_step", "callback_accept_step", "callback_reject_step")


def find_callbacks(
    func: Callable[..., Any], method: str, solver: type[Solver], adjoint_method: str, adjoint_solver: type[Solver]
) -> StepCallbacks | None:
    """Return the callbacks that func has, None without; warn, as torchdiffeq does, of those that no step calls."""
    forward = _found(func, "", method, solver)
    backward = _found(func, "_adjoint", adjoint_method, adjoint_solver)
    if not forward and not backward:
        return None
    return StepCallbacks(
        _both(forward, "accept"), _both(forward, "reject"), _both(backward, "accept"), _both(backward, "reject")
    )


def _found(func: Callable[..., Any], ending: str, method: str, solver: type[Solver]) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(func, name + ending) for name in _NAMES if callable(getattr(func, name + ending, None))}
    if found and (unsupported := found.keys() - solver.callbacks):
        warnings.warn(f"Solver '{method}' does not support callbacks {unsupported}", stacklevel=5)
    return {name: call for name, call in found.items() if name in solver.callbacks}


def _both(found: dict[str, Callable[..., Any]], kind: str) -> StepCallback | None:
    calls = [found[name] for name in ("callback_step", f"callback_{kind}_step") if name in found]

    def call(t: float, y: Any, dt: float) -> None:
        for callback in calls:
            callback(torch.tensor(t, dtype=torch.float64), y, torch.tensor(abs(dt), dtype=torch.float64))

    return call if calls else None
