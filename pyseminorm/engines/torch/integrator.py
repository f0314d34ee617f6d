"""The explicit Runge-Kutta loop: the state machine of OrdinaryDiffEqCore 4.15, stop by stop and step by step.

What is reproduced: first-same-as-last, PI control, steps clipped to stops (and the next step proposed from the clipped
one), stops hit exactly, one refreshed first stage after a jump, and the order of the failure checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...methods.tableaus import Tableau
from ...methods.weights import weights
from ...norms import FlatNorm
from ...problem.discontinuities import Discontinuities
from ...problem.finiteness import PARAMS_PRODUCT, not_finite
from ...problem.state import all_finite
from ...retcode import ReturnCode
from ...stats import PassStats
from ...stepping import PIController
from .controller import PIControl
from .initial_step import initial_step
from .interpolant import LocalInterpolation
from .system import Derivative, IntegralDerivatives, Integrals, System


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
        jumps: those of them where the state changes.
        at_jump: called with the time and state of a jump; returns the changed state.
        outputs: times (in order) wanted from dense output.
        at_outputs: called with the index of the first output of a step that holds some, and their values, one a row.
        on_step: called with the polynomial of every accepted step, when given (dense output is kept).
        report: called with (accepted, t, state, dt) of every attempted step, a copy of the state at its start.
        looks: whether to look at the state after every step, since no norm is known to see all of it.
    """

    stops: Sequence[float]
    jumps: Set[float] = frozenset()
    at_jump: Callable[[float, Tensor], Tensor] = lambda t, z: z
    outputs: Sequence[float] = ()
    at_outputs: Callable[[int, Tensor], None] = lambda i, rows: None
    on_step: Callable[[LocalInterpolation, float], None] | None = None
    report: Callable[[bool, float, Tensor, float], None] | None = None
    looks: bool = False


