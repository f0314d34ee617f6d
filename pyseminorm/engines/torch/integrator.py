"""The explicit Runge-Kutta loop: the state machine of OrdinaryDiffEqCore 4.15, stop by stop and step by step.

What is reproduced: first-same-as-last, PI control, steps clipped to stops (and the next step proposed from the clipped
one), stops hit exactly, one refreshed first stage after a jump, and the order of the failure checks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from ...methods.tableau import Tableau
from ...norms import FlatNorm, Seminorm
from ...passes.problems import PassOptions
from ...problem.discontinuities import Discontinuities
from ...problem.finiteness import PARAMS_PRODUCT, not_finite
from ...problem.state import all_finite
from ...retcode import ReturnCode
from ...stats import PassStats
from ...stepping import PIController
from .controller import PIControl
from .initial_step import FirstSizes
from .interpolant import LocalInterpolation
from .stages import Stages
from .system import Derivative, IntegralDerivatives, Integrals, WholeIntegrals
from .whole_steps import Attempt, Start, WholeSteps

_OWN = PIController()  # the method's own


@dataclass
class Hooks:
    """What happens around steps.

    Attributes:
        stops: times (in order, the last one is the end) that a step must end at.
        jumps: those of them where the state changes.
        at_jump: called with the time and state of a jump; returns the changed state.
        outputs: times (in order) wanted from dense output.
        at_outputs: called with the index of the first output of a step that holds some, and their values, one a row.
        on_step: called with the polynomial of every accepted step, when given (dense output is kept), and its end; a
            true value ends the solve there.
        report: called with (accepted, t, state, dt) of every attempted step, a state at its start that is not written
            into.
        announce: called with (t, state, dt) before a step is tried.
        look_ahead: called with the times of the stages of a step, but for the first, before they are made.
        inside: whether an output at the end of a step is taken from dense output too, to be differentiated by its time.
        looks: whether to look at the state after every step, since no norm is known to see all of it.
        beyond: whether the last step may end behind the end, where the method has such steps.
    """

    stops: Sequence[float]
    jumps: Set[float] = frozenset()
    at_jump: Callable[[float, Tensor], Tensor] = lambda t, z: z
    outputs: Sequence[float] = ()
    at_outputs: Callable[[int, Tensor], None] = lambda i, rows: None
    on_step: Callable[[LocalInterpolation, float], bool | None] | None = None
    report: Callable[[bool, float, Tensor, float], None] | None = None
    announce: Callable[[float, Tensor, float], None] | None = None
    look_ahead: Callable[[Sequence[float]], None] = lambda times: None
    inside: bool = False
    looks: bool = False
    beyond: bool = False


@dataclass
class Integrator:
    """Integrates one system from t0 through all stops. After `run`, `t` and `state` are the last good ones."""

    stages: Stages
    tableau: Tableau
    t0: float
    y0: Tensor
    f0: Callable[[], Tensor] | None  # what gives the first derivative; None: it is evaluated
    options: PassOptions
    norm: FlatNorm
    hooks: Hooks
    integrals: Integrals
    stats: PassStats
    discontinuities: Discontinuities

    def __post_init__(self) -> None:
        self.t, self.state = self.t0, self.y0
        self._size: Tensor | None = None  # |state|, where it is known
        self._new_size: Tensor | None = None
        self.end = self.hooks.stops[-1]
        self._direction = math.copysign(1.0, self.end - self.t0)
        self._adaptive = self.tableau.adaptive
        self._intervals = list(self.discontinuities.intervals)
        self._discontinuities = list(self.discontinuities.times)
        self._integral_derivatives: IntegralDerivatives = []  # of the first stage
        self._first_known = False  # whether the first stage of the next step is there
        self._whole = self.stages if isinstance(self.stages, WholeSteps) else None
        self._next_output = 0
        given = self.options.controller if isinstance(self.options.controller, PIController) else _OWN
        self._controller = PIControl(self.tableau, given, exact=self.state.dtype != torch.float64)
        low, high = sorted((self.t0, self.end))
        inside = (stop for stop in self.options.tstops if low < stop < high)
        self._stops = sorted({*self.hooks.stops, *self._discontinuities, *inside}, reverse=self._direction < 0)
        self._dtmax = self.options.dtmax if math.isfinite(self.options.dtmax) else high - low
        # Of the last attempt: its size, what is proposed after it, whether it was accepted; and how many there were.
        self._h, self._proposed, self._accepted, self._attempts = 0.0, 0.0, True, 0
        self._t1 = self.t0  # where the present attempt ends
        self.squares = 0.0  # of the errors of accepted steps

    def values(self) -> Tensor:
        """Return the state (size,), without gradient."""
        return self.stages.values(self.state)

    # -- one evaluation and one step -------------------------------------------------------------------------------

    def _seen(self, t: float) -> float:
        """Return the time that func sees, kept within the smooth interval that the step is in."""
        low, high = self._intervals[0]
        return min(max(t, low), high)

    def _evaluate(self, i: int, t: float, state: Tensor, *, wanted: bool) -> IntegralDerivatives:
        return self.stages.evaluate(i, self._seen(t), state, wanted=wanted)

    def _attempt(self, h: float, *, first_of_next: bool, last: bool) -> tuple[Tensor, IntegralDerivatives]:
        """Evaluate all stages of one step: the new state, and what the last stage gave for the integrals.

        ``first_of_next``: the last stage serves the next step too, if this one is accepted; ``last``: it is wanted.
        """
        if self._whole is not None:
            made = self._attempt_whole(self._whole, h, last or not self.tableau.ends_at_state)
            if made is not None:
                return made.end, made.derivatives
        tableau, state, add_stage = self.tableau, self.state, self.integrals.add_stage
        stages, all_wanted = self.stages, self.integrals.wanted
        self.integrals.start_step()
        if not self._first_known:
            self._integral_derivatives = self._evaluate(0, self.t, state, wanted=all_wanted[0])
        self._first_known = tableau.fsal  # else every attempt evaluates it, as in OrdinaryDiffEq
        derivatives = self._integral_derivatives
        add_stage(0, derivatives)
        self.hooks.look_ahead(list(dict.fromkeys(self._seen(self.t + c * h) for c in tableau.c[1:])))
        if self.integrals.total and not self.integrals.keeps_stages:  # as long as the parameters, and added
            derivatives = self._integral_derivatives = ()
            self._first_known = False  # another attempt makes it again
        for i in range(1, tableau.stages):
            new = stages.start(i, state, h)
            if i == tableau.stages - 1 and not last:
                break
            derivatives = ()  # as long as the parameters: gone before the next ones are made
            wanted = all_wanted[i] or (first_of_next and i == tableau.stages - 1)
            derivatives = self._evaluate(i, self.t + tableau.c[i] * h, new, wanted=wanted)
            add_stage(i, derivatives)
        if not self.tableau.ends_at_state:
            new = stages.end(state, h)
        return new, derivatives if first_of_next else ()

    def _attempt_whole(self, steps: WholeSteps, h: float, last: bool) -> Attempt | None:
        """Do the same in one call; the first stage is made in it, if it is not known."""
        times = [self._seen(self.t + c * h) for c in self.tableau.c]
        first = (steps.first, self._integral_derivatives) if self._first_known else None
        atol, rtol = self.options.atol, self.options.rtol
        assert isinstance(atol, float) and isinstance(rtol, float)
        inside, _ = self._outputs_until(self._t1)
        thetas = [(t - self.t) / h for t in inside]
        made = steps.attempt(Start(self.state, times, (h, atol, rtol), first, last, thetas))
        if made is not None:
            self._first_known = self._first_known and self.tableau.fsal
            self.integrals.start_step(WholeIntegrals(made.totals, steps.sizes))
        return made

    def _error(self, new: Tensor, h: float) -> float:
        if self._whole is not None:
            error = self._whole.error_size(self.norm)
            if error is not None:
                return error
        self._new_size = self.stages.values(new).abs()
        if self._size is None:
            self._size = self.stages.values(self.state).abs()
        return self.norm(self._embedded_error(h).div_(self._scale(torch.maximum(self._size, self._new_size))))

    def _embedded_error(self, h: float) -> Tensor:
        return self.stages.error(h)

    @functools.cached_property
    def _atol(self) -> Tensor:
        atol = self.options.atol
        return atol if isinstance(atol, Tensor) else self.y0.new_full((), atol)

    def _scale(self, size: Tensor) -> Tensor:
        rtol = self.options.rtol
        if isinstance(rtol, Tensor):
            return torch.addcmul(self._atol, size, rtol)
        return torch.add(self._atol, size, alpha=rtol)

    def _interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        """Make the dense output of the step just made, with the extra stages of the interpolant."""
        stages = self.stages
        for i, c in enumerate(self.tableau.extra_c, self.tableau.stages):
            self._evaluate(i, t0 + c * h, stages.start(i, y0, h), wanted=False)
        return stages.interpolation(t0, h, y0, y1)

    def _emit(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> bool:
        """Give out the outputs in (t0, self.t] and the step's polynomial where one is kept; whether that ends all."""
        hooks, step, ends_all = self.hooks, None, False
        if hooks.on_step is not None:
            step = self._interpolation(t0, h, y0, y1)
            forwards = self._direction > 0
            ends_all = bool(hooks.on_step(step, (min if forwards else max)(self.t, self.end)))
        first, (inside, ends) = self._next_output, self._outputs_until(self.t)
        self._next_output += len(inside) + ends
        if inside:
            rows = None if self._whole is None else self._whole.made_outputs(len(inside))
            if rows is None:
                step = step or self._interpolation(t0, h, y0, y1)
                rows = self.stages.outputs(step, inside)
            hooks.at_outputs(first, rows)
        if ends:
            hooks.at_outputs(self._next_output - 1, y1.reshape(1, -1))
        return ends_all

    def _outputs_until(self, t1: float) -> tuple[Sequence[float], bool]:
        """Return the outputs inside a step to ``t1``, and whether one is its end."""
        outputs, direction, last = self.hooks.outputs, self._direction, self._next_output
        while last < len(outputs) and direction * outputs[last] <= direction * t1:
            last += 1
        ends = last > self._next_output and outputs[last - 1] == t1 and not self.hooks.inside
        return outputs[self._next_output : last - ends], ends

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> ReturnCode:
        """Integrate to the last stop, or until a check fails."""
        self._start()
        while not self._finished():
            h, hits_stop = self._next_size()
            failure = self._failure(h)
            if failure is not None:
                return failure
            if self.hooks.announce is not None:
                self.hooks.announce(self.t, self.stages.values(self.state).clone(), h)
            self._t1 = self._stops[0] if hits_stop else self.t + h
            renews = hits_stop and self._renews()
            derivatives: IntegralDerivatives = ()  # those of the attempt before are as long as the parameters
            last = self._adaptive or not renews or self._reads_last_stage(self._stops[0])
            new, derivatives = self._attempt(h, first_of_next=self.tableau.fsal and not renews, last=last)
            error, q = self._measure(new, h)
            self._accepted = self._accepts(error, h)
            if not self._accepted:
                self.stats.nreject += 1
                self._report(False, self.t, self.state, h)
                continue
            t0, y0 = self.t, self.state
            if not self._advance(new, h, self._t1):
                return ReturnCode.Unstable
            self.squares += error * error
            self._propose(h, error, q, hits_stop=hits_stop)
            if self.stats.proposed is None and self._adaptive:
                self.stats.proposed = abs(self._proposed)
            self._report(True, t0, y0, h)
            if self._emit(t0, h, y0, new):
                break
            if hits_stop:
                self._cross_stop(self._stops.pop(0))
            if self.tableau.fsal and not self._finished():
                self._begin_step(derivatives, renews=renews)
        return ReturnCode.Success

    def _finished(self) -> bool:
        return not self._stops

    def _accepts(self, error: float, h: float) -> bool:
        return error <= 1.0

    def _next_size(self) -> tuple[float, bool]:
        """Choose the step size to try, and tell whether the step ends at the next stop: the loop header there."""
        h = self._h
        if self._attempts > 0 and self._accepted:
            h, self._proposed, _ = self._clip(self._proposed)
        elif self._attempts > 0:
            h /= self._controller.rejection_divisor()
        self._attempts += 1
        self._h, self._proposed, hits_stop = self._clip(self._bound(h))
        return self._h, hits_stop

    def _measure(self, new: Tensor, h: float) -> tuple[float, float]:
        """Return the error of the step just made, and by how much the next one is to be smaller."""
        if not self._adaptive:
            return 0.0, 1.0
        error = max(self._error(new, h), self.integrals.scaled_error(h))
        return error, self._controller.factor(error, first=self.stats.naccept == 0)

    def _advance(self, new: Tensor, h: float, t1: float) -> bool:
        """Take the step just made; whether its end is finite, where that is looked at."""
        if not self.integrals.accept(h):
            raise not_finite(PARAMS_PRODUCT, self.t, t1)
        if self.hooks.looks and not all_finite(self.stages.values(new)):
            return False
        self.stats.naccept += 1
        self.t, self.state = t1, new
        self.stats.times.append(t1)
        return True

    def _propose(self, h: float, error: float, q: float, *, hits_stop: bool) -> None:
        """Let the controller choose the next step size, from the size before it was clipped to a stop."""
        if not self._adaptive:
            self._proposed = h
            return
        if self._size is not self._new_size:
            self._size, self._new_size = self._new_size, None
        self._controller.accept(error)
        base = self._proposed if hits_stop else h
        size = max(min(self._dtmax, abs(base / q)), math.ulp(self.t), self.options.dtmin)
        self._proposed = self._direction * size

    def _begin_step(self, derivatives: IntegralDerivatives, *, renews: bool) -> None:
        """Make the first stage of the next step: the last one of this step, where nothing has changed since."""
        self._first_known = not (renews and self._whole is not None and self._whole.renews)
        if not self._first_known:
            return
        if renews:
            self._integral_derivatives = self._evaluate(0, self.t, self.state, wanted=True)
        else:
            self.stages.take_last_first()
            self._integral_derivatives = derivatives

    def _report(self, accepted: bool, t: float, state: Tensor, h: float) -> None:
        if self.hooks.report is not None:
            values = self.stages.values(state)
            if self._whole is None or self._whole.made is None:  # nothing is written into what graphs make
                values = values.clone()
            self.hooks.report(accepted, t, values, h)

    def _renews(self) -> bool:
        """Tell whether a step to the next stop is the last one, or the one after it begins with a new derivative."""
        stop = self._stops[0]
        return len(self._stops) == 1 or stop in self.hooks.jumps or stop in self._discontinuities

    def _reads_last_stage(self, stop: float) -> bool:
        """Tell whether dense output in the step to ``stop`` is wanted, which a last stage of fixed steps serves."""
        if not any(self.tableau.dense[self.tableau.stages - 1]):  # linear dense output
            return False
        outputs, following = self.hooks.outputs, self._next_output
        inside = following < len(outputs) and self._direction * outputs[following] < self._direction * stop
        return inside or self.hooks.inside or self.hooks.on_step is not None

    def _cross_stop(self, stop: float) -> None:
        """Enter the next smooth interval, and change the state, where the step just made ended at such a stop."""
        if self._discontinuities and stop == self._discontinuities[0]:
            self._discontinuities.pop(0)
            self._intervals.pop(0)
        if stop in self.hooks.jumps:
            self.state = self.hooks.at_jump(stop, self.state)
            self._size = None

    def _start(self) -> None:
        self.stats.times.append(self.t0)
        if self._whole is not None and self._whole.renews and self.options.first_step:
            self._h = self._proposed = self._direction * self.options.step_size
            self.stats.nf -= 1  # the first attempt makes the first derivative, too
            return
        size = self._begin_whole()
        if size is None:
            if self.f0 is None:
                self._integral_derivatives = self._evaluate(0, self.t0, self.y0, wanted=True)
            else:
                self.stages.take_first(self.f0())
            size = self._first_size()
        self._first_known = True
        self._h = self._proposed = self._direction * size

    def _begin_whole(self) -> float | None:
        """Make the first derivative and the size of the first step in one call; None where that cannot be."""
        options, sizes = self.options, self._first_sizes
        if self._whole is None or not self._adaptive or options.first_step or not isinstance(self.norm, Seminorm):
            return None
        atol, rtol = options.atol, options.rtol
        assert isinstance(atol, float) and isinstance(rtol, float)
        numbers = (self.t0, self._direction, *self._intervals[0], atol, rtol, sizes.small, sizes.largest)
        begun = self._whole.begin(self.y0, numbers)
        if begun is None:
            return None
        self._integral_derivatives = begun.derivatives
        d0, d1, change, same = begun.sizes
        return sizes.choose(self.tableau.order, d0, d1, lambda dt0: (change, same))

    @property
    def _first_sizes(self) -> FirstSizes:
        stop = self._stops[0] if self._stops else self.end
        return FirstSizes.of(self.t0, self.options.dtmin, min(self._dtmax, abs(stop - self.t0)))

    def _first_size(self) -> float:
        """Return the fixed step (0: from stop to stop), or the first one of an adaptive method."""
        options = self.options
        if not self._adaptive or options.first_step:
            return options.step_size
        first, y0 = Derivative(self.stages.first, self._integral_derivatives), self.stages.values(self.y0)
        scale = y0.abs() * options.rtol + options.atol

        def look(dt0: float) -> tuple[float, bool]:
            h = self._direction * dt0
            found = self.stages.derivative(self._seen(self.t0 + h), y0 + h * first.state)
            return self.norm((found.state - first.state) / scale), found.equal(first)

        return self._first_sizes.choose(self.tableau.order, self.norm(y0 / scale), self.norm(first.state / scale), look)

    def _bound(self, h: float) -> float:
        if not self._adaptive and not self.options.fixed_step:
            return h
        return self._direction * max(min(abs(h), self._dtmax), math.ulp(self.t), self.options.dtmin)

    def _clip(self, h: float) -> tuple[float, float, bool]:
        """Return (step size, proposed one, whether the step ends at the next stop), as modify_dt_for_tstops! there."""
        stop = self._stops[0]
        distance = abs(stop - self.t)
        tolerance = 100 * math.ulp(max(abs(self.t), abs(stop)))
        size = abs(h) if self._adaptive else (abs(self.options.fixed_step or 0.0) or distance)
        proposed = h if self._adaptive else self._proposed
        return self._direction * min(size, distance), proposed, size + tolerance >= distance

    def _failure(self, h: float) -> ReturnCode | None:
        if math.isnan(h):
            return ReturnCode.DtNaN
        if self._attempts > self.options.max_steps:
            return ReturnCode.MaxIters
        return self._failure_of_size(h)

    def _failure_of_size(self, h: float) -> ReturnCode | None:
        if self._adaptive and abs(h) <= self.options.dtmin and (not self._accepted or self.t + h < self._stops[0]):
            return ReturnCode.DtLessThanMin
        if self._adaptive and not self._accepted and abs(h) <= math.ulp(self.t):
            return ReturnCode.Unstable
        return None
