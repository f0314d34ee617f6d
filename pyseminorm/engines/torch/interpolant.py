"""Dense output: the forward trajectory as one polynomial per accepted step."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...host_copies import send_numbers


class LocalInterpolation(NamedTuple):
    """y(t0 + theta h) = y0 + h sum_j theta^(j+1) coefficients[j], for theta in [0, 1]; coefficients (degree, size).

    With ``start``, a zero by which t0 may move, t0 + h staying where it is.
    """

    t0: float
    h: float
    y0: Tensor
    y1: Tensor
    coefficients: Tensor
    start: Tensor | None = None

    def __call__(self, t: float) -> Tensor:
        return self.y1 if t == self.t0 + self.h else self.at([t])[0]

    def at(self, times: Sequence[float]) -> Tensor:
        """Return states at times inside the step, (len(times), size)."""
        if self.start is not None:
            return self.at_moving(times, self.y0.new_zeros(len(times)))
        powers = [[theta**j for j in range(1, len(self.coefficients) + 1)] for theta in self._thetas(times)]
        return torch.addmm(self.y0, send_numbers(powers, self.y0), self.coefficients, alpha=self.h)

    def rows(self, times: Sequence[float], derivative: bool) -> Tensor:
        """Return states at times of the step, its end included, or their derivatives, (len(times), size)."""
        if derivative:
            return self._slopes(times)
        rows, end = self.at(times), self.t0 + self.h
        for i, t in enumerate(times):
            if t == end:
                rows[i] = self.y1
        return rows

    def _slopes(self, times: Sequence[float]) -> Tensor:
        powers = [[j * theta ** (j - 1) for j in range(1, len(self.coefficients) + 1)] for theta in self._thetas(times)]
        return send_numbers(powers, self.y0) @ self.coefficients

    def _thetas(self, times: Sequence[float]) -> list[float]:
        return [(t - self.t0) / self.h for t in times]

    def at_moving(self, times: Sequence[float], offsets: Tensor) -> Tensor:
        """Return `at` as a function of zeros by which the times (and, if it is one, `start`) may move."""
        start = 0.0 if self.start is None else self.start
        h, spans = self.h - start, send_numbers([t - self.t0 for t in times], self.y0)
        thetas = (spans + offsets - start) / h
        powers = thetas.unsqueeze(1) ** torch.arange(1, len(self.coefficients) + 1, device=thetas.device)
        return self.y0 + h * (powers @ self.coefficients)


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
        return self._steps[self._index(t)](t)

    def rows(self, times: Sequence[float], *, derivative: bool = False) -> Tensor:
        """Return the states at times, or their derivatives by time, (len(times), size)."""
        inside: dict[int, list[int]] = {}  # step -> places of the times in it
        for place, t in enumerate(times):
            inside.setdefault(self._index(t), []).append(place)
        parts = [self._steps[n].rows([times[i] for i in places], derivative) for n, places in inside.items()]
        rows = torch.cat(parts)
        order = send_numbers(list(itertools.chain.from_iterable(inside.values())), rows, torch.long)
        return torch.empty_like(rows).index_copy_(0, order, rows)

    def _index(self, t: float) -> int:
        return min(bisect.bisect_left(self._ends, self._direction * t), len(self._steps) - 1)

    def moving_rows(self, times: Sequence[float], offsets: Tensor) -> Tensor:
        """Return `rows` as a function of zeros by which the times may move."""
        pairs = zip(times, offsets.unbind(0), strict=True)
        return torch.cat([self._steps[self._index(t)].at_moving([t], offset) for t, offset in pairs])
