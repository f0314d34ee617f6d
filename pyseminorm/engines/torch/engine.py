"""Forward and adjoint solves of the embedded engine."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...adjoints import GaussAdjoint
from ...errors import AttachLastGoodState, LastGoodState
from ...host_copies import read_length
from ...methods.adams import ADAMS_METHODS
from ...methods.tableau import Tableau
from ...methods.tableaus import TABLEAUS, find_iteration, find_tableau
from ...norms import FlatNorm, Seminorm
from ...passes.discrete_sweep import Sweep
from ...passes.gradient_error import state_error
from ...passes.problems import (
    AdjointProblem,
    AdjointResult,
    DiscreteProblem,
    EventWatch,
    ForwardProblem,
    ForwardResult,
    PassOptions,
)
from ...passes.right_hand_side import AdjointRightHandSide
from ...problem.discontinuities import Discontinuities
from ...problem.recorded_field import RecordedStart
from ...retcode import ReturnCode
from ...stats import PassStats
from ...stepping import MethodTraits
from .adams import AdamsIntegrator
from .gauss_nodes import GaussNodes
from .implicit import ImplicitIntegrator
from .integrator import Hooks, Integrator
from .interpolant import DenseInterpolation, LocalInterpolation
from .recorded_stages import RecordedStages
from .stages import StageBuffers, Stages
from .system import CarriedIntegrals, IntegralDerivatives, Integrals
from .torchdiffeq_steps import TorchdiffeqIntegrator
from .whole_steps import WholeSteps


class TorchEngine:
    """The engine "torch"."""

    name = "torch"

    def traits(self, method: Any) -> MethodTraits:
        find_iteration(method)
        return find_tableau(method).traits

    def integrate(self, problem: ForwardProblem) -> ForwardResult:
        started, times, options = time.perf_counter(), problem.times, problem.options
        start = problem.first if isinstance(problem.first, RecordedStart) else None
        forward = _ForwardSystem(problem) if start is None else _RecordedSystem(problem)
        dense = DenseInterpolation(times[0], 1.0 if times[-1] > times[0] else -1.0) if problem.keep_dense else None
        on_step: StepHook | None = None if dense is None else dense.append
        if problem.events is not None:
            problem.events.start(problem)
            on_step = _look_at_steps(problem.events, on_step)
        hooks = Hooks(
            stops=list(times[1:]) if options.output_to_output else [*problem.grid, times[-1]],
            outputs=times[1:],
            at_outputs=forward.take_outputs,
            on_step=on_step,
            report=problem.report,
            announce=options.announce,
            look_ahead=problem.field.look_ahead,
            inside=start is not None and bool(start.offsets),
            beyond=True,
        )
        tableau, stats, (y0, f0) = options.tableau, forward.stats, forward.start()
        integrator = integrator_of(options)(
            forward.stages(tableau), tableau, times[0], y0, f0, options, _norm_of(problem), hooks,
            Integrals([], tableau), stats, problem.discontinuities,
        )  # fmt: skip
        records = start is not None and torch.is_grad_enabled()
        with (
            torch.set_grad_enabled(records),
            AttachLastGoodState(lambda: _last_good_state(integrator, problem.spec.unflatten)),
        ):
            retcode = integrator.run()
        ys = forward.outputs()
        if options.traits.adaptive:
            stats.state_error = _state_error(integrator.squares, options, integrator.values())
        stats.seconds = time.perf_counter() - started
        return ForwardResult(ys, retcode, stats, integrator.t, integrator.values(), dense)

    def sweep(self, problem: DiscreteProblem) -> AdjointResult:
        if problem.want_derivatives or not _makes_whole_steps(problem):
            return Sweep(problem).run()
        from .whole_sweep import WholeSweep

        return WholeSweep(problem).run()

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult:
        started, stats = time.perf_counter(), PassStats()
        backward = _BackwardSystem(problem, stats)
        with torch.no_grad():
            if problem.restarts:
                t, z, retcode = _restarting(problem, backward)
            else:
                t0, hooks, seen = problem.times[problem.last], backward.hooks(), problem.discontinuities
                t, z, retcode = _solve_backwards(problem, backward, t0, backward.start(), hooks, seen)
            if backward.quadrature:
                good = LastGoodState(t, problem.unflatten_adjoint(z.clone()), stats)
                with AttachLastGoodState(lambda: good):
                    stats.param_error = backward.quadrature.finish()
                    stats.cancellation = backward.quadrature.cancellation
        adjoint, params = z[problem.layout.adjoint_slice], backward.params(z)
        if problem.options.traits.adaptive:
            if not backward.quadrature:
                backward.estimate(z, stats)
            stats.state_error = _state_error(backward.squares, problem.options, adjoint)
        stats.seconds = time.perf_counter() - started
        y = z[problem.layout.y_slice] if problem.layout.has_y else None
        return AdjointResult(adjoint, params, retcode, stats, t, output_derivatives=backward.output_derivatives, y=y)


def integrator_of(options: PassOptions) -> type[Integrator]:
    """Return whose steps a pass takes."""
    if options.iteration is not None:
        return AdamsIntegrator if options.tableau.name in ADAMS_METHODS else ImplicitIntegrator
    return TorchdiffeqIntegrator if options.as_torchdiffeq else Integrator


def _restarting(problem: AdjointProblem, backward: _BackwardSystem) -> tuple[float, Tensor, ReturnCode]:
    """Solve backwards from output to output, anew from each; return the last good time and state."""
    times, options = problem.times, problem.options
    z, t, retcode = backward.start(), times[problem.last], ReturnCode.Success
    for i in range(problem.last, 0, -1):
        ends: list[Tensor] = []
        hooks = backward.hooks([i - 1], lambda _, rows: ends.extend(rows))  # noqa: B023 (of this solve alone)
        seen = options.discontinuities_within(times[i], times[i - 1], problem.spec.real_dtype)
        t, last, retcode = _solve_backwards(problem, backward, times[i], z, hooks, seen)
        if not retcode.success:
            return t, last, retcode
        z = backward.jump(i - 1, ends[0]) if i > 1 else ends[0]
    return times[0], z, retcode


def _solve_backwards(
    problem: AdjointProblem, backward: _BackwardSystem, start: float, z: Tensor, hooks: Hooks, seen: Discontinuities
) -> tuple[float, Tensor, ReturnCode]:
    options, norm, stats = problem.spread_options, _norm_of(problem), backward.stats
    integrator = integrator_of(options)(
        backward.stages(options.tableau, z), options.tableau, start, z, None, options, norm, hooks,
        backward.integrals, stats, seen,
    )  # fmt: skip
    with AttachLastGoodState(lambda: _last_good_state(integrator, problem.unflatten_adjoint)):
        retcode = integrator.run()
    backward.squares += integrator.squares
    return integrator.t, integrator.state, retcode


def _state_error(squares: float, options: PassOptions, state: Tensor) -> float | None:
    size = read_length(state) / max(state.numel(), 1) ** 0.5
    return state_error(squares, options.rtol, options.atol, size)


StepHook = Callable[[LocalInterpolation, float], bool | None]


def _look_at_steps(events: EventWatch, keep: StepHook | None) -> StepHook:
    """Return what takes accepted steps and looks for events in them."""

    def on_step(step: LocalInterpolation, end: float) -> bool:
        if keep is not None:
            keep(step, end)
        search = events.step(step.t0, end)
        try:
            wanted = next(search)
            while True:
                wanted = search.send(step.rows(*wanted))
        except StopIteration as stop:
            return bool(stop.value)

    return on_step


def _makes_whole_steps(problem: ForwardProblem | AdjointProblem | DiscreteProblem) -> bool:
    """Tell whether the field has whole steps, which know the problem's tableau and its tolerances, one for all."""
    options = problem.options
    plain = (
        options.method in TABLEAUS
        and isinstance(options.rtol, float)
        and isinstance(options.atol, float)
        and not options.as_torchdiffeq
    )
    return problem.field.steps is not None and plain


