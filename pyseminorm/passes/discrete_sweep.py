"""The adjoint of the Runge-Kutta steps that a forward solve took (DiscreteAdjoint), the same code for both engines.

A step is y1 = y + h sum_i b_i k_i with stages k_i = f(t + c_i h, Y_i), Y_i = y + h sum_j a_ij k_j, and an output inside
it is y + h sum_i b_i(theta) k_i. With lambda = dL/dy1 and cotangents g of such outputs, backwards through the stages,

    kbar_i = h (b_i lambda + sum_g b_i(theta) g + sum_(j > i) a_ji Ybar_j),    Ybar_i = kbar_i^T df/dy (Y_i),
    dL/dy = lambda + sum_g g + sum_i Ybar_i,    dL/dtheta gains sum_i kbar_i^T df/dtheta (Y_i),

with the step sizes held constant. Source: W. W. Hager, Runge-Kutta methods in optimal control and the transformed
adjoint system, Numerische Mathematik 87 (2000).
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AttachLastGoodState, LastGoodState, SolveError, UnsupportedError
from ..host_copies import are_equal, send
from ..methods.tableau import Tableau, interpolant_slopes, interpolant_weights, weights
from ..problem.finiteness import PARAMS_PRODUCT, STATE_PRODUCT, VALUE, not_finite
from ..problem.state import all_finite
from ..problem.vector_field import VjpFunction
from ..retcode import ReturnCode
from ..stats import PassStats
from .problems import AdjointResult, DiscreteProblem
from .recorded_steps import RecordedSteps
from .stages import Stage, needed_stages
from .sweep_sums import SweepSums


class Outputs:
    """Where the outputs with nonzero cotangents lie: at the end of a step, or inside it on its dense output.

    Attributes:
        steps: the step that every output lies in.
        ended: whether it lies at the end of its step, and has a cotangent.
        inside: whether it lies inside its step, and has a cotangent.
        last_step: the last step that an output lies in.
    """

    def __init__(self, problem: DiscreteProblem, sizes: Sequence[float], tableau: Tableau) -> None:
        ends, times, active = np.array(problem.ends), np.array(problem.times), np.array(problem.look())
        direction = 1.0 if ends[-1] > ends[0] else -1.0
        active[0] = False  # the initial state
        self.steps = np.searchsorted(direction * ends[1:-1], direction * times)
        self._thetas = (times - ends[self.steps]) / np.array(sizes)[self.steps]
        ended = (times == ends[self.steps + 1]) | (self._thetas == 1.0)
        self.ended, self.inside = active & ended, active & ~ended
        self.last_step = int(self.steps[active].max())
        self._thetas[~active] = 0.0
        self._tableau, self._like = tableau, problem.cotangents

    @functools.cached_property
    def at_end(self) -> dict[int, slice]:
        """Return, for every step with such ones, the outputs at its end (more than one where times differ by less than
        theta resolves).
        """
        return _group_rows(self.steps, self.ended)

    @functools.cached_property
    def inner(self) -> dict[int, slice]:
        """Return, for every step with such ones, the outputs inside it, and those without a cotangent between them,
        which weigh nothing.
        """
        return _group_rows(self.steps, self.inside)

    @functools.cached_property
    def _weights(self) -> Tensor:
        found = torch.from_numpy(interpolant_weights(self._tableau, self._thetas))
        return send(found.to(self._like.dtype), self._like)

    @functools.cached_property
    def _slopes(self) -> Tensor:
        slopes = torch.from_numpy(interpolant_slopes(self._tableau, self._thetas))
        return send(slopes.to(self._like.dtype), self._like)

    def weights(self, step: int) -> Tensor:
        """Return b_i(theta) of the outputs inside a step, (outputs, stages)."""
        return self._weights[self.inner[step]]

    def slopes(self, step: int) -> Tensor:
        """Return the derivatives of the weights by theta, so that the dense output's is sum_i slope_i k_i."""
        return self._slopes[self.inner[step]]


def _group_rows(steps: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any]) -> dict[int, slice]:
    """Return the rows, from the first to the last, of the chosen outputs in every step that has some."""
    rows = np.flatnonzero(chosen)
    kinds, first = np.unique(steps[rows], return_index=True)
    ranges = itertools.pairwise([*first, len(rows)])
    return {int(n): slice(int(rows[a]), int(rows[b - 1]) + 1) for n, (a, b) in zip(kinds, ranges, strict=True)}


SAME_TIME = 1e-12  # relative difference within which a stage that was kept is at the time of the one wanted


