"""The discrete sweep with a compiled graph for each step."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import AttachLastGoodState, LastGoodState
from ...graphs.steps import Reverse
from ...graphs.traced_field import TracedVectorField
from ...host_copies import read, send, send_numbers
from ...passes.discrete_sweep import Outputs, Sweep
from ...passes.embedded_errors import StepSizes
from ...passes.problems import AdjointResult, DiscreteProblem
from ...passes.recorded_steps import RecordedSteps
from ...passes.stages import needed_stages
from ...passes.sweep_sums import sweep_error
from ...problem.finiteness import each_finite
from ...retcode import ReturnCode
from ...stats import PassStats

Array = np.ndarray[Any, Any]


class WholeSweep:
    """Goes through the steps backwards, each in one call; whether all is finite is looked at when it is through."""

    def __init__(self, problem: DiscreteProblem) -> None:
        assert isinstance(problem.steps, RecordedSteps) and isinstance(problem.field, TracedVectorField)
        self._problem, self._steps, self._field = problem, problem.steps, problem.field
        self._tableau, self._stats = problem.options.tableau, PassStats()
        self._outputs = Outputs(problem, self._steps.sizes, self._tableau)
        self._numbers = StepNumbers(problem, self._outputs)
        self._params = [torch.zeros_like(x) for x in problem.field.inputs]
        self._sizes: list[Tensor] = []  # of every step
        self._by_step: Sweep | None = None

    def run(self) -> AdjointResult:
        started, problem, stats = time.perf_counter(), self._problem, self._stats
        last, sizes = self._outputs.last_step, self._steps.sizes
        adjoint, at = torch.zeros_like(problem.cotangents[0]), problem.ends[self._outputs.last_step + 1]
        totals, stretch, stats.times = [self._params[i] for i in self._field.present], list[Tensor](), [at]
        with AttachLastGoodState(lambda: LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)):
            for n in range(last, -1, -1):
                y = self._steps.states.take(n, self._advance, stretch)
                if problem.report is not None:
                    problem.report(True, at, adjoint + self._numbers.sum_at_end(n), -sizes[n])
                made = self._back(n, y, adjoint, totals)
                if made is None:
                    return self._stage_by_stage(last - n + 1)
                adjoint, totals, at = made[0], made[2:], problem.ends[n]
                self._sizes.append(made[1])
                stats.naccept += 1
                stats.times.append(at)
        measured = read(torch.stack(self._sizes))
        if measured[-1][0] != 0.0 or not (math.isfinite(measured[-1][-1]) or each_finite(totals)):
            return self._stage_by_stage(last + 1)  # which names the first value or product that is not finite
        for i, total in zip(self._field.present, totals, strict=True):
            self._params[i] = total
        if totals and self._tableau.relative_integral_error:
            stats.param_error = self._error(measured)
        stats.seconds = time.perf_counter() - started
        return AdjointResult(adjoint, self._params, ReturnCode.Success, stats, at, finite=True)

    def _stage_by_stage(self, reported: int) -> AdjointResult:
        """Do all of it again, stage by stage; so many steps have been reported."""
        report, steps = self._problem.report, itertools.count()

        def later(*step: Any) -> None:
            if report is not None and next(steps) >= reported:
                report(*step)

        return Sweep(dataclasses.replace(self._problem, report=later)).run()

    def _error(self, sums: list[list[float]]) -> float | None:
        """Return the estimate of the relative error of the gradients by the parameters, from the sizes of every step,
        backwards; outputs inside a step divide its stages.
        """
        mu, seen, lengths = sums[-1][-1], 0.0, [abs(h) for h in self._steps.sizes[: len(sums)]]
        known: list[StepSizes] = []
        for n, (_, increment, error, _) in zip(range(len(sums) - 1, -1, -1), sums, strict=True):
            if not self._numbers.has_inner(n):
                h = lengths[n]
                seen += h
                known.append(StepSizes(increment, error).over(mu))
        return sweep_error(known if mu else [], sum(lengths), seen, self._tableau)

    def _advance(self, n: int, y: Tensor) -> Tensor:
        """Return the state after step ``n`` from ``y``, made again."""
        self._by_step = self._by_step or Sweep(self._problem, self._stats)
        return self._by_step.advance(n, y)

    def _back(self, n: int, y: Tensor, adjoint: Tensor, totals: list[Tensor]) -> list[Tensor] | None:
        """Return dL/dy at the start of step ``n``, from that after its end, and the sums of the parameters' gradients;
        None where the step cannot be compiled.
        """
        used = needed_stages(self._tableau, inner=self._numbers.has_inner(n))
        if self._numbers.shares(n):
            used = used[:-1] if used[-1] == self._tableau.stages - 1 else used
        kept = self._kept_of(n, used, y)
        numbers, cotangents, summed = self._numbers.of(n)
        kind = Reverse(self._tableau.name, used, kept=bool(kept), summed=summed)
        made = self._field.run_step(kind, y, numbers, cotangents, adjoint, *totals, *kept)
        self._stats.nvjp += len(used)
        return None if made is None else list(made)

    def _kept_of(self, n: int, used: Sequence[int], y: Tensor) -> list[Tensor]:
        """Return the stages of step ``n`` and what their products read, as the graph takes them; nothing: not kept."""
        step, first = self._steps.whole.get(n), used[0]
        if step is None or used[-1] >= step.stages.shape[0]:
            return []
        found = step.of(first, first)
        if found is None:
            before, last = self._steps.whole.get(n - 1), self._tableau.stages - 1
            found = None if before is None else before.of(last, last)
            found = self._field.saved_at(self._numbers.times(n)[first], y) if found is None else found
        if used[-1] - first + 1 == len(used):
            return [step.stages, *found, *(step.of(first + 1, used[-1]) or ())]
        return [step.stages, *found, *(x for i in used[1:] for x in step.of(i, i) or ())]


class StepNumbers:
    """What a `Reverse` step is told in numbers, and its cotangents."""

    def __init__(self, problem: DiscreteProblem, outputs: Outputs) -> None:
        assert isinstance(problem.steps, RecordedSteps)
        self._outputs, self._tableau = outputs, problem.options.tableau
        self._ends, self._sizes, self._seen = problem.ends, problem.steps.sizes, problem.discontinuities
        self._places = [*self._tableau.c, *self._tableau.extra_c]
        self._count, size = problem.cotangents.shape
        self._sums_only, self._cotangents = size * WINDOW > MOST_NUMBERS, problem.cotangents
        padding = [0.0] * (WINDOW - self._count)
        if padding and not self._sums_only:
            self._cotangents = torch.cat([self._cotangents, self._cotangents.new_zeros(len(padding), size)])
        self._steps, self._thetas = outputs.steps.tolist(), outputs.thetas.tolist() + padding
        self._ended, self._inside = outputs.ended.tolist(), outputs.inside.tolist()
        self._known: tuple[int, Tensor] | None = None

    def _interval(self, n: int) -> int:
        """Return which smooth interval step ``n`` lies in."""
        forwards = self._ends[-1] > self._ends[0]
        return sum(d <= self._ends[n] if forwards else d >= self._ends[n] for d in self._seen.times)

    def shares(self, n: int) -> bool:
        """Tell whether the last stage of step ``n`` is the first of the next one."""
        known = self._tableau.fsal and n < self._outputs.last_step
        return known and (not self._seen.times or self._interval(n) == self._interval(n + 1))

    def _rows(self, n: int) -> tuple[int, int]:
        """Return the first of the outputs in step ``n``, and the first behind it."""
        return bisect.bisect_left(self._steps, n), bisect.bisect_right(self._steps, n)

    def has_inner(self, n: int) -> bool:
        """Tell whether outputs lie inside step ``n``."""
        first, stop = self._rows(n)
        return any(self._inside[first:stop])

    def times(self, n: int) -> list[float]:
        """Return the times of the stages of step ``n``."""
        (low, high), t, h = self._seen.intervals[self._interval(n)], self._ends[n], self._sizes[n]
        return [min(max(t + h * c, low), high) for c in self._places]

    def of(self, n: int) -> tuple[Tensor, Tensor, bool]:
        """Return the numbers of step ``n``, its cotangents, and whether these are summed: see `Reverse`."""
        first, stop = self._rows(n)
        before = n > 0 and self.shares(n - 1)
        earlier = self._rows(n - 1)[0] if before else first
        numbers, summed = [*self.times(n), self._sizes[n]], self._sums_only or stop - earlier > WINDOW
        if summed:
            own = self._sum(n)
            last = self._sum(n - 1)[self._tableau.stages + 1] if before else torch.zeros_like(own[0])
            cotangents = torch.cat([own, last.unsqueeze(0)])
        else:
            start = min(earlier, max(self._count, WINDOW) - WINDOW)
            end = start + WINDOW
            cotangents = self._cotangents[start:end]
            ahead, behind = [0.0] * (first - start), [0.0] * (end - stop)
            numbers += [self._sizes[n - 1], *self._thetas[start:end]]
            numbers += [*ahead, *self._ended[first:stop], *behind, *ahead, *self._inside[first:stop], *behind]
            numbers += [0.0] * (earlier - start) + self._inside[earlier:first] + [0.0] * (end - first)
        return send_numbers(numbers, cotangents, torch.float64), cotangents, summed

    @functools.cached_property
    def _weights(self) -> Tensor:
        """Return the weights of all cotangents in the sums of their steps, (sums, outputs)."""
        outputs, like = self._outputs, self._cotangents
        own = np.empty((len(self._places) + 2, len(outputs.steps)))
        own[0], own[1] = outputs.ended, outputs.inside
        sizes = np.array(self._sizes)[np.minimum(outputs.steps, outputs.last_step)]
        own[2:] = outputs.all_weights().T * (sizes * outputs.inside)
        return send(torch.from_numpy(own).to(like.dtype), like)

    def _sum(self, n: int) -> Tensor:
        """Return what the cotangents in step ``n`` sum up to: at its end, its start, and in its stages."""
        first, stop = self._rows(n)
        if self._known is None or self._known[0] != n:
            self._known = n, self._weights[:, first:stop] @ self._cotangents[first:stop]
        return self._known[1]

    def sum_at_end(self, n: int) -> Tensor:
        """Return the sum of the cotangents of the outputs at the end of step ``n``."""
        return self._sum(n)[0]


WINDOW, MOST_NUMBERS = 10, 2**18  # outputs whose cotangents a step can weigh by itself; of so many numbers together
