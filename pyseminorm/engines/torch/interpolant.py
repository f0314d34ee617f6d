"""Dense output: the forward trajectory as one polynomial per accepted step."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import torch
from torch import Tensor

from .tableaus import Tableau


class StepPolynomial(NamedTuple):
    """y(t0 + theta h) = y0 + h sum_j theta^(j+1) coefficients[j], for theta in [0, 1]; coefficients (degree, size)."""

    t0: float
    h: float
    y0: Tensor
    y1: Tensor
    coefficients: Tensor

    def __call__(self, t: float) -> Tensor:
        theta = (t - self.t0) / self.h
        if theta == 1.0:
            return self.y1
        value = self.coefficients[-1] * theta
        for row in reversed(self.coefficients[:-1].unbind()):
            value = (value + row) * theta
        return torch.add(self.y0, value, alpha=self.h)


def dense_matrix(tableau: Tableau, like: Tensor) -> Tensor:
    """The interpolant's weights, (degree, stages), on the device and in the dtype of ``like``."""
    return torch.tensor(tableau.dense, dtype=like.dtype, device=like.device).T.contiguous()


class Trajectory:
    """The accepted steps of a solve, callable at any time between its ends."""

    def __init__(self, t0: float, direction: float) -> None:
        self._direction = direction
        self._ends: list[float] = []  # direction * t at the end of every step
        self._steps: list[StepPolynomial] = []
        self.t0 = t0

    def append(self, step: StepPolynomial, t1: float) -> None:
        self._steps.append(step)
        self._ends.append(self._direction * t1)

    def __call__(self, t: float) -> Tensor:
        """State (size,) at ``t``, which must lie within the steps."""
        index = bisect.bisect_left(self._ends, self._direction * t)
        return self._steps[min(index, len(self._steps) - 1)](t)
