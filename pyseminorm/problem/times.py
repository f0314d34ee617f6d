"""The times of a solve: as the user gave them, and as floats in order."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..arguments import to_number
from ..errors import InvalidInputError
from ..host_copies import read
from .tolerances import check_fits


def check_times(t: Tensor | Sequence[float], seen: torch.dtype) -> tuple[Tensor, tuple[float, ...]]:
    """Return the times as a tensor (as given) and as floats; func gets them in the dtype ``seen``."""
    try:
        ts = t if isinstance(t, Tensor) else to_times(t)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInputError(f"t is a {type(t).__name__}: expected a vector of numbers, the times.") from None
    if ts.is_meta or ts.layout is not torch.strided:
        raise InvalidInputError(f"t is a {ts.layout} tensor on {ts.device}: expected times that can be read.")
    try:
        return ts, _times_of(tuple(read(ts)), ts.dtype, seen)
    except TypeError:  # a number, or rows of numbers
        raise InvalidInputError(f"t has shape {tuple(ts.shape)}: expected a vector of at least 2 times.") from None


def to_times(t: Any) -> Tensor:
    """Return times as a float64 tensor, differentiable by those of a sequence that require grad."""
    if isinstance(t, (list, tuple)) and any(isinstance(x, Tensor) and x.requires_grad for x in t):
        return torch.stack([torch.as_tensor(x, dtype=torch.float64, device="cpu").reshape(()) for x in t])
    return torch.as_tensor(t, dtype=torch.float64)


@functools.lru_cache(maxsize=64)
def _times_of(values: tuple[Any, ...], dtype: torch.dtype, seen: torch.dtype) -> tuple[float, ...]:
    """Return the values of a vector of a dtype as times in order; a training loop gives the same again and again."""
    if len(values) < 2:
        raise InvalidInputError(f"t has shape ({len(values)},): expected a vector of at least 2 times.")
    if dtype.is_complex or dtype == torch.bool:
        raise InvalidInputError(f"t has dtype {dtype}: expected real times.")
    times = tuple(map(float, values))
    if not all(math.isfinite(x) for x in times):
        raise InvalidInputError("t contains NaN or infinite values.")
    steps = [b - a for a, b in itertools.pairwise(times)]
    if not (all(s > 0 for s in steps) or all(s < 0 for s in steps)):
        if any(s == 0 for s in steps):
            raise InvalidInputError(f"t repeats a time ({times[steps.index(0.0)]}): give every time once.")
        raise InvalidInputError("t is not sorted: expected strictly increasing or strictly decreasing times.")
    check_fits(seen, {"t[0]": times[0], "t[-1]": times[-1]})
    return times


def refuse_gradients(name: str, times: Any) -> None:
    """Refuse times at which func jumps that want a gradient, which is not made."""
    each = times if isinstance(times, (list, tuple)) else (times,)
    if any(isinstance(x, Tensor) and x.requires_grad for x in each):
        raise InvalidInputError(
            f"{name} contains a time that requires grad, and there is no gradient by the time of a jump: give it "
            "detached. A time of t has one: solve to the jump, and from there on with the other branch of func."
        )


def check_stops(name: str, stops: Sequence[float] | None) -> tuple[float, ...]:
    """Return times that steps end at, as floats."""
    if stops is None or (type(stops) is tuple and not stops):
        return ()
    try:
        given = tuple(map(to_number, stops))
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInputError(f"{name}={stops!r}: expected a sequence of times.") from None
    except OverflowError:
        raise InvalidInputError(f"{name} contains a number that is too large for a time.") from None
    if not all(math.isfinite(d) for d in given):
        raise InvalidInputError(f"{name} contains NaN or infinite values.")
    return given
