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
    forward = _found(func, "", method)
    backward = {} if adjoint_method is None else _found(func, "_adjoint", adjoint_method)
    if not forward and not backward:
        return None
    calls = (_as_step_callback(found.get(name)) for found in (forward, backward) for name in _NAMES)
    step, accept, reject, step_adjoint, accept_adjoint, reject_adjoint = calls
    return StepCallbacks(accept, reject, accept_adjoint, reject_adjoint, step, step_adjoint)


def _found(func: Callable[..., Any], ending: str, method: Method) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(func, name + ending) for name in _NAMES if callable(getattr(func, name + ending, None))}
    solver = method.solver
    if found and (unsupported := found.keys() - solver.callbacks):
        warnings.warn(f"Solver '{method.name}' does not support callbacks {unsupported}", stacklevel=5)
    return {name: call for name, call in found.items() if name in solver.callbacks}


def _as_step_callback(callback: Callable[..., Any] | None) -> StepCallback | None:
    """Return what gives a callback tensors of times, and of an adjoint's state torchdiffeq's tuple (a_t, y, adj_y)."""
    if callback is None:
        return None

    def call(t: float, y: Any, dt: float) -> None:
        if isinstance(y, AdjointState):
            y = as_tuple(y)
        callback(torch.tensor(t, dtype=torch.float64), y, torch.tensor(abs(dt), dtype=torch.float64))

    return call
