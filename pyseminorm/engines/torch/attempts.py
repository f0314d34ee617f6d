"""Attempted steps of the two solves as compiled graphs of the field."""

from __future__ import annotations

from ...graphs.steps import Backward, Forward, knobs
from ...graphs.traced_field import TracedVectorField
from ...methods.tableaus import TABLEAUS
from ...passes.problems import AdjointProblem, ForwardProblem
from ...passes.recorded_steps import WholeStep
from ...stats import PassStats
from .whole_steps import Attempt, Start


class ForwardAttempts:
    """Attempts of the forward solve; the recorder gets what is to be kept of each."""

    def __init__(self, problem: ForwardProblem, stats: PassStats) -> None:
        field, method, recorder = problem.field, problem.options.method, problem.recorder
        assert isinstance(field, TracedVectorField)
        self._recorder = recorder if recorder is not None and recorder.keeps_stages else None
        self._field, self._stats, self._tableau = field, stats, TABLEAUS[method]
        keeps = self._recorder is not None
        self._kinds = [Forward(method, problem.segments, renews, keeps) for renews in (False, True)]

    def __call__(self, start: Start) -> Attempt | None:
        first = start.first if self._tableau.fsal else None
        given = () if first is None else first[:1]
        numbers = knobs(start.times, start.numbers, start.y)
        made = self._field.run_step(self._kinds[first is None], start.y, numbers, *given)
        if self._recorder is not None:
            self._recorder.attempted = None
        if made is None:
            return None
        evaluated = self._tableau.stages - (first is not None)
        self._stats.nf += evaluated
        if self._recorder is not None:
            self._recorder.attempted = WholeStep(made[1], made[3:], evaluated)
        return Attempt(made[0], made[1], made[2])


class BackwardAttempts:
    """Attempts of a backward solve; ``carried``: mu is a part of its state."""

    def __init__(self, problem: AdjointProblem, stats: PassStats, *, params: bool, carried: bool) -> None:
        field = problem.field
        assert isinstance(field, TracedVectorField)
        method, layout, apart = problem.options.method, problem.layout, params and not carried
        self._field, self._stats, self._tableau, self._params = field, stats, TABLEAUS[method], params
        self._kinds = [Backward(method, problem.segments, layout, apart, carried, renews) for renews in (False, True)]
        self._dense = None if layout.has_y else problem.dense
        self._present = field.present if apart else []

    def __call__(self, start: Start) -> Attempt | None:
        first = start.first if self._tableau.fsal else None
        arguments = [start.y, knobs(start.times, start.numbers, start.y)]
        if self._dense is not None:
            arguments.append(self._dense.rows(start.times))
        if first is not None:
            arguments += [first[0], *(q for i in self._present if (q := first[1][i]) is not None)]
        made = self._field.run_step(self._kinds[first is None], *arguments)
        if made is None:
            return None
        self._count(self._tableau.stages - (first is not None))
        (end, stages, errors), rest = made[:3], made[3:]
        if not self._present:
            return Attempt(end, stages, errors)
        n, spread = len(self._present), self._field.spread
        return Attempt(end, stages, errors, spread(rest[:n]), spread(rest[n:]))

    def _count(self, products: int) -> None:
        if self._params:
            self._stats.nvjp += products
        else:
            self._stats.nvjp_state += products
