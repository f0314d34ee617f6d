"""The step sequence of torchdiffeq 0.2.5 (rk_common.py, misc.py): `TorchdiffeqController`.

Steps are clipped to tstops and discontinuities alone, and a clipped step is what the next one is proposed from. Where
`Hooks.beyond` says so, the last step may end behind the end of the solve, which is an output of its dense output.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...retcode import ReturnCode
from ...stepping import TorchdiffeqController
from .integrator import Integrator
from .interpolant import LocalInterpolation
from .system import CarriedIntegrals


class TorchdiffeqIntegrator(Integrator):
    """Steps as torchdiffeq's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.options.controller, TorchdiffeqController)
        self._rule = self.options.controller
        self._carried = self.integrals if isinstance(self.integrals, CarriedIntegrals) else None
        if self.hooks.beyond:
            within = {x for x in self._stops if x not in self.hooks.stops or x in self._discontinuities}
            later = {x for x in self.options.tstops if self._direction * x >= self._direction * self.end}
            self._stops = sorted(within | later, reverse=self._direction < 0)

    def _finished(self) -> bool:
        if self.hooks.beyond:
            return self._direction * self.t >= self._direction * self.end
        return super()._finished()

    def _next_size(self) -> tuple[float, bool]:
        size = self._within_bounds(self._proposed)
        self._attempts += 1
        distance = abs(self._stops[0] - self.t) if self._stops else math.inf
        self._h = self._direction * min(size, distance)
        return self._h, size >= distance

    def _within_bounds(self, h: float) -> float:
        """Return the size of a step between dtmin and dtmax."""
        return min(max(abs(h), self.options.dtmin), self.options.dtmax)

    def _measure(self, new: Tensor, h: float) -> tuple[float, float]:
        error = self._error(new, h)
        self._proposed = self._within_bounds(h * self._factor(error))
        return error, 1.0

    def _embedded_error(self, h: float) -> Tensor:
        error = super()._embedded_error(h)
        if self._carried is not None:
            self._carried_error = self._carried.measure(error)
        return error

    def _emit(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> bool:
        if self._carried is not None:
            self._carried.take(y1 - y0, self._carried_error, min(1.0, (self.end - t0) / h))
        return super()._emit(t0, h, y0, y1)

    def _interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        step = super()._interpolation(t0, h, y0, y1)
        if self._carried is not None:
            self._carried.take_output(step, self.end)
        return step

    def _factor(self, error: float) -> float:
        rule = self._rule
        if error == 0.0:
            return rule.ifactor
        least = 1.0 if error < 1.0 else rule.dfactor
        power: float = error ** (1.0 / self.tableau.order)
        return min(rule.ifactor, max(rule.safety / power, least))

    def _accepts(self, error: float, h: float) -> bool:
        return error <= 1.0 or abs(h) <= self.options.dtmin

    def _propose(self, h: float, error: float, q: float, *, hits_stop: bool) -> None:
        self._size, self._new_size = self._new_size, None

    def _renews(self) -> bool:
        return self._stops[0] in self.hooks.jumps or self._stops[0] in self._discontinuities

    def _first_size(self) -> float:
        if self.options.first_step:
            return abs(self.options.first_step)
        first, y0, norm = self.stages.first, self.stages.values(self.y0), self.norm
        scale = self._scale(y0.abs())
        d0, d1 = norm(y0 / scale), norm(first / scale)
        if math.isinf(d1):
            return 0.0  # no step is small enough
        h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
        step = self._direction * h0
        second = self.stages.derivative(self._seen(self.t0 + step), y0 + step * first)
        d2 = norm((second.state - first) / scale) / h0
        steepest = max(d1, d2)
        h1 = max(1e-6, h0 * 1e-3) if steepest <= 1e-15 else (0.01 / steepest) ** (1.0 / self.tableau.order)
        return min(100 * h0, h1)

    def _failure_of_size(self, h: float) -> ReturnCode | None:
        return ReturnCode.DtLessThanMin if self.t + h == self.t else None
