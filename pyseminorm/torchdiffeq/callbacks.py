"""Methods of func that torchdiffeq calls around steps, as `StepCallbacks`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from ..norms import AdjointState
from ..stepping import StepCallback, StepCallbacks
from .adjoint_norms import as_tuple
from .solvers import Method

_NAMES = ("callback_step", "callback_accept_step", "callback_reject_step")


def find_callbacks(func: Callable[..., Any], method: Method, adjoint_method: Method | None) -> StepCallbacks | None:
    """Return the callbacks that func has, None without; warn, as torchdiffeq does, of those that no step calls."""
    found = _find_in_pass(func, "", method)
    if adjoint_method is not None:
        found |= _find_in_pass(func, "_adjoint", adjoint_method)
    return StepCallbacks(**found) if found else None


def _find_in_pass(func: Callable[..., Any], ending: str, method: Method) -> dict[str, StepCallback]:
    """Return the callbacks of one pass by the names that they have in `StepCallbacks`."""
    found = {name: getattr(func, name + ending) for name in _NAMES if callable(getattr(func, name + ending, None))}
    solver = method.solver
    if found and (unsupported := found.keys() - solver.callbacks):
        warnings.warn(f"Solver '{method.name}' does not support callbacks {unsupported}", stacklevel=5)
    return {
        name.removeprefix("callback_") + ending: _as_step_callback(call)
        for name, call in found.items()
        if name in solver.callbacks
    }


def _as_step_callback(callback: Callable[..., Any]) -> StepCallback:
    """Return what gives a callback tensors of times, and of an adjoint's state torchdiffeq's tuple (a_t, y, adj_y)."""

    def call(t: float, y: Any, dt: float) -> None:
        if isinstance(y, AdjointState):
            y = as_tuple(y)
        callback(torch.tensor(t, dtype=torch.float64), y, torch.tensor(abs(dt), dtype=torch.float64))

    return call
