"""Forward and adjoint solves of the embedded engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...adjoints import GaussAdjoint
from ...errors import LastGoodState, attach_last_good_state
from ...methods.tableaus import TABLEAUS
from ...norms import CallableNorm, FlatNorm, Seminorm
from ...passes.discrete_sweep import Sweep
from ...passes.gauss_quadrature import ParameterQuadrature, gauss_legendre, nodes_per_call
from ...passes.problems import (
    AdjointProblem,
    AdjointResult,
    DiscreteProblem,
    ForwardProblem,
    ForwardResult,
    PassOptions,
    mark_unreached,
)
from ...passes.right_hand_side import AdjointRightHandSide
from ...stats import PassStats
from ...stepping import MethodTraits
from .integrator import Hooks, Integrator
from .interpolant import DenseInterpolation, LocalInterpolation
from .system import IntegralDerivatives, Integrals


class TorchEngine:
    """The engine "torch"."""

    name = "torch"

    def traits(self, method: Any) -> MethodTraits:
        return TABLEAUS[method].traits

    def integrate(self, problem: ForwardProblem) -> ForwardResult:
        started = time.perf_counter()
        f, times, y0 = problem.f, problem.times, problem.y0
        stats = PassStats(nf=1)  # the checking call gave f0

        def system(t: float, y: Tensor, out: Tensor, wanted: bool) -> IntegralDerivatives:
            stats.nf += 1
            out.copy_(f(t, y))
            return ()

        values = y0.new_empty((len(times), *problem.spec.shape))
        ys = values.view(len(times), -1)
        ys[0] = y0
        reached = 1

        def at_outputs(first: int, rows: Tensor) -> None:
            nonlocal reached
            reached = first + 1 + len(rows)
            ys[first + 1 : reached] = rows

        norm: FlatNorm
        if callable(problem.norm):
            norm = CallableNorm(problem.norm, problem.spec.unflatten)
        else:
            norm = Seminorm(((0, y0.numel()),))
        dense = DenseInterpolation(times[0], 1.0 if times[-1] > times[0] else -1.0) if problem.keep_dense else None
        hooks = Hooks(
            stops=_forward_stops(times, problem.options),
            outputs=times[1:],
            at_outputs=at_outputs,
            on_step=dense.append if dense is not None else None,
            report=problem.report,
        )
        integrator = Integrator(
            system,
            TABLEAUS[problem.options.method],
            times[0],
            y0,
            problem.first(),
            problem.options,
            norm,
            hooks,
            Integrals([]),
            stats,
            problem.discontinuities,
        )
        with torch.no_grad(), attach_last_good_state(lambda: _last_good_state(integrator, problem.spec.unflatten)):
            retcode = integrator.run()
        if reached < len(times):
            mark_unreached(ys, reached)
        stats.seconds = time.perf_counter() - started
        return ForwardResult(values, retcode, stats, integrator.t, integrator.state, dense)

    def sweep(self, problem: DiscreteProblem) -> AdjointResult:
        return Sweep(problem).run()

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
        jumps = {times[i]: i for i in stops[:-1] if layout.has_y or problem.active[i]}
        hooks = Hooks(
            stops=[times[i] for i in stops],
            jumps=frozenset(jumps),
            at_jump=lambda t, z: backward.jump(jumps[t], z),
            on_step=backward.quadrature.collect if backward.quadrature else None,
            report=problem.options.report,
            looks=problem.segments is None or not problem.options.traits.adaptive,
        )
        integrator = Integrator(
            backward,
            TABLEAUS[problem.options.method],
            times[last],
            z0,
            None,
            problem.options,
            norm,
            hooks,
            backward.integrals,
            stats,
            problem.discontinuities,
        )
        with torch.no_grad(), attach_last_good_state(lambda: _last_good_state(integrator, problem.unflatten_adjoint)):
            retcode = integrator.run()
            if backward.quadrature:
                backward.quadrature.evaluate()
        z = integrator.state
        if backward.quadrature:
            params = backward.quadrature.sums.total
        elif backward.measures_params:
            params = layout.split_params(z, problem.field.shapes)
        else:
            params = backward.integrals.total
        stats.seconds = time.perf_counter() - started
        return AdjointResult(z[layout.adjoint_slice], params, retcode, stats, integrator.t)


class _BackwardSystem:
    """d/dt of [lambda; y; a_t; mu]; mu stands outside the state as a plain integral where the norm does not see it."""

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        self.problem, self.stats, self.layout = problem, stats, problem.layout
        self.measures_params = problem.measures_params
        self._makes_params = not problem.adjoint.quadrature
        apart = self._makes_params and not self.measures_params
        self.integrals = Integrals(problem.field.targets if apart else [])
        self.quadrature = _Nodes(problem, stats) if isinstance(problem.adjoint, GaussAdjoint) else None
        self._right_hand_side = AdjointRightHandSide(
            problem.field, self.layout, carried=self._makes_params and self.measures_params
        )

    def start(self) -> Tensor:
        problem, layout = self.problem, self.layout
        z = problem.ys.new_zeros(layout.size if self.measures_params else layout.params_start)
        z[layout.adjoint_slice] = problem.cotangents[problem.last]
        if layout.has_y:
            z[layout.y_slice] = problem.ys[problem.last]
        return z

    def jump(self, index: int, z: Tensor) -> Tensor:
        """The adjoint gains the cotangent of an output, and y is set back to its forward value."""
        layout, changed = self.layout, z.clone()
        changed[layout.adjoint_slice] += self.problem.cotangents[index]
        if layout.has_y:
            changed[layout.y_slice] = self.problem.ys[index]
        return changed

    def __call__(self, t: float, z: Tensor, out: Tensor, wanted: bool) -> IntegralDerivatives:
        if self._makes_params:
            self.stats.nvjp += 1
        else:
            self.stats.nvjp_state += 1
        parts = self._right_hand_side.read(z)
        y = parts[1].detach() if self.layout.has_y else self.problem.y_at(t).view(parts[0].shape)
        params = self._makes_params and (wanted or self.measures_params)
        return self._right_hand_side.write(t, parts[0], y, out, params=params)


class _Nodes:
    """Gauss nodes in the accepted steps, evaluated many steps together."""

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        assert isinstance(problem.adjoint, GaussAdjoint)
        self.sums = ParameterQuadrature(problem.field, stats, batched_time=problem.adjoint.batched_time)
        self._problem = problem
        self._rule = gauss_legendre(TABLEAUS[problem.options.method].order)
        self._most = nodes_per_call(problem.layout.state)
        self._times: list[float] = []
        self._y: list[Tensor] = []
        self._adjoint: list[Tensor] = []

    def collect(self, step: LocalInterpolation, end: float) -> None:
        """dL/dtheta gains -h sum_j w_j lambda_j^T df/dtheta of a step of size h (negative for increasing times)."""
        low, high = sorted((step.t0, end))
        points, weights = self._rule
        times, layout = [min(max(step.t0 + point * step.h, low), high) for point in points], self._problem.layout
        self._times += times
        for t, z, weight in zip(times, step.at(times), weights, strict=True):
            self._y.append(z[layout.y_slice] if layout.has_y else self._problem.y_at(t))
            self._adjoint.append(z[layout.adjoint_slice] * (-step.h * weight))
        if len(self._times) >= self._most:
            self.evaluate()

    def evaluate(self) -> None:
        if self._times:
            self.sums.add(self._times, torch.stack(self._y), torch.stack(self._adjoint))
        self._times, self._y, self._adjoint = [], [], []


def _forward_stops(times: Sequence[float], options: PassOptions) -> list[float]:
    """The end; a fixed-step method without dt steps from output to output."""
    return list(times[1:]) if options.output_to_output else [times[-1]]


def _last_good_state(integrator: Integrator, unflatten: Callable[[Tensor], object]) -> LastGoodState:
    return LastGoodState(integrator.t, unflatten(integrator.state.clone()), integrator.stats)
