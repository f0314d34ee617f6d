"""Where the steps of a fixed-step method end: a grid of times that is given, or made for the times of outputs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .arguments import to_number
from .errors import InvalidInputError

Grid = Callable[[Sequence[float]], Iterable[Any]]  # from times of outputs to times from the first to the last of them


@dataclass(frozen=True)
class FixedGrid:
    """A grid of given times, of which a solve between two of its own takes those inside."""

    times: tuple[float, ...]

    def __call__(self, outputs: Sequence[float]) -> tuple[float, ...]:
        start, end = outputs[0], outputs[-1]
        inside = {t for t in self.times if min(start, end) < t < max(start, end)}
        return (start, *sorted(inside, reverse=end < start), end)


def check_step(dt: Any) -> Any:
    """Return a step size as it is, and the times of a grid, or a function that makes them, as a `Grid`."""
    if dt is None or callable(dt) or isinstance(dt, (str, bytes)):
        return dt
    if getattr(dt, "ndim", None) == 0 or not hasattr(dt, "__len__"):
        return dt
    try:
        times = tuple(map(to_number, dt))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInputError(f"dt={dt!r}: expected a step size, or a vector of times.") from None
    if not all(map(math.isfinite, times)):
        raise InvalidInputError("dt contains NaN or infinite times: expected a step size, or a vector of times.")
    return FixedGrid(times)


def grid_points(grid: Grid, outputs: Sequence[float]) -> tuple[float, ...]:
    """Return the ends of the steps of a grid, which must go from the first to the last of ``outputs``."""
    times = tuple(map(to_number, grid(tuple(outputs))))
    forwards = outputs[-1] > outputs[0]
    if times[:1] != (outputs[0],) or times[-1:] != (outputs[-1],):
        ends = f"{times[0]} to {times[-1]}" if times else "nothing"
        raise InvalidInputError(f"dt: the grid goes from {ends}: expected times from {outputs[0]} to {outputs[-1]}.")
    if not all(math.isfinite(b) and (b > a if forwards else b < a) for a, b in itertools.pairwise(times)):
        raise InvalidInputError("dt: the times of the grid are not sorted as t is, each once.")
    return times[1:]
