"""Attempted steps of the two solves as compiled graphs of the field."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...graphs.steps import Backward, Begin, Forward, Stage
from ...graphs.traced_field import TracedVectorField
from ...host_copies import read, send_numbers
from ...methods.tableaus import TABLEAUS
from ...passes.problems import AdjointProblem, ForwardProblem
from ...passes.recorded_steps import WholeStep
from ...stats import PassStats
from .system import Derivative, Integrals
from .whole_steps import Attempt, Begun, Start


@functools.cache
def _kinds(kind: type[Any], *settings: Any) -> dict[tuple[bool, bool], Any]:
    """Return the kinds of an attempt, by whether the first stage is made, and the last one."""
    ways = [(renews, last) for renews in (False, True) for last in (False, True)]
    return {(renews, last): kind(*settings, renews=renews, last=last) for renews, last in ways}


class ForwardAttempts:
    """Attempts of the forward solve; the recorder gets what is to be kept of each."""

    renews = True

    def __init__(self, problem: ForwardProblem, stats: PassStats) -> None:
        field, method, recorder = problem.field, problem.options.method, problem.recorder
        assert isinstance(field, TracedVectorField)
        self._recorder = recorder if recorder is not None and recorder.keeps_stages else None
        self._field, self._stats, self._tableau = field, stats, TABLEAUS[method]
        self._segments, keeps = problem.segments, self._recorder is not None
        self._outputs = 0 if self._tableau.extra_c or problem.spec.size * OUTPUTS > MOST_NUMBERS else OUTPUTS
        self._kinds = _kinds(Forward, method, problem.segments, keeps)

    def begin(self, y: Tensor, numbers: Sequence[float]) -> Begun | None:
        recorder, segments = self._recorder, self._segments
        if segments is None:
            return None
        kind = Begin(segments, keeps=recorder is not None)
        made = self._field.run_step(kind, y, send_numbers(numbers, y, torch.float64))
        if made is None:
            return None
        d0, d1, change, same, finite = read(made[1])
        if not finite:
            return None
        self._stats.nf += 1  # f at the start was counted
        if recorder is not None:  # as the last stage of a step before the first
            recorder.steps.whole[-1] = WholeStep(made[0], made[2:], 1, self._tableau.stages - 1)
        return Begun(made[0], (), (d0, d1, change, bool(same)))

    def derivative(self, t: float, y: Tensor) -> Derivative | None:
        return None  # func's value is soon made without a graph

    def __call__(self, start: Start) -> Attempt | None:
        first = start.first if self._tableau.fsal else None
        given = () if first is None else first[:1]
        thetas = start.thetas if len(start.thetas) <= self._outputs else ()
        padding = (0.0,) * (self._outputs - len(thetas))
        numbers = send_numbers([*start.times, *start.numbers, *thetas, *padding], start.y, torch.float64)
        made = self._field.run_step(self._kinds[first is None, start.last], start.y, numbers, *given)
        if self._recorder is not None:
            self._recorder.attempted = None
        if made is None:
            return None
        evaluated = self._tableau.stages - (first is not None) - (not start.last)
        self._stats.nf += evaluated
        if self._recorder is not None:
            self._recorder.attempted = WholeStep(made[1], made[5:], evaluated, first is not None)
        outputs = made[3][: len(thetas)] if thetas else None
        return Attempt(made[0], made[1], made[2], last=made[4], outputs=outputs)


class BackwardAttempts:
    """Attempts of a backward solve; ``carried``: mu is a part of its state."""

    renews = False

    def __init__(
        self, problem: AdjointProblem, stats: PassStats, integrals: Integrals, *, params: bool, carried: bool
    ) -> None:
        field = problem.field
        assert isinstance(field, TracedVectorField)
        method, layout, apart = problem.options.method, problem.layout, params and not carried
        self._field, self._stats, self._tableau, self._params = field, stats, TABLEAUS[method], params
        self._stage = Stage(layout, apart, carried)
        self._kinds = _kinds(Backward, method, problem.segments, self._stage)
        self._dense = None if layout.has_y else problem.dense
        self._present, self._integrals = field.present if apart else [], integrals

    def begin(self, y: Tensor, numbers: Sequence[float]) -> Begun | None:
        return None  # of two derivatives

    def derivative(self, t: float, z: Tensor) -> Derivative | None:
        """Make a derivative by itself; None where it cannot be compiled."""
        made = self._field.run_step(self._stage, z, send_numbers((t,), z), *self._states((t,)))
        if made is None:
            return None
        self._count(1)
        return Derivative(made[0], self._field.spread(made[1:]) if self._present else ())

    def _states(self, times: Sequence[float]) -> tuple[Tensor, ...]:
        return () if self._dense is None else (self._dense.rows(times),)

    def __call__(self, start: Start) -> Attempt | None:
        first = start.first if self._tableau.fsal else None
        arguments = [start.y, send_numbers([*start.times, *start.numbers], start.y), *self._states(start.times)]
        if first is not None:
            arguments += [first[0], *(q for i in self._present if (q := first[1][i]) is not None)]
        arguments += [self._integrals.total[i] for i in self._present]
        made = self._field.run_step(self._kinds[first is None, start.last], *arguments)
        if made is None:
            return None
        self._count(self._tableau.stages - (first is not None) - (not start.last))
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


OUTPUTS, MOST_NUMBERS = 8, 2**18  # outputs that an attempt can make; of so many numbers together
