"""The discrete sweep with a compiled graph for each step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...graphs.steps import Reverse, knobs
from ...graphs.traced_field import TracedVectorField
from ...passes.discrete_sweep import Sweep
from ...passes.problems import AdjointResult, DiscreteProblem
from ...passes.recorded_steps import RecordedSteps
from ...problem.finiteness import each_finite
from ...problem.state import all_finite
from ...torch_internals import increment_all


class WholeSweep(Sweep):
    """Goes through the steps backwards, each in one call; whether all is finite is looked at when it is through."""

    def __init__(self, problem: DiscreteProblem) -> None:
        super().__init__(problem)
        field = problem.field
        assert isinstance(problem.steps, RecordedSteps) and isinstance(field, TracedVectorField)
        self._field, self._whole = field, problem.steps.whole
        self._summed = [self._params[i] for i in field.present]

    def run(self) -> AdjointResult:
        result = super().run()
        if not (all_finite(result.adjoint) and each_finite(result.params)):
            Sweep(self._problem).run()  # which names the first value or product that is not finite
        return result

    def _back(self, n: int, y: Tensor, adjoint: Tensor) -> Tensor:
        if self._problem.want_derivatives:
            return super()._back(n, y, adjoint)
        used = self._stages_of(n)
        self._enter(n)
        direct, end = self._direct(n, adjoint), adjoint
        if n in self._outputs.inner:
            end = adjoint + self._inner_cotangents(n).sum(dim=0)
        times = [self._time(n, i) for i in range(len(direct))]
        kept = self._kept_of(n, used, y)
        kind = Reverse(self._tableau.name, used, kept=bool(kept))
        numbers = knobs(times, (self._steps.sizes[n],), y)
        made = self._field.run_step(kind, y, numbers, direct, end, *kept)
        if made is None:
            return super()._back(n, y, adjoint)
        self._stats.nvjp += len(used)
        if self._summed:
            increment_all(self._summed, made[1:])
        return made[0]

    def _kept_of(self, n: int, used: Sequence[int], y: Tensor) -> list[Tensor]:
        """Return the stages of step ``n`` and what their products read, as the graph takes them; nothing: not kept."""
        step = self._whole.get(n)
        if step is None or used[-1] >= len(step.stages):
            return []
        chunks = [self._saved(n, i, y) for i in used]
        return [step.stages, *(x for chunk in chunks for x in chunk)]

    def _saved(self, n: int, i: int, y: Tensor) -> Sequence[Tensor]:
        found = self._whole[n].of(i)
        if found is None and n > 0 and n - 1 in self._whole:
            found = self._whole[n - 1].of(self._tableau.stages - 1)
        return self._field.saved_at(self._time(n, i), y) if found is None else found