@dataclass
class Integrator:
    """Integrates one system from t0 through all stops. After `run`, `t` and `state` are the last good ones."""

    system: System
    tableau: Tableau
    t0: float
    y0: Tensor
    f0: Tensor | None
    control: StepControl
    hooks: Hooks
    integrals: Integrals
    stats: PassStats
    discontinuities: Discontinuities

    t: float = field(init=False)
    state: Tensor = field(init=False)
    _dt: float = field(init=False)

    def __post_init__(self) -> None:
        self.t, self.state = self.t0, self.y0
        self.end = self.hooks.stops[-1]
        self._direction = math.copysign(1.0, self.end - self.t0)
        self._intervals = list(self.discontinuities.intervals)
        self._discontinuities = list(self.discontinuities.times)
        self._adaptive = self.tableau.adaptive
        self._weights = weights(self.tableau, self.y0)
        # Derivatives of all stages, with the views of them that steps need: many small calls are what a step costs.
        self._k = self.y0.new_zeros(self._weights.stages, self.y0.numel())
        self._rows = self._k.unbind(0)
        self._before = [self._k[:i].T for i in range(self._weights.stages + 1)]  # columns: the stages before the i-th
        self._integral_derivatives: IntegralDerivatives = []  # of the first stage
        self._first_known = False  # whether the first stage of the next step is there
        self._atol = self.y0.new_full((), self.control.atol)
        self._size = self.y0.abs()  # |state|
        self._next_output = 0

    # -- one evaluation and one step -------------------------------------------------------------------------------

    def _evaluate(self, t: float, state: Tensor, out: Tensor, *, wanted: bool) -> IntegralDerivatives:
        low, high = self._intervals[0]
        return self.system(min(max(t, low), high), state, out, wanted)

    def _derivative(self, t: float, state: Tensor) -> Derivative:
        out = torch.empty_like(state)
        return Derivative(out, self._evaluate(t, state, out, wanted=True))

    def _attempt(self, h: float, *, first_of_next: bool) -> tuple[Tensor, IntegralDerivatives]:
        """All stages of one step: the new state, and what the last stage gave for the integrals.

        ``first_of_next``: the last stage serves the next step too, if this one is accepted.
        """
        tableau, state, add_stage = self.tableau, self.state, self.integrals.add_stage
        rows, b = self._weights.rows, tableau.b
        self.integrals.start_step()
        if not self._first_known:
            self._integral_derivatives = self._evaluate(self.t, state, self._rows[0], wanted=b[0] != 0.0)
        self._first_known = tableau.fsal  # else every attempt evaluates it, as in OrdinaryDiffEq
        derivatives = self._integral_derivatives
        add_stage(derivatives, b[0])
        for i in range(1, tableau.stages):
            new = torch.addmv(state, self._before[i], rows[i], alpha=h)
            wanted = b[i] != 0.0 or (first_of_next and i == tableau.stages - 1)
            derivatives = self._evaluate(self.t + tableau.c[i] * h, new, self._rows[i], wanted=wanted)
            add_stage(derivatives, b[i])
        if not tableau.fsal:
            new = torch.addmv(state, self._k.T, self._weights.b, alpha=h)
        return new, derivatives

    def _error(self, new: Tensor, new_size: Tensor, h: float) -> float:
        assert self._weights.error is not None
        error = torch.mv(self._before[self.tableau.stages], self._weights.error).mul_(h)
        return self.control.norm(error.div_(self._scale(torch.maximum(self._size, new_size))))

    def _scale(self, size: Tensor) -> Tensor:
        return torch.add(self._atol, size, alpha=self.control.rtol)

    def _interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        """Dense output of the step just made; the extra stages of the interpolant are evaluated here."""
        weights = self._weights
        for i in range(self.tableau.stages, weights.stages):
            value = torch.addmv(y0, self._before[i], weights.rows[i], alpha=h)
            self._evaluate(t0 + weights.c[i] * h, value, self._rows[i], wanted=False)
        return LocalInterpolation(t0, h, y0, y1, weights.dense @ self._k)

    def _emit(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> None:
        """Give out the outputs in (t0, self.t] and the step's polynomial where one is kept."""
        hooks, step = self.hooks, None
        if hooks.on_step is not None:
            step = self._interpolation(t0, h, y0, y1)
            hooks.on_step(step, self.t)
        first, last = self._next_output, self._next_output
        while last < len(hooks.outputs) and self._direction * hooks.outputs[last] <= self._direction * self.t:
            last += 1
        if last == first:
            return
        self._next_output = last
        ends = hooks.outputs[last - 1] == self.t
        inside = hooks.outputs[first : last - ends]
        if inside:
            step = step or self._interpolation(t0, h, y0, y1)
            hooks.at_outputs(first, step.at(inside))
        if ends:
            hooks.at_outputs(last - 1, y1.unsqueeze(0))

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> ReturnCode:
        """Integrate to the last stop, or until a check fails."""
        self._start()
        controller = PIControl.of(
            self.tableau, self.control.controller or PIController(), exact=self.state.dtype != torch.float64
        )
        stops = sorted({*self.hooks.stops, *self.discontinuities.times}, reverse=self._direction < 0)
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

            new, derivatives = self._attempt(
                h, first_of_next=self.tableau.fsal and not (hits_stop and self._renews(stops))
            )
            error, q = 0.0, 1.0
            if self._adaptive:
                new_size = new.abs()
                error = self._error(new, new_size, h)
                q = controller.factor(error, first=first)
            accepted = error <= 1.0
            if not accepted:
                self.stats.nreject += 1
                self._report(False, self.t, self.state, h)
                continue

            # Accept: advance, give out outputs, apply a jump where a stop has one.
            t0, y0, t1 = self.t, self.state, stops[0] if hits_stop else self.t + h
            if not self.integrals.accept(h):
                raise not_finite(PARAMS_PRODUCT, t0, t1)
            if self.hooks.looks and not all_finite(new):
                return ReturnCode.Unstable
            self.stats.naccept += 1
            self.t, self.state = t1, new
            if self._adaptive:
                self._size = new_size
                base = proposed if hits_stop else h
                controller.accept(error)
                proposed = self._direction * max(min(abs(self.end - self.t0), abs(base / q)), math.ulp(self.t))
            else:
                proposed = h
            self.stats.times.append(self.t)
            self._report(True, t0, y0, h)
            self._emit(t0, h, y0, new)
            refresh = hits_stop and self._renews(stops)
            if hits_stop:
                self._cross_stop(stops.pop(0))
            if self.tableau.fsal and stops:
                if refresh:
                    self._integral_derivatives = self._evaluate(self.t, self.state, self._rows[0], wanted=True)
                else:
                    self._rows[0].copy_(self._rows[self.tableau.stages - 1])
                    self._integral_derivatives = derivatives
        return ReturnCode.Success

    def _report(self, accepted: bool, t: float, state: Tensor, h: float) -> None:
        if self.hooks.report is not None:
            self.hooks.report(accepted, t, state.clone(), h)

    def _renews(self, stops: Sequence[float]) -> bool:
        """Whether a step to the first of these stops is the last one, or the next one begins with a new derivative."""
        stop = stops[0]
        return len(stops) == 1 or stop in self.hooks.jumps or stop in self._discontinuities

    def _cross_stop(self, stop: float) -> None:
        """Enter the next smooth interval, and change the state, where the step just made ended at such a stop."""
        if self._discontinuities and stop == self._discontinuities[0]:
            self._discontinuities.pop(0)
            self._intervals.pop(0)
        if stop in self.hooks.jumps:
            self.state = self.hooks.at_jump(stop, self.state)
            self._size = self.state.abs()

    def _start(self) -> None:
        self.stats.times.append(self.t0)
        if self.f0 is None:
            self._integral_derivatives = self._evaluate(self.t0, self.y0, self._rows[0], wanted=True)
        else:
            self._rows[0].copy_(self.f0)
        self._first_known = True
        control = self.control
        if control.dt:
            self._dt = self._direction * abs(control.dt)
        elif not self._adaptive:
            self._dt = 0.0
        else:
            self._dt = initial_step(
                self._derivative,
                self.t0,
                self.end,
                self.y0,
                Derivative(self._rows[0], self._integral_derivatives),
                self.tableau.order,
                self._size * control.rtol + control.atol,
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