class Sweep:
    """Goes through the steps backwards, once, and counts its work in ``stats``."""

    def __init__(self, problem: DiscreteProblem, stats: PassStats | None = None) -> None:
        assert isinstance(problem.steps, RecordedSteps)
        self._problem, self._tableau, self._steps = problem, problem.options.tableau, problem.steps
        like = problem.cotangents
        self._direction = 1.0 if problem.ends[-1] > problem.ends[0] else -1.0
        self._discontinuities = [self._direction * t for t in problem.discontinuities.times]
        self._outputs = Outputs(problem, self._steps.sizes, self._tableau)
        self._weights = weights(self._tableau, like)
        self._k, self._ybar = like.new_zeros(2, self._weights.stages, like.shape[1])
        # Views that steps need: many small calls are what a step costs.
        self._k_rows, self._ybar_rows = self._k.unbind(0), self._ybar.unbind(0)
        self._k_before = [self._k[:i].T for i in range(self._weights.stages + 1)]
        self._views: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._interval = problem.discontinuities.intervals[0]  # of the step that the sweep is at
        kept = self._steps.take_stages()
        self._kept = kept if problem.field.graphs_last else {}
        self._sums = SweepSums(problem.field.targets, self._tableau, self._weights.stages)
        self._following: Tensor | None = None  # the first stage of the step after the present one
        self._output_derivatives: dict[int, Tensor] = {}
        self._stats = stats or PassStats()

    def run(self) -> AdjointResult:
        started = time.perf_counter()
        problem, stats, last = self._problem, self._stats, self._outputs.last_step
        adjoint = torch.zeros_like(problem.cotangents[0])
        at = problem.ends[last + 1]
        stats.times.append(at)
        stretch: list[Tensor] = []
        with AttachLastGoodState(lambda: LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)):
            for n in range(last, -1, -1):
                y = self._steps.states.take(n, self.advance, stretch)
                if n in self._outputs.at_end:
                    adjoint = adjoint + problem.cotangents[self._outputs.at_end[n]].sum(dim=0)
                if problem.report is not None:
                    problem.report(True, at, adjoint.clone(), -self._steps.sizes[n])
                adjoint = self._back(n, y, adjoint)
                at = problem.ends[n]
                stats.naccept += 1
                stats.times.append(at)
        if problem.whole:
            adjoint = adjoint + problem.cotangents[0]
        stats.param_error = self._sums.error(stats.naccept)
        stats.seconds = time.perf_counter() - started
        return AdjointResult(
            adjoint, self._sums.total, ReturnCode.Success, stats, at, output_derivatives=self._output_derivatives
        )

    def advance(self, n: int, y: Tensor) -> Tensor:
        """Return the state after step ``n`` from ``y``, made again."""
        stages = needed_stages(self._tableau, inner=False)
        self._enter(n)
        self._look_ahead(n, stages)
        for i in stages:
            self._stats.nf += 1
            self._k_rows[i].copy_(self._problem.field.f(self._time(n, i), self._stage_input(n, i, y)))
        used = stages[-1] + 1
        b, h = self._weights.b[:used], self._steps.sizes[n]
        end = torch.addmv(y, self._k_before[used], b, alpha=h)
        if not all_finite(end):
            raise self._not_finite(n, stages)
        return end

    def _back(self, n: int, y: Tensor, adjoint: Tensor) -> Tensor:
        """Return dL/dy at the start of step ``n``, from dL/dy1 at its end; adds to the parameter gradient."""
        stages = self._stages_of(n)
        self._enter(n)
        vjps = self._vjps(n, stages, y)
        direct = self._direct(n, adjoint).unbind(0)
        h, used = self._steps.sizes[n], stages[-1] + 1
        self._sums.start_step(stages)
        for i, vjp in zip(reversed(stages), reversed(vjps), strict=True):
            cotangent = direct[i]
            if i + 1 < used:
                after, columns = self._after(i, used)
                cotangent = torch.addmv(cotangent, after, columns, alpha=h)
            self._stats.nvjp += 1
            ybar, gradients, _ = vjp(cotangent)
            self._ybar_rows[i].copy_(ybar)
            self._sums.add(i, gradients)
            del gradients  # as long as the parameters: gone before the next ones are made
        if n in self._outputs.inner:
            adjoint = adjoint + self._inner_cotangents(n).sum(dim=0)
            self._keep_derivatives(n)
        if self._problem.want_derivatives:
            self._following = self._k_rows[0].clone()
        # A value of func that is not finite makes the sum so too, even where its products are zero.
        start: Tensor = torch.add(self._ybar[:used], self._k[:used], alpha=0.0).sum(dim=0).add_(adjoint)
        finite = self._sums.end_step(h, smooth=n not in self._outputs.inner)
        if not (finite and all_finite(start)):
            raise self._not_finite(n, stages)
        return start

    def _stages_of(self, n: int) -> tuple[int, ...]:
        """Return the stages of step ``n`` that take part, but for a last one that is the next step's first."""
        stages = needed_stages(self._tableau, inner=n in self._outputs.inner)
        return tuple(i for i in stages if i != self._tableau.stages - 1) if self._shares_last(n) else stages

    def _not_finite(self, n: int, stages: Sequence[int]) -> SolveError:
        """Return the error of step ``n``, some of whose values or products are not finite."""
        for i in stages:
            if not all_finite(self._k_rows[i]):
                return not_finite(VALUE, self._time(n, i))
        for i in reversed(stages):
            if not all_finite(self._ybar_rows[i]):
                return not_finite(STATE_PRODUCT, self._time(n, i))
        ends = self._problem.ends
        return not_finite(PARAMS_PRODUCT, ends[n], ends[n + 1])

    def _after(self, i: int, used: int) -> tuple[Tensor, Tensor]:
        """Return ybar of the stages after ``i``, up to ``used``, in columns, and what they weigh in stage ``i``."""
        if (i, used) not in self._views:
            self._views[i, used] = self._ybar[i + 1 : used].T, self._weights.columns[i][: used - i - 1]
        return self._views[i, used]

    def _direct(self, n: int, adjoint: Tensor) -> Tensor:
        """Return what every stage's kbar gets from the new state and from the outputs inside, (stages, size).

        The first stage stands for the last one of the step before too, where the two are one evaluation.
        """
        sizes, inner = self._steps.sizes, self._outputs.inner
        direct = torch.outer(self._weights.b, adjoint * sizes[n])
        if n in inner:
            direct.addmm_(self._outputs.weights(n).T, self._inner_cotangents(n), alpha=sizes[n])
        if n - 1 in inner and self._shares_last(n - 1):
            weights = self._outputs.weights(n - 1)[:, self._tableau.stages - 1]
            direct[0].addmv_(self._inner_cotangents(n - 1).T, weights, alpha=sizes[n - 1])
        return direct

    def _vjps(self, n: int, stages: Sequence[int], y: Tensor) -> list[VjpFunction]:
        """Return what makes the products of stages: kept ones, and the others evaluated."""
        kept = [self._take(n, i, y) for i in stages]
        known = [stage.vjp for stage in kept if stage is not None]
        if len(known) == len(stages) and not self._problem.want_derivatives:
            return known  # nobody reads the stages' values
        self._look_ahead(n, [i for i, stage in zip(stages, kept, strict=True) if stage is None])
        return [self._stage(n, i, y, stage) for i, stage in zip(stages, kept, strict=True)]

    def _take(self, n: int, i: int, y: Tensor) -> Stage | None:
        """Return a stage that the forward solve kept; its graph is freed by the product."""
        if not self._kept:
            return None
        shared = i == 0 and n > 0 and self._shares_last(n - 1)
        stage = self._kept.pop((n - 1, self._tableau.stages - 1) if shared else (n, i), None)
        if stage is None or not math.isclose(stage.t, self._time(n, i), rel_tol=SAME_TIME, abs_tol=SAME_TIME):
            return None
        return stage if i > 0 or shared or are_equal(stage.y, y) else None

    def _stage(self, n: int, i: int, y: Tensor, kept: Stage | None = None) -> VjpFunction:
        if kept is not None:
            value, vjp = kept.value, kept.vjp
        else:
            field = self._problem.field
            if field.random_from is not None:
                raise UnsupportedError(
                    "func draws random numbers, and the stages that the forward pass kept are used up, or hold other "
                    "tensors than func finds now: call backward() once for each solve, before parameters are frozen."
                )
            value, vjp = field.evaluate_with_vjp(self._time(n, i), self._stage_input(n, i, y))
        self._k_rows[i].copy_(value)
        return vjp

    def _stage_input(self, n: int, i: int, y: Tensor) -> Tensor:
        if i == 0:
            return y
        h, row = self._steps.sizes[n], self._weights.rows[i]
        return torch.addmv(y, self._k_before[i], row, alpha=h)

    def _enter(self, n: int) -> None:
        """Keep to the times of the smooth interval that step ``n`` is in."""
        self._interval = self._problem.discontinuities.intervals[self._interval_of(self._problem.ends[n])]

    def _look_ahead(self, n: int, stages: Sequence[int]) -> None:
        """Tell the field at which times stages of step ``n`` are soon to be evaluated."""
        if stages:
            self._problem.field.look_ahead(list(dict.fromkeys(self._time(n, i) for i in stages)))

    def _time(self, n: int, i: int) -> float:
        """Return the time t + c_i h, kept within the smooth interval that the step is in."""
        low, high = self._interval
        return min(max(self._problem.ends[n] + self._weights.c[i] * self._steps.sizes[n], low), high)

    def _interval_of(self, t: float) -> int:
        """Return the smooth interval that a step from ``t`` is in."""
        return bisect.bisect_right(self._discontinuities, self._direction * t)

    def _shares_last(self, n: int) -> bool:
        """Tell whether the last stage of step ``n`` is the first of the next one, which the sweep has been through."""
        ends = self._problem.ends
        return (
            self._tableau.fsal
            and n < self._outputs.last_step
            and self._interval_of(ends[n]) == self._interval_of(ends[n + 1])
        )

    def _inner_cotangents(self, n: int) -> Tensor:
        return self._problem.cotangents[self._outputs.inner[n]]

    def _keep_derivatives(self, n: int) -> None:
        """Keep the derivative of the dense output at the outputs inside step ``n``."""
        if not self._problem.want_derivatives:
            return
        if self._shares_last(n):
            assert self._following is not None
            self._k_rows[self._tableau.stages - 1].copy_(self._following)
        rows = self._outputs.inner[n]
        self._output_derivatives.update(
            zip(range(rows.start, rows.stop), self._outputs.slopes(n) @ self._k, strict=True)
        )
