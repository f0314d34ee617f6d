"""What the functions are given: refused by torchdiffeq's types of errors, which ours are too."""

from __future__ import annotations

import functools
import itertools
import warnings
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..host_copies import read


class InputAssertionError(InvalidInputError, AssertionError):
    """An argument was refused that torchdiffeq refuses by an AssertionError."""


class InputTypeError(InvalidInputError, TypeError):
    """An argument was refused that torchdiffeq refuses by a TypeError."""


def check_state(y0: Any) -> tuple[Any, torch.device]:
    """Return the state, a tensor or a plain tuple of tensors of one dtype, and its device; refuse what is neither."""
    if isinstance(y0, Tensor):
        return y0, y0.device
    if not (isinstance(y0, tuple) and y0 and all(isinstance(x, Tensor) for x in y0)):
        raise InputAssertionError(f"y0 must be either a torch.Tensor or a tuple of them, not a {type(y0).__name__}.")
    dtype = functools.reduce(torch.promote_types, (x.dtype for x in y0))
    return tuple(x.to(dtype) for x in y0), y0[0].device  # a plain one, of a named tuple too


def check_times(t: Any, device: torch.device) -> None:
    """Refuse times that torchdiffeq refuses, by its types of errors; warn of another device than the state's.

    Raises:
        InputTypeError: times that are no floating-point numbers.
        InputAssertionError: no tensor, no vector, or not in order.
    """
    if not isinstance(t, Tensor):
        raise InputAssertionError(f"t must be a torch.Tensor, not a {type(t).__name__}.")
    if not torch.is_floating_point(t):
        raise InputTypeError(f"`t` must be a floating point Tensor but is a {t.type()}")
    if t.dim() != 1:
        raise InputAssertionError(f"t must be one dimensional, not of shape {tuple(t.shape)}.")
    if not len(t):
        raise InputAssertionError("t is empty: expected at least one time.")
    steps = [b - a for a, b in itertools.pairwise(read(t))]
    if not (all(h > 0 for h in steps) or all(h < 0 for h in steps)):
        raise InputAssertionError("t must be strictly increasing or decreasing")
    if t.device != device:
        warnings.warn("t is not on the same device as y0. Coercing to y0.device.", stacklevel=4)


def check_tolerance(name: str, value: Any, y0: Any) -> Any:
    """Return a tolerance as `solve` takes it, positive: zero, which torchdiffeq takes, is a tiny number."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise InputAssertionError(f"{name} cannot require gradient")
    if isinstance(value, (int, float)):
        return value or _LEAST
    if value is None or isinstance(value, str):
        raise InputTypeError(f"{name}={value!r}: expected a number, or numbers for the elements of y0.")
    if isinstance(y0, Tensor) or (isinstance(value, Tensor) and not value.dim()):
        return torch.as_tensor(value, dtype=torch.float64).clamp(min=_LEAST)
    parts = tuple(value)
    if len(parts) != len(y0):
        raise InputAssertionError(f"If using tupled {name} it must have the same length as the tuple y0")
    return tuple(torch.as_tensor(part, dtype=torch.float64).clamp(min=_LEAST) for part in parts)


def check_adjoint_tolerance(name: str, value: Any) -> float | None:
    """Return a tolerance of the backward solve, None for that of the forward solve (whose items serve both)."""
    if value is None:
        return None
    try:
        return float(value) or _LEAST
    except (TypeError, ValueError, RuntimeError):
        raise InputAssertionError(
            f"{name} is a {type(value).__name__}: expected a number, or None for the tolerances of the forward solve."
        ) from None


_LEAST = 1e-30  # a float32, too
