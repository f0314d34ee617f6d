"""Stages that autograd records: nothing is written twice, and what a rejected step made is forgotten."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ...methods.tableau import Tableau, weights
from ...problem.recorded_field import RecordedStart
from ...stats import PassStats
from .interpolant import LocalInterpolation
from .system import Derivative, IntegralDerivatives


class RecordedStages:
    """Derivatives of a step's stages, in the shape of the state.

    A step that begins at the first time ends where it ends when that time moves: its size moves instead. Not so where
    later steps weigh its derivative as if steps were of one size (``even``): it begins where it does, at the state that
    leads through y0 at the moved time.
    """

    def __init__(self, start: RecordedStart, tableau: Tableau, stats: PassStats, *, even: bool = False) -> None:
        self._field, self._tableau, self._stats = start.field, tableau, stats
        self._rows: list[Tensor] = [start.state] * (tableau.stages + len(tableau.extra_c))
        self._c = tableau.c + tableau.extra_c
        self._used = _weights_used(tableau)
        self._weights = weights(tableau, start.state)
        self._y0, self._offsets = start.state, start.offsets
        self._moving = next(iter(start.offsets.values()), None)  # the offset of the first time
        self._led: Tensor | None = None
        if even and self._moving is not None:
            self._led, self._moving = start.state - self._moving * start.derivative.detach(), None
        self._t = start.t
        self._moves = False  # whether the step begins at it, and it is asked for

    @property
    def first(self) -> Tensor:
        return self.values(self._rows[0])

    def values(self, state: Tensor) -> Tensor:
        return state.detach().reshape(-1)

    def derivative(self, t: float, y: Tensor) -> Derivative:
        self._stats.nf += 1
        return Derivative(self._field.f(t, y), ())

    def take_first(self, value: Tensor) -> None:
        self._begin(self._y0)
        self._rows[0] = value
        if self._led is not None:
            self._rows[0] = self._field.record(self._field.time(self._t), self._led)
            self._stats.nf += 1

    def take_last_first(self) -> None:
        self._moves = False
        self._rows[0] = self._rows[self._tableau.stages - 1]

    def evaluate(self, i: int, t: float, y: Tensor, *, wanted: bool) -> IntegralDerivatives:
        self._stats.nf += 1
        when = self._field.time(t)
        if i == 0:
            self._begin(y)
        if self._moves:
            assert self._moving is not None
            when = when + (1.0 - self._c[i]) * self._moving
        self._rows[i] = self._field.record(when, y)
        return ()

    def place(self, i: int, value: Tensor) -> None:
        self._rows[i] = value

    def kept(self, i: int) -> Tensor:
        return self._rows[i]

    def start(self, i: int, y: Tensor, h: float) -> Tensor:
        return self._add(y, i, h)

    def end(self, y: Tensor, h: float) -> Tensor:
        return self._add(y, -1, h)

    def _add(self, y: Tensor, row: int, h: float) -> Tensor:
        """Return y + h times a weighted sum of stages: operations whose derivatives are as cheap as they are."""
        rows, add, total = self._rows, torch.add, self._led if self._led is not None and y is self._y0 else y
        for j, weight in self._used[row]:
            total = add(total, rows[j], alpha=weight * h)
        if self._moves:
            assert self._moving is not None
            total = total - self._moving * sum(weight * rows[j] for j, weight in self._used[row])
        return total

    def _begin(self, y: Tensor) -> None:
        self._moves = self._moving is not None and y is self._y0

    def error(self, h: float) -> Tensor:
        assert self._weights.error is not None
        with torch.no_grad():
            return torch.mv(self._columns(self._rows[: self._tableau.stages]), self._weights.error).mul_(h)

    def interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        coefficients = self._weights.dense @ self._columns(self._rows).T
        start = self._moving if self._moves else None
        y0 = self._led if self._led is not None and y0 is self._y0 else y0
        return LocalInterpolation(t0, h, y0.reshape(-1), y1.reshape(-1), coefficients, start)

    def outputs(self, step: LocalInterpolation, times: Sequence[float]) -> Tensor:
        if not self._offsets:
            return step.at(times)
        return step.at_moving(times, torch.stack([self._offsets[t] for t in times]))

    def _columns(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).reshape(len(rows), -1).T  # of channels_last too


@functools.cache
def _weights_used(tableau: Tableau) -> list[list[tuple[int, float]]]:
    """Return what stages, and last the end, weigh the stages before them with, without those of no weight."""
    rows = (*tableau.a, *tableau.extra_a, tableau.b)
    return [[(j, weight) for j, weight in enumerate(row) if weight] for row in rows]
