"""Forward and adjoint solves of the embedded engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import LastGoodState
from ...norms import CallableNorm, FlatNorm, Seminorm
from ...stats import PassStats
from ..interface import AdjointProblem, AdjointResult, ForwardProblem, ForwardResult, PassOptions, unreached
from .integrator import Hooks, Integrator, StepControl
from .interpolant import Trajectory
from .system import Derivative, Integrals
from .tableaus import TABLEAUS


class TorchEngine:
    """The engine "torch"."""

    name = "torch"

    def integrate(self, problem: ForwardProblem) -> ForwardResult:
        started = time.perf_counter()
        field, times, y0 = problem.field, problem.times, problem.y0
        stats = PassStats(nf=1)  # the checking call gave f0

        def system(t: float, y: Tensor) -> Derivative:
            stats.nf += 1
            return Derivative(field.f(t, y), [])

        ys = y0.new_empty(len(times), y0.numel())
        ys[0] = y0
        reached = 1

        def at_output(index: int, value: Tensor) -> None:
            nonlocal reached
            ys[index + 1] = value
            reached = index + 2

        norm: FlatNorm
        if callable(problem.norm):
            norm = CallableNorm(problem.norm, problem.spec.unflatten)
        else:
            norm = Seminorm(((0, y0.numel()),))
        trajectory = Trajectory(times[0], 1.0 if times[-1] > times[0] else -1.0) if problem.keep_dense else None
        hooks = Hooks(
            stops=_forward_stops(times, problem.options),
            outputs=times[1:],
            at_output=at_output,
            on_step=trajectory.append if trajectory is not None else None,
        )
        integrator = Integrator(
            system,
            TABLEAUS[problem.options.method],
            times[0],
            y0,
            Derivative(problem.f0, []),
            _control(problem.options, norm),
            hooks,
            Integrals([]),
            stats,
        )
        with torch.no_grad(), _ReportState(integrator, problem.spec.unflatten):
            retcode = integrator.run()
        if reached < len(times):
            unreached(ys, reached)
        stats.seconds = time.perf_counter() - started
        return ForwardResult(ys, retcode, stats, integrator.t, integrator.state, trajectory)

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult:
        started = time.perf_counter()
        stats = PassStats()
        layout, times, last = problem.layout, problem.times, problem.last
        backward = _BackwardSystem(problem, stats)
        z0 = backward.start()
        norm: FlatNorm
        if problem.segments is None:
            assert callable(problem.adjoint.norm)
            norm = CallableNorm(problem.adjoint.norm, problem.unflatten)
        else:
            norm = Seminorm(problem.segments)
        stops = problem.stops
        index_at = {times[i]: i for i in stops[:-1]}
        hooks = Hooks(
            stops=[times[i] for i in stops],
            at_stop=lambda t, z: backward.jump(index_at[t], z) if t in index_at else None,
        )
        integrator = Integrator(
            backward,
            TABLEAUS[problem.options.method],
            times[last],
            z0,
            None,
            _control(problem.options, norm),
            hooks,
            backward.integrals,
            stats,
        )
        with torch.no_grad(), _ReportState(integrator, problem.unflatten_adjoint):
            retcode = integrator.run()
        z = integrator.state
        if backward.measures_params:
            params = layout.split_params(z, problem.field.shapes)
        else:
            params = backward.integrals.total
        stats.seconds = time.perf_counter() - started
        return AdjointResult(z[layout.adjoint_slice], params, retcode, stats, integrator.t)


class _BackwardSystem:
    """d/dt of [lambda; y; a_t; mu]; mu stands outside the state as a plain integral where the norm does not see it."""

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        self.problem, self.stats, self.layout = problem, stats, problem.layout
        segments = problem.segments
        self.measures_params = segments is None or max(stop for _, stop in segments) > self.layout.params_start
        self.integrals = Integrals([] if self.measures_params else problem.field.targets)

    def start(self) -> Tensor:
        problem, layout = self.problem, self.layout
        z = problem.ys.new_zeros(layout.size if self.measures_params else layout.params_start)
        z[layout.adjoint_slice] = problem.cotangents[problem.last]
        if layout.has_y:
            z[layout.y_slice] = problem.ys[problem.last]
        return z

    def jump(self, index: int, z: Tensor) -> Tensor | None:
        """Lambda gains the cotangent of an output, and y is set back to its forward value."""
        layout, changed = self.layout, z.clone()
        if not self.problem.active[index] and not layout.has_y:
            return None
        changed[layout.adjoint_slice] += self.problem.cotangents[index]
        if layout.has_y:
            changed[layout.y_slice] = self.problem.ys[index]
        return changed

    def __call__(self, t: float, z: Tensor) -> Derivative:
        layout, field = self.layout, self.problem.field
        self.stats.nvjp += 1
        if layout.has_y:
            y = z[layout.y_slice]
        else:
            assert self.problem.dense is not None
            y = self.problem.dense(t)
        f, state, params, at = field.vjp(t, y, z[layout.adjoint_slice].neg(), time=layout.has_time)
        parts = [state, f] if layout.has_y else [state]
        if layout.has_time:
            parts.append(z.new_zeros(1) if at is None else at.reshape(1))
        if self.measures_params:
            parts += [
                z.new_zeros(size) if p is None else p.reshape(-1) for p, size in zip(params, layout.params, strict=True)
            ]
            params = []
        return Derivative(torch.cat(parts) if len(parts) > 1 else state, params)


def _control(options: PassOptions, norm: FlatNorm) -> StepControl:
    return StepControl(options.rtol, options.atol, norm, options.dt, options.max_steps)


def _forward_stops(times: Sequence[float], options: PassOptions) -> list[float]:
    """The end; a fixed-step method without dt steps from output to output."""
    if options.dt or TABLEAUS[options.method].adaptive:
        return [times[-1]]
    return list(times[1:])


class _ReportState:
    """Attach the last good state to whatever exception leaves the solver (the user's own ones too)."""

    def __init__(self, integrator: Integrator, unflatten: Callable[[Tensor], object]) -> None:
        self.integrator, self.unflatten = integrator, unflatten

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            at = self.integrator
            error.last_good_state = LastGoodState(at.t, self.unflatten(at.state.clone()), at.stats)  # type: ignore[attr-defined]