def _norm_of(problem: ForwardProblem | AdjointProblem) -> FlatNorm:
    return problem.callable_norm or Seminorm(problem.segments or ())


class _ForwardSystem:
    """dy/dt, and the rows of the outputs that were reached."""

    def __init__(self, problem: ForwardProblem) -> None:
        self.stats = PassStats(nf=1)  # the checking call gave f0
        self._problem, self._reached = problem, 1
        self._whole = _makes_whole_steps(problem)
        self._f = problem.field.f if self._whole else problem.f
        self._shape = (len(problem.times), *problem.spec.shape)
        self._few = self._whole and len(problem.times) * problem.spec.size <= MOST_NUMBERS
        if self._few:  # joined at the end: fewer calls, of twice the memory
            self._parts = [problem.y0.unsqueeze(0)]
        else:
            self._ys = problem.y0.new_empty(self._shape)
            self._rows = self._ys.view(len(problem.times), -1)
            self._rows[0] = problem.y0

    def __call__(self, t: float, y: Tensor, out: Tensor, wanted: bool) -> IntegralDerivatives:
        self.stats.nf += 1
        out.copy_(self._f(t, y))
        return ()

    def start(self) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the initial state and what gives the derivative there."""
        return self._problem.y0, self._problem.first_derivative

    def stages(self, tableau: Tableau) -> Stages:
        if not self._whole:
            return StageBuffers(self, tableau, self._problem.y0)
        from .attempts import ForwardAttempts

        return WholeSteps(self, tableau, self._problem.y0, ForwardAttempts(self._problem, self.stats))

    def take_outputs(self, first: int, rows: Tensor) -> None:
        """Write the outputs of a step, from the one of index ``first`` after y0."""
        if self._few:
            self._parts.append(rows)
            return
        end = first + 1 + rows.shape[0]
        self._rows[first + 1 : end] = rows
        self._reached = max(self._reached, end)

    def outputs(self) -> Tensor:
        """Return the states (len(times), *shape), NaN where the solve has not been."""
        if self._few:
            return _join_rows(self._parts, self._shape[0]).resize_(self._shape)  # no view: the user may write into it
        if self._reached < len(self._rows):
            self._rows[self._reached :] = torch.nan
        return self._ys


class _RecordedSystem:
    """What autograd records of dy/dt, and the rows of the outputs that were reached."""

    def __init__(self, problem: ForwardProblem) -> None:
        assert isinstance(problem.first, RecordedStart)
        self.stats = PassStats(nf=1)  # the checking call gave f0
        self._start, self._shape = problem.first, (len(problem.times), *problem.spec.shape)
        self._rows = [self._start.state.reshape(1, -1)]

    def start(self) -> tuple[Tensor, Callable[[], Tensor]]:
        return self._start.state, lambda: self._start.derivative

    def stages(self, tableau: Tableau) -> Stages:
        return RecordedStages(self._start, tableau, self.stats, even=tableau.name in ADAMS_METHODS)

    def take_outputs(self, first: int, rows: Tensor) -> None:
        self._rows.append(rows)

    def outputs(self) -> Tensor:
        """Return the states (len(times), *shape), NaN where the solve has not been."""
        return _join_rows(self._rows, self._shape[0]).view(self._shape)


def _join_rows(parts: list[Tensor], count: int) -> Tensor:
    """Return so many rows in one tensor, the last ones NaN where there are fewer."""
    rows = torch.cat(parts)
    if len(rows) < count:
        rows = torch.cat([rows, rows.new_full((count - len(rows), rows.shape[1]), torch.nan)])
    return rows


MOST_NUMBERS = 2**18  # of outputs that are joined at the end


class _BackwardSystem:
    """d/dt of [lambda; y; a_t; mu], where mu is an integral apart unless the norm sees it, or steps restart."""

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        self.problem, self.stats, self.layout = problem, stats, problem.layout
        tableau = problem.options.tableau
        self.carries_params = problem.measures_params or problem.restarts or tableau.name in ADAMS_METHODS
        self.output_derivatives: dict[int, Tensor] = {}
        self.squares = 0.0  # of the errors of accepted steps
        self._makes_params = not problem.adjoint.quadrature
        self._carried = self._makes_params and self.carries_params
        apart = problem.field.inputs if self._makes_params and not self._carried else []
        param_rtol = getattr(problem.adjoint, "param_rtol", None)
        whole = _makes_whole_steps(problem)
        self.integrals = Integrals(apart, tableau, param_rtol, whole=whole)
        if problem.restarts and not problem.measures_params:
            self.integrals = CarriedIntegrals(self.layout.params_start, tableau)
        self.quadrature = GaussNodes(problem, stats) if isinstance(problem.adjoint, GaussAdjoint) else None
        self._right_hand_side = AdjointRightHandSide(problem.field, self.layout, carried=self._carried)

    def stages(self, tableau: Tableau, start: Tensor) -> Stages:
        problem = self.problem
        if not _makes_whole_steps(problem):
            return StageBuffers(self, tableau, start)
        from .attempts import BackwardAttempts

        made = BackwardAttempts(problem, self.stats, self.integrals, params=self._makes_params, carried=self._carried)
        return WholeSteps(self, tableau, start, made)

    def start(self) -> Tensor:
        problem, layout = self.problem, self.layout
        return self.jump(
            problem.last, problem.ys.new_zeros(layout.size if self.carries_params else layout.params_start)
        )

    def hooks(self, stops: list[int] | None = None, at_end: Callable[[int, Tensor], None] | None = None) -> Hooks:
        """Return jumps at outputs with cotangents, and Gauss nodes in every step; or one stop, an output's."""
        problem, times, stops = self.problem, self.problem.times, stops or self.problem.stops
        jumps = {times[i]: i for i in stops[:-1] if self.layout.has_y or problem.active[i]}
        return Hooks(
            stops=[*problem.grid, *(times[i] for i in stops)],
            jumps=frozenset(jumps),
            at_jump=lambda t, z: self.jump(jumps[t], z),
            on_step=self.quadrature.collect if self.quadrature else None,
            report=problem.options.report,
            announce=problem.options.announce,
            look_ahead=problem.field.look_ahead,
            looks=problem.segments is None or not problem.options.traits.adaptive,
            outputs=[times[i] for i in stops] if at_end else (),
            at_outputs=at_end or (lambda i, rows: None),
            beyond=at_end is not None,
        )

    def params(self, z: Tensor) -> list[Tensor]:
        """Return mu at the end of the solve, of which ``z`` is the state."""
        if self.quadrature:
            return self.quadrature.sums.total
        return self.problem.split_params(z) if self.carries_params else self.integrals.total

    def estimate(self, z: Tensor, stats: PassStats) -> None:
        """Write the estimate of the error of mu into statistics, after a solve that ended at ``z``."""
        integrals = self.integrals
        integrals.estimate_in(z, stats) if isinstance(integrals, CarriedIntegrals) else integrals.estimate(stats)

    def jump(self, index: int, z: Tensor) -> Tensor:
        """Add the cotangent of an output to the adjoint, and set y back to its forward value."""
        problem, layout, size = self.problem, self.layout, self.problem.spec.size
        cotangents, states = self._rows
        parts = [z[:size] + cotangents[index], *([states[index]] if layout.has_y else [])]
        if z.shape[0] > size * len(parts):
            parts.append(z[size * len(parts) :])
        changed = torch.cat(parts)
        if layout.has_time and problem.restarts and problem.want_times:
            changed[layout.time_slice] -= self._time_cotangent(index)
        return changed

    @functools.cached_property
    def _rows(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the cotangent and the state of every output."""
        return self.problem.cotangents.unbind(0), self.problem.ys.unbind(0)

    def _time_cotangent(self, index: int) -> Tensor:
        """Return what moving an output in time changes, which a_t of torchdiffeq holds."""
        problem = self.problem
        self.stats.nf += 1
        derivative = problem.field.f(problem.discontinuities.arrive(problem.times[index]), problem.ys[index])
        self.output_derivatives[index] = derivative
        return torch.dot(problem.cotangents[index], derivative)

    def __call__(self, t: float, z: Tensor, out: Tensor, wanted: bool) -> IntegralDerivatives:
        if self._makes_params:
            self.stats.nvjp += 1
        else:
            self.stats.nvjp_state += 1
        parts = self._right_hand_side.read(z)
        y = parts[1].detach() if self.layout.has_y else self.problem.y_at(t).view(parts[0].shape)
        params = self._makes_params and (wanted or self.carries_params)
        return self._right_hand_side.write(t, parts[0], y, out, params=params)


def _last_good_state(integrator: Integrator, unflatten: Callable[[Tensor], object]) -> LastGoodState:
    return LastGoodState(integrator.t, unflatten(integrator.values().clone()), integrator.stats)
