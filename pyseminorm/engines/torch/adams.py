"""Steps of torchdiffeq's Adams methods (fixed_adams.py): a multistep predictor, and fixed-point corrections of it."""

from __future__ import annotations

import warnings
from collections import deque

import torch
from torch import Tensor

from ...errors import level_of_caller
from ...methods.adams import LEAST_ORDER, explicit_weights, implicit_weights
from ...methods.tableau import Row
from .broyden import warn_of_iteration
from .integrator import Integrator
from .interpolant import LocalInterpolation
from .system import IntegralDerivatives


class AdamsIntegrator(Integrator):
    """Steps by the derivatives at the steps before; by the 3/8 rule at first, and anew after a jump."""

    def __post_init__(self) -> None:
        super().__post_init__()
        iteration = self.options.iteration
        assert iteration is not None
        self._max_iters = iteration.max_iters
        self._before: deque[Tensor] = deque(maxlen=iteration.max_order - 1)
        self._before_at: float | None = None  # the time of the last of them
        self._adams = False  # whether the last step was no step of the 3/8 rule
        if iteration.max_order < LEAST_ORDER:
            level = level_of_caller()
            warnings.warn(f"max_order is below {LEAST_ORDER}, so the solver reduces to `rk4`.", stacklevel=level)

    def _attempt(self, h: float, *, first_of_next: bool, last: bool) -> tuple[Tensor, IntegralDerivatives]:
        if self._before_at != self.t:
            self._before.appendleft(self.stages.kept(0))
            self._before_at = self.t
        order = len(self._before)
        self._adams = order >= LEAST_ORDER - 1
        if not self._adams:
            return super()._attempt(h, first_of_next=first_of_next, last=last)
        new = self.state + self._change(h, order)
        if last:
            self._evaluate(self.tableau.stages - 1, self.t + h, new, wanted=True)
        return new, ()

    def _change(self, h: float, order: int) -> Tensor:
        """Return how much the state changes in a step."""
        change = self._weigh(h, explicit_weights(order))
        if self.tableau.name == "explicit_adams":
            return change
        weights = implicit_weights(order + 1)
        known = self._weigh(h, weights[1:])
        for _ in range(self._max_iters):
            before = change
            self._evaluate(1, self.t + h, self.state + change, wanted=True)
            change = h * weights[0] * self.stages.kept(1) + known
            if self._converged(before, change):
                return change
        warn_of_iteration()
        self._before.pop()
        return change

    def _weigh(self, h: float, weights: Row) -> Tensor:
        """Return h times a weighted sum of the derivatives before."""
        terms = [(h * weight) * f for weight, f in zip(weights, self._before, strict=True)]
        return torch.stack(terms).sum(dim=0)

    def _converged(self, before: Tensor, after: Tensor) -> bool:
        a, b = self.stages.values(before), self.stages.values(after)
        return bool(((a - b).abs() / self._scale(torch.maximum(a.abs(), b.abs()))).max() < 1.0)

    def _interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        if not self._adams:
            return super()._interpolation(t0, h, y0, y1)
        y0, y1 = y0.reshape(-1), y1.reshape(-1)
        slope, first, last = (y1 - y0) / h, *(self.stages.kept(i).reshape(-1) for i in (0, self.tableau.stages - 1))
        cubic = [first, 3.0 * slope - 2.0 * first - last, first + last - 2.0 * slope]
        rows = [slope] if len(self.tableau.dense[0]) == 1 else cubic
        return LocalInterpolation(t0, h, y0, y1, torch.stack(rows))

    def _cross_stop(self, stop: float) -> None:
        super()._cross_stop(stop)
        if stop in self.hooks.jumps:
            self._before.clear()
            self._before_at = None
