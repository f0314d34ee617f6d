"""The discrete sweep with a compiled graph for each step."""

from __future__ import annotations

import dataclasses
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
from ...host_copies import read, send
from ...passes.discrete_sweep import Outputs, Sweep
from ...passes.embedded_errors import StepSizes
from ...passes.problems import AdjointResult, DiscreteProblem
from ...passes.recorded_steps import RecordedSteps
from ...passes.stages import needed_stages
from ...passes.sweep_sums import sweep_error
from ...problem.finiteness import each_finite
from ...problem.state import all_finite
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
        self._params = [torch.zeros_like(x) for x in problem.field.targets]
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
        sums = read(torch.stack(self._sizes)) if totals else []
        if not (all_finite(adjoint) and (not sums or math.isfinite(sums[-1][2]) or each_finite(totals))):
            return self._stage_by_stage(last + 1)  # which names the first value or product that is not finite
        for i, total in zip(self._field.present, totals, strict=True):
            self._params[i] = total
        stats.param_error = self._error(sums) if sums and self._tableau.relative_integral_error else None
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
        mu, seen, lengths = sums[-1][2], 0.0, [abs(h) for h in self._steps.sizes[: len(sums)]]
        known: list[StepSizes] = []
        for h, (increment, error, _), inner in zip(reversed(lengths), sums, self._numbers.inner[::-1], strict=True):
            if not inner:
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
        used = needed_stages(self._tableau, inner=self._numbers.inner[n])
        if self._numbers.shared[n]:
            used = used[:-1] if used[-1] == self._tableau.stages - 1 else used
        kept = self._kept_of(n, used, y)
        kind = Reverse(self._tableau.name, used, kept=bool(kept))
        made = self._field.run_step(kind, y, *self._numbers.of(n), adjoint, *totals, *kept)
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
            found = self._field.saved_at(self._numbers.time(n, first), y) if found is None else found
        if used[-1] - first + 1 == len(used):
            return [step.stages, *found, *(step.of(first + 1, used[-1]) or ())]
        return [step.stages, *found, *(x for i in used[1:] for x in step.of(i, i) or ())]


class StepNumbers:
    """What a `Reverse` step is told in numbers, made for all steps at once.

    Attributes:
        inner: whether outputs lie inside a step.
        shared: whether its last stage is the first of the next one.
    """

    def __init__(self, problem: DiscreteProblem, outputs: Outputs) -> None:
        assert isinstance(problem.steps, RecordedSteps)
        tableau, count, steps = problem.options.tableau, outputs.last_step + 1, outputs.steps
        ends, sizes = np.array(problem.ends[: count + 1]), np.array(problem.steps.sizes[:count])
        places, seen, like = np.array(tableau.c + tableau.extra_c), problem.discontinuities, problem.cotangents
        self._extra = len(tableau.extra_c)
        low, high = seen.intervals[0]
        self.shared = np.full(count, tableau.fsal)
        if seen.times:
            direction = 1.0 if ends[-1] > ends[0] else -1.0
            intervals = np.searchsorted(direction * np.array(seen.times), direction * ends, side="right")
            low, high = np.array(seen.intervals)[intervals[:-1]].T[..., None]
            self.shared &= intervals[1:] == intervals[:-1]
        self.shared[-1] = False
        self._times = np.minimum(np.maximum(ends[:-1, None] + sizes[:, None] * places, low), high)
        self.inner = np.zeros(count, dtype=bool)
        self.inner[steps[outputs.inside]] = True

        own = np.empty((len(places) + 2, len(steps)))
        own[0], own[1] = outputs.ended, outputs.inside
        own[2:] = outputs.all_weights().T * (sizes[np.minimum(steps, count - 1)] * outputs.inside)
        self._weights, self._cotangents = send(torch.from_numpy(own).to(like.dtype), like), like
        self._none = like.new_zeros(len(own), like.shape[1])
        self._rows = [0, *steps.searchsorted(np.arange(count), side="right").tolist()]  # of the outputs before a step
        self._known = count, self._none
        numbers = np.concatenate([self._times, sizes[:, None]], axis=1)
        self._numbers = send(torch.from_numpy(numbers).to(like.dtype), like).unbind(0)

    def time(self, n: int, i: int) -> float:
        """Return the time of stage ``i`` of step ``n``."""
        return float(self._times[n, i])

    def of(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the times and the size of step ``n``, and what its outputs give to dL/dy at its end, behind it, and in
        its stages (stages + 2, size); and what the outputs of the step before give to its first stage.
        """
        own = self._sum(n)
        before = self._sum(n - 1) if n and self.shared[n - 1] else self._none
        return self._numbers[n], own, before[-1 - self._extra]

    def _sum(self, n: int) -> Tensor:
        """Return what the cotangents of the outputs in step ``n`` sum up to."""
        first, stop = self._rows[n], self._rows[n + 1]
        if first == stop:
            return self._none
        if self._known[0] != n:
            self._known = n, self._weights[:, first:stop] @ self._cotangents[first:stop]
        return self._known[1]

    def sum_at_end(self, n: int) -> Tensor:
        """Return the sum of the cotangents of the outputs at the end of step ``n``."""
        return self._sum(n)[0]
