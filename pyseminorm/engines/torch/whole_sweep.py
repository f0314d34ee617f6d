"""The discrete sweep with a compiled graph for each step."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import AttachLastGoodState, LastGoodState
from ...graphs.steps import Reverse
from ...graphs.traced_field import TracedVectorField
from ...host_copies import read_each, send, send_numbers
from ...methods.tableau import interpolant_weights
from ...passes.discrete_sweep import Sweep
from ...passes.embedded_errors import StepSizes
from ...passes.problems import AdjointResult, DiscreteProblem
from ...passes.recorded_steps import RecordedSteps
from ...passes.stages import needed_stages
from ...passes.sweep_sums import sweep_error
from ...problem.finiteness import each_finite
from ...retcode import ReturnCode
from ...stats import PassStats


class WholeSweep:
    """Goes through the steps backwards, each in one call; whether all is finite is looked at when it is through."""

    def __init__(self, problem: DiscreteProblem) -> None:
        assert isinstance(problem.steps, RecordedSteps) and isinstance(problem.field, TracedVectorField)
        self._problem, self._steps, self._field = problem, problem.steps, problem.field
        self._tableau, self._stats = problem.options.tableau, PassStats()
        self._numbers = StepNumbers(problem)
        self._sizes: list[Tensor] = []  # of every step
        self._by_step: Sweep | None = None

    def run(self) -> AdjointResult:
        started, problem, stats = time.perf_counter(), self._problem, self._stats
        last, sizes = self._numbers.last_step, self._steps.sizes
        adjoint, *totals = self._field.zeros(problem.cotangents)
        at, stretch = problem.ends[last + 1], list[Tensor]()
        stats.times = [at]
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
        measured = read_each(self._sizes)
        if measured[-1][0] != 0.0 or not (math.isfinite(measured[-1][-1]) or each_finite(totals)):
            return self._stage_by_stage(last + 1)  # which names the first value or product that is not finite
        if totals and self._tableau.relative_integral_error:
            stats.param_error = self._error(measured)
        stats.seconds = time.perf_counter() - started
        spread = zip(self._field.spread(totals), self._field.inputs, strict=True)
        params = [torch.zeros_like(x) if g is None else g for g, x in spread]
        return AdjointResult(adjoint, params, ReturnCode.Success, stats, at, finite=True)

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
        if step is None or used[-1] >= step.known + step.evaluated:
            return []
        found = step.of(first, first)
        if found is None:
            before, last = self._steps.whole.get(n - 1), self._tableau.stages - 1
            found = None if before is None else before.of(last, last)
            found = self._field.saved_at(self._numbers.times(n)[first], y) if found is None else found
        if used[-1] - first + 1 == len(used):
            return [step.stages, *found, *(step.of(first + 1, used[-1]) or ())]
        return [step.stages, *found, *(x for i in used[1:] for x in step.of(i, i) or ())]


class StepOutputs(NamedTuple):
    """The outputs in a step: from the one of index ``first`` to that before ``stop``.

    Attributes:
        thetas: where in it they lie.
        ended: 1 for one at its end that has a cotangent, else 0.
        inside: 1 for one inside it that has a cotangent, or at the start of the first step, else 0.
    """

    first: int
    stop: int
    thetas: list[float]
    ended: list[float]
    inside: list[float]


class StepNumbers:
    """What a `Reverse` step is told in numbers, and its cotangents.

    Attributes:
        last_step: the last one that an output with a cotangent lies in.
    """

    def __init__(self, problem: DiscreteProblem) -> None:
        assert isinstance(problem.steps, RecordedSteps)
        self._problem, self._tableau, active = problem, problem.options.tableau, problem.look()
        self._active = [problem.whole and active[0], *active[1:]]
        self._ends, self._sizes, self._seen = problem.ends, problem.steps.sizes, problem.discontinuities
        self._places = [*self._tableau.c, *self._tableau.extra_c]
        forwards = self._ends[-1] > self._ends[0]
        self._times, self._borders, self._jumps = (
            x if forwards else [-t for t in x] for x in (problem.times, self._ends, self._seen.times)
        )
        last = max(i for i, active in enumerate(self._active) if active)
        self.last_step = bisect.bisect_left(self._borders, self._times[last], 1, len(self._ends) - 1) - 1
        self._count, size = problem.cotangents.shape
        self._sums_only, self._cotangents = size * WINDOW > MOST_NUMBERS, problem.cotangents
        if self._count < WINDOW and not self._sums_only:
            padding = self._cotangents.new_zeros(WINDOW - self._count, size)
            self._cotangents = torch.cat([self._cotangents, padding])
        self._known: dict[int, StepOutputs] = {}
        self._summed: tuple[int, Tensor] | None = None

    def outputs(self, n: int) -> StepOutputs:
        """Return the outputs in step ``n``."""
        known = self._known.get(n)
        if known is None:
            known = self._known[n] = self._find_outputs(n)
        return known

    def _find_outputs(self, n: int) -> StepOutputs:
        t0, t1, h, borders = self._ends[n], self._ends[n + 1], self._sizes[n], self._borders
        first = bisect.bisect_right(self._times, borders[n]) if n else 0
        stop = bisect.bisect_right(self._times, borders[n + 1]) if n < len(borders) - 2 else self._count
        times, active = self._problem.times[first:stop], self._active[first:stop]
        thetas = [(t - t0) / h for t in times]
        ended = [float(on and (t == t1 or theta == 1.0)) for t, theta, on in zip(times, thetas, active, strict=True)]
        inside = [on - end for on, end in zip(active, ended, strict=True)]
        return StepOutputs(first, stop, thetas, ended, inside)

    def _interval(self, n: int) -> int:
        """Return which smooth interval step ``n`` lies in."""
        return bisect.bisect_right(self._jumps, self._borders[n]) if self._jumps else 0

    def shares(self, n: int) -> bool:
        """Tell whether the last stage of step ``n`` is the first of the next one."""
        known = self._tableau.fsal and n < self.last_step
        return known and self._interval(n) == self._interval(n + 1)

    def has_inner(self, n: int) -> bool:
        """Tell whether outputs lie inside step ``n``."""
        inside = self.outputs(n).inside
        return any(inside if n else inside[1:])

    def times(self, n: int) -> list[float]:
        """Return the times of the stages of step ``n``."""
        (low, high), t, h = self._seen.intervals[self._interval(n)], self._ends[n], self._sizes[n]
        return [min(max(t + h * c, low), high) for c in self._places]

    def of(self, n: int) -> tuple[Tensor, Tensor, bool]:
        """Return the numbers of step ``n``, its cotangents, and whether these are summed: see `Reverse`."""
        own, before = self.outputs(n), self.outputs(n - 1) if n and self.shares(n - 1) else None
        first = own.first if before is None else before.first
        numbers, summed = [*self.times(n), self._sizes[n]], self._sums_only or own.stop - first > WINDOW
        if summed:
            sums = self._sum(n)
            last = torch.zeros_like(sums[0]) if before is None else self._sum(n - 1)[self._tableau.stages + 1]
            cotangents = torch.cat([sums, last.unsqueeze(0)])
        else:
            start = min(first, max(self._count, WINDOW) - WINDOW)
            behind, all_of_them = [0.0] * (start + WINDOW - own.stop), len(self._cotangents) == WINDOW
            cotangents = self._cotangents if all_of_them else self._cotangents[start : start + WINDOW]
            ahead, earlier = [0.0] * (first - start), [0.0] * (own.first - first)
            numbers += [self._sizes[n - 1], *ahead, *(before.thetas if before else ()), *own.thetas, *behind]
            for marks in (own.ended, own.inside):
                numbers += [*ahead, *earlier, *marks, *behind]
            numbers += [*ahead, *(before.inside if before else ()), *[0.0] * (own.stop - own.first), *behind]
        return send_numbers(numbers, cotangents, torch.float64), cotangents, summed

    def _sum(self, n: int) -> Tensor:
        """Return what the cotangents in step ``n`` sum up to: at its end, its start, and in its stages."""
        if self._summed is None or self._summed[0] != n:
            outputs, like = self.outputs(n), self._cotangents
            weights = np.empty((len(self._places) + 2, len(outputs.thetas)))
            weights[0], weights[1] = outputs.ended, outputs.inside
            dense = interpolant_weights(self._tableau, np.array(outputs.thetas))
            weights[2:] = dense.T * (self._sizes[n] * weights[1])
            rows = send(torch.from_numpy(weights).to(like.dtype), like)
            self._summed = n, rows @ like[outputs.first : outputs.stop]
        return self._summed[1]

    def sum_at_end(self, n: int) -> Tensor:
        """Return the sum of the cotangents of the outputs at the end of step ``n``."""
        return self._sum(n)[0]


WINDOW, MOST_NUMBERS = 10, 2**18  # outputs whose cotangents a step can weigh by itself; of so many numbers together
