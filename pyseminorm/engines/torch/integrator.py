"""The explicit Runge-Kutta loop: the state machine of OrdinaryDiffEqCore 4.15, stop by stop and step by step.

What is reproduced: first-same-as-last, PI control, steps clipped to stops (and the next step proposed from the clipped
one), stops hit exactly, one refreshed first stage after a jump, and the order of the failure checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...norms import FlatNorm
from ...retcode import ReturnCode
from ...stats import PassStats
from ...stepping import PIController
from ..pieces import Pieces
from .controller import PIControl
from .initial_step import initial_step
from .interpolant import StepPolynomial, dense_matrix
from .system import Derivative, Integrals, System
from .tableaus import Tableau


@dataclass(frozen=True)
class StepControl:
    """Settings of one pass. ``dt``: the fixed step, or the first one of an adaptive method; 0 or None: automatic."""

    rtol: float
    atol: float
    norm: FlatNorm
    dt: float | None
    max_steps: int
    controller: PIController | None


@dataclass
class Hooks:
    """What happens around steps.

    Attributes:
        stops: times (in order, the last one is the end) that a step must end at.
        at_stop: called with a stop's time; returns the changed state after a jump, or None where nothing changes.
        outputs: times (in order) wanted from dense output.
        at_output: called with the index of an output and its value.
        on_step: called with the polynomial of every accepted step, when given (dense output is kept).
        report: called with (accepted, t, state, dt) of every attempted step, a copy of the state at its start.
    """

    stops: Sequence[float]
    at_stop: Callable[[float, Tensor], Tensor | None] = lambda t, z: None
    outputs: Sequence[float] = ()
    at_output: Callable[[int, Tensor], None] = lambda i, z: None
    on_step: Callable[[StepPolynomial, float], None] | None = None
    report: Callable[[bool, float, Tensor, float], None] | None = None


@dataclass
class Integrator:
    """Integrates one system from t0 through all stops. After `run`, `t` and `state` are the last good ones."""

    system: System
    tableau: Tableau
    t0: float
    y0: Tensor
    f0: Derivative | None
    control: StepControl
    hooks: Hooks
    integrals: Integrals
    stats: PassStats
    pieces: Pieces

    t: float = field(init=False)
    state: Tensor = field(init=False)
    _first: Derivative = field(init=False)
    _first_once: Derivative | None = field(init=False, default=None)
    _dt: float = field(init=False)

    def __post_init__(self) -> None:
        self.t, self.state = self.t0, self.y0
        self.end = self.hooks.stops[-1]
        self._direction = math.copysign(1.0, self.end - self.t0)
        self._bounds = list(self.pieces.bounds)
        self._breaks = list(self.pieces.breaks)
        self._adaptive = self.tableau.adaptive
        like = self.y0

        def make(row: Sequence[float]) -> Tensor:
            return torch.tensor(row, dtype=like.dtype, device=like.device)

        rows = self.tableau.a + self.tableau.extra_a
        self._a = [make(row) for row in rows]
        self._b = make(self.tableau.b)
        self._btilde = make(self.tableau.btilde) if self.tableau.btilde else None
        self._dense = dense_matrix(self.tableau, like)
        self._k = like.new_zeros(len(rows), like.numel())
        self._next_output = 0

    # -- one evaluation and one step -------------------------------------------------------------------------------

    def _evaluate(self, t: float, state: Tensor) -> Derivative:
        low, high = self._bounds[0]
        return self.system(min(max(t, low), high), state)

    def _stage_input(self, i: int, h: float) -> Tensor:
        return torch.addmv(self.state, self._k[:i].T, self._a[i], alpha=h)

    def _attempt(self, h: float) -> tuple[Tensor, Derivative]:
        """All stages of one step: the new state and the derivative of the last stage."""
        tableau, weights = self.tableau, self.tableau.b
        self.integrals.start_step()
        if tableau.fsal:
            first = self._first
        else:
            first = self._first_once or self._evaluate(self.t, self.state)
            self._first_once = None
        self._k[0] = first.state
        self.integrals.add_stage(first.integrals, weights[0])
        last = first
        for i in range(1, tableau.stages):
            new = self._stage_input(i, h)
            last = self._evaluate(self.t + tableau.c[i] * h, new)
            self._k[i] = last.state
            self.integrals.add_stage(last.integrals, weights[i])
        if not tableau.fsal:
            new = torch.addmv(self.state, self._k[: tableau.stages].T, self._b, alpha=h)
        return new, last

    def _error(self, new: Tensor, h: float) -> float:
        assert self._btilde is not None
        error = torch.mv(self._k[: self.tableau.stages].T, self._btilde).mul_(h)
        scale = torch.maximum(self.state.abs(), new.abs()).mul_(self.control.rtol).add_(self.control.atol)
        return self.control.norm(error.div_(scale))

    def _polynomial(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> StepPolynomial:
        """Dense output of the step just made; the extra stages of the interpolant are evaluated here."""
        for i in range(self.tableau.stages, len(self._a)):
            value = torch.addmv(y0, self._k[:i].T, self._a[i], alpha=h)
            at = self.tableau.extra_c[i - self.tableau.stages]
            self._k[i] = self._evaluate(t0 + at * h, value).state
        return StepPolynomial(t0, h, y0, y1, self._dense @ self._k)

    def _emit(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> None:
        """Give out the outputs in (t0, self.t] and the step's polynomial where one is kept."""
        hooks, step = self.hooks, None
        if hooks.on_step is not None:
            step = self._polynomial(t0, h, y0, y1)
            hooks.on_step(step, self.t)
        while self._next_output < len(hooks.outputs):
            t = hooks.outputs[self._next_output]
            if self._direction * t > self._direction * self.t:
                break
            if t == self.t:
                value = y1
            else:
                step = step or self._polynomial(t0, h, y0, y1)
                value = step(t)
            hooks.at_output(self._next_output, value)
            self._next_output += 1

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> ReturnCode:
        """Integrate to the last stop, or until a check fails."""
        self._start()
        controller = PIControl.of(
            self.tableau, self.control.controller or PIController(), exact=self.state.dtype != torch.float64
        )
        stops = sorted({*self.hooks.stops, *self.pieces.breaks}, reverse=self._direction < 0)
        h, proposed, accepted, iterations, first = self._dt, self._dt, True, 0, True
        fixed = abs(self._dt)
        while stops:
            # The loop header: the step size to try, clipped to the next stop.
            if iterations > 0:
                if accepted:
                    first = False
                    h, proposed, _ = self._clip(proposed, proposed, stops[0], fixed)
                else:
                    h /= controller.rejection_divisor()
            iterations += 1
            h = self._bounded(h)
            h, proposed, hits_stop = self._clip(h, proposed, stops[0], fixed)
            failure = self._failure(h, accepted, iterations)
            if failure is not None:
                return failure

            new, last = self._attempt(h)
            error = self._error(new, h) if self._adaptive else 0.0
            q = controller.factor(error, first=first) if self._adaptive else 1.0
            accepted = error <= 1.0
            if not accepted:
                self.stats.nreject += 1
                self._report(False, self.t, self.state, h)
                continue

            # Accept: advance, give out outputs, apply a jump where a stop has one.
            self.stats.naccept += 1
            self.integrals.accept(h)
            t0, y0 = self.t, self.state
            if hits_stop:
                self.t = stops[0]
            else:
                self.t = t0 + h
            self.state, self._first = new, last
            if self._adaptive:
                base = proposed if hits_stop else h
                controller.accept(error)
                proposed = self._direction * max(min(abs(self.end - self.t0), abs(base / q)), math.ulp(self.t))
            else:
                proposed = h
            self.stats.times.append(self.t)
            self._report(True, t0, y0, h)
            self._emit(t0, h, y0, new)
            if hits_stop:
                changed = self.hooks.at_stop(self.t, new)
                stops.pop(0)
                crossed = self._cross_break()
                if changed is not None:
                    self.state = changed
                if (crossed or changed is not None) and self.tableau.fsal and stops:
                    self._first = self._evaluate(self.t, self.state)
        return ReturnCode.Success

    def _report(self, accepted: bool, t: float, state: Tensor, h: float) -> None:
        if self.hooks.report is not None:
            self.hooks.report(accepted, t, state.clone(), h)

    def _cross_break(self) -> bool:
        """Enter the next smooth piece where the step just made ended at a discontinuity."""
        if not self._breaks or self.t != self._breaks[0]:
            return False
        self._breaks.pop(0)
        self._bounds.pop(0)
        return True

    def _start(self) -> None:
        self.stats.times.append(self.t0)
        first = self.f0 or self._evaluate(self.t0, self.y0)
        self._first = first
        self._first_once = None if self.tableau.fsal else first
        control = self.control
        if control.dt:
            self._dt = self._direction * abs(control.dt)
        elif not self._adaptive:
            self._dt = 0.0
        else:
            self._dt = initial_step(
                self._evaluate,
                self.t0,
                self.end,
                self.y0,
                first,
                self.tableau.order,
                control.rtol,
                control.atol,
                control.norm,
            )

    def _bounded(self, h: float) -> float:
        if not self._adaptive and not self._dt:
            return h
        size = min(abs(h), abs(self.end - self.t0))
        return self._direction * max(size, math.ulp(self.t))

    def _clip(self, h: float, proposed: float, stop: float, fixed: float) -> tuple[float, float, bool]:
        """(step size, proposed step size, whether the step ends at ``stop``): modify_dt_for_tstops! there."""
        distance = abs(stop - self.t)
        tolerance = 100 * math.ulp(max(abs(self.t), abs(stop)))
        size = abs(h) if self._adaptive else (fixed or distance)
        if self._adaptive:
            proposed = h
        return self._direction * min(size, distance), proposed, size + tolerance >= distance

    def _failure(self, h: float, accepted: bool, iterations: int) -> ReturnCode | None:
        if math.isnan(h):
            return ReturnCode.DtNaN
        if iterations > self.control.max_steps:
            return ReturnCode.MaxIters
        if self._adaptive and abs(h) <= 0.0:
            return ReturnCode.DtLessThanMin
        if self._adaptive and not accepted and abs(h) <= math.ulp(self.t):
            return ReturnCode.Unstable
        return None
