"""Dense output: the forward trajectory as one polynomial per accepted step."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class LocalInterpolation(NamedTuple):
    """y(t0 + theta h) = y0 + h sum_j theta^(j+1) coefficients[j], for theta in [0, 1]; coefficients (degree, size)."""

    t0: float
    h: float
    y0: Tensor
    y1: Tensor
    coefficients: Tensor

    def __call__(self, t: float) -> Tensor:
        return self.y1 if t == self.t0 + self.h else self.at([t])[0]

    def at(self, times: Sequence[float]) -> Tensor:
        """Return states at times inside the step, (len(times), size)."""
        powers = [[theta**j for j in range(1, len(self.coefficients) + 1)] for theta in self._thetas(times)]
        return torch.addmm(self.y0, self.y0.new_tensor(powers), self.coefficients, alpha=self.h)

    def slopes(self, times: Sequence[float]) -> Tensor:
        """Return dy/dt at times inside the step, (len(times), size)."""
        powers = [[j * theta ** (j - 1) for j in range(1, len(self.coefficients) + 1)] for theta in self._thetas(times)]
        return self.y0.new_tensor(powers) @ self.coefficients

    def _thetas(self, times: Sequence[float]) -> list[float]:
        return [(t - self.t0) / self.h for t in times]


class DenseInterpolation:
    """The accepted steps of a solve, callable at any time between its ends."""

    def __init__(self, t0: float, direction: float) -> None:
        self._direction = direction
        self._ends: list[float] = []  # direction * t at the end of every step
        self._steps: list[LocalInterpolation] = []
        self.t0 = t0

    def append(self, step: LocalInterpolation, t1: float) -> None:
        self._steps.append(step)
        self._ends.append(self._direction * t1)

    def __call__(self, t: float) -> Tensor:
        """Return the state (size,) at ``t``, which must lie within the steps."""
        return self._step_at(t)(t)

    def rows(self, times: Sequence[float], *, derivative: bool = False) -> Tensor:
        """Return the states at times, or their derivatives by time, (len(times), size)."""
        if not derivative:
            return torch.stack([self(t) for t in times])
        return torch.cat([self._step_at(t).slopes([t]) for t in times])

    def _step_at(self, t: float) -> LocalInterpolation:
        index = bisect.bisect_left(self._ends, self._direction * t)
        return self._steps[min(index, len(self._steps) - 1)]
