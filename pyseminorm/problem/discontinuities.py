"""Times at which func jumps, and the smooth intervals between, each of which sees func from its own side."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)  # `of` gives the same object again
class Discontinuities:
    """The discontinuities of a solve, in its direction.

    ``times``: of those strictly inside, in order; steps end there. ``intervals``: from one to the next, the lowest and
    highest time that func may see, in its own dtype: a rounding step inside, so that no stage sees the other side.
    """

    times: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]

    @classmethod
    @functools.lru_cache(maxsize=64)
    def of(cls, start: float, end: float, discontinuities: tuple[float, ...], dtype: torch.dtype) -> Discontinuities:
        """Return those from ``start`` to ``end``; ``dtype`` is that in which func gets the time."""
        forwards = end > start
        low, high = min(start, end), max(start, end)
        if not discontinuities:
            return cls((), ((_inwards(low, 1, set(), dtype), _inwards(high, -1, set(), dtype)),))
        every = set(discontinuities)
        inside = sorted((d for d in every if low < d < high), reverse=not forwards)
        intervals = []
        for a, b in itertools.pairwise([start, *inside, end]):
            left, right = (a, b) if forwards else (b, a)
            inner = (_inwards(left, 1, every, dtype), _inwards(right, -1, every, dtype))
            intervals.append(inner if inner[0] < inner[1] else (left, right))
        return cls(tuple(inside), tuple(intervals))

    def arrive(self, t: float) -> float:
        """Return the time that func sees at the end of a step to ``t``: of a discontinuity, the side before it."""
        forwards = self.intervals[-1] >= self.intervals[0]
        index = sum(d < t if forwards else d > t for d in self.times)
        low, high = self.intervals[index]
        return min(max(t, low), high)


def _inwards(t: float, side: int, discontinuities: set[float], dtype: torch.dtype) -> float:
    """Return the first time of ``dtype`` at ``t`` or, from a discontinuity, beyond it, on the side +1 or -1."""
    if t in discontinuities:
        t += side * max(2 * abs(t) * torch.finfo(dtype).eps, 1e-30)
    rounded = float(torch.tensor(t, dtype=dtype, device="cpu"))
    if side * (rounded - t) < 0:
        rounded += side * abs(rounded) * torch.finfo(dtype).eps
    return rounded
