"""Gauss nodes in the accepted steps of a backward solve, evaluated many steps together."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...adjoints import GaussAdjoint
from ...passes.gauss_quadrature import (
    ERROR_GROWTH,
    LONGER,
    OF_THE_RULE,
    ParameterQuadrature,
    add_products,
    check_rules,
    check_step,
    exchange_rules,
    nodes_per_call,
    size_of,
)
from ...passes.gradient_error import estimates
from ...passes.problems import AdjointProblem
from ...stats import PassStats
from ...torch_internals import multiply_all
from .interpolant import LocalInterpolation

Rule = tuple[list[float], list[float]]
FINEST = 2.0**-12  # of a step: no shorter part is halved
CLEAR = 0.2  # of param_rtol: so small a difference is believed at once


class Part(NamedTuple):
    """A part of an accepted step, from ``a`` to ``b``; halves are equally long to the last digit."""

    step: LocalInterpolation
    a: float
    b: float
    length: float

    def halves(self) -> list[Part]:
        middle, half = 0.5 * (self.a + self.b), 0.5 * self.length
        return [Part(self.step, self.a, middle, half), Part(self.step, middle, self.b, half)]


class GaussNodes:
    """The parameter gradient by Gauss quadrature, with its error by other rules in the largest step, which is held back
    for that. Where the forward solve is rough these would not agree: there the rule of more nodes takes its place.

    With a ``param_rtol`` the rule of more nodes goes on to the next largest step, and takes the place of the other,
    until the two agree; a step in which they do not is halved, and so are those before it, which agreed by chance.

    Attributes:
        cancellation: what the sums would be if all steps added to them as those that were looked at, and in one
            direction, over what they are; None: without a ``param_rtol``.
    """

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        adjoint, order = problem.adjoint, problem.options.tableau.order
        assert isinstance(adjoint, GaussAdjoint)
        self.sums = ParameterQuadrature(problem.field, stats, batched_time=adjoint.batched_time)
        self._stats, self._batched_time, self._rtol = stats, adjoint.batched_time, adjoint.param_rtol
        self._problem = problem
        self._checks = self._rtol is None and estimates(problem.options.method, problem.options.traits)
        self._holds_back = self._checks and not problem.rough
        self._check_rules = check_rules(order)
        self._rule, *_, self._finer = self._check_rules
        self._at_once = nodes_per_call(problem.layout.state)
        self._most = self._at_once if problem.field.steps is None else len(self._rule[0])
        self._times: list[float] = []
        self._y: list[Tensor] = []
        self._adjoint: list[Tensor] = []
        self._parts: list[Part] = []  # the largest step, held back; with a param_rtol all
        self._lengths: list[float] = []
        self._longest = 0.0
        self._looked_size, self._looked_length = 0.0, 0.0  # of all parts that were looked at
        self.cancellation: float | None = None

    def collect(self, step: LocalInterpolation, end: float) -> None:
        """Add the nodes of a step: dL/dtheta gains -h sum_j w_j lambda_j^T df/dtheta (negative for increasing
        times).
        """
        part = Part(step, step.t0, end, abs(end - step.t0))
        longest, self._longest = self._longest, max(self._longest, part.length)
        self._lengths.append(part.length)
        if self._rtol is not None:
            self._parts.append(part)
        elif self._checks and part.length > LONGER * longest:
            held, self._parts = self._parts, [part]
            if self._holds_back and not held:
                return
            part = held[0] if self._holds_back else part
        self._place(part, self._rule, 1.0)

    def finish(self) -> float | None:
        """Evaluate what is left; return the error of the sums, relative, after what ``param_rtol`` asks for."""
        self._evaluate()
        if not self._parts or (self._rtol is not None and size_of(self.sums.total) == 0.0):
            return None
        if self._rtol is None:
            return _share(self._lengths) * self._check(self._parts[0])
        self._parts.sort(key=_length)
        left, size = self._refine(self._rtol), size_of(self.sums.total)
        if not math.isnan(left) and size:
            self.cancellation = sum(self._lengths) / self._looked_length * self._looked_size / size
        return left

    def _check(self, part: Part) -> float:
        """Add the step that is held back; return the error of its rule, over the sums."""
        if not self._holds_back:
            return OF_THE_RULE * self._exchange(part)
        options, (first, second) = self._problem.options, self._check_rules[1:3]
        self._append(part, (first[0] + second[0], first[1] + second[1]), 1.0)
        times, y, adjoint = self._take()  # of both rules: their states cost no more than one's

        def products(i: int) -> Sequence[Tensor | None]:
            if i == 3:
                self._append(part, self._finer, 1.0)
                return self._products(*self._take())
            rows = slice(0, len(first[0])) if i == 1 else slice(len(first[0]), None)
            return self._products(times[rows], y[rows], adjoint[rows])

        return check_step(products, self.sums.total, options.tableau.order, options.rtol)

    def _refine(self, rtol: float) -> float:
        """Halve the largest parts until the rules agree in some of them one after the other; return the error left."""
        parts, agreed, enough, left = self._parts, list[Part](), 2, 0.0
        longest = parts[-1].length
        while parts and len(agreed) < enough:
            part = parts.pop()
            left = _share([x.length for x in [*parts, part]]) * self._exchange(part)
            if math.isnan(left):
                break
            agreed.append(part)
            if left <= rtol or part.length < FINEST * longest:
                enough = 1 if enough == 2 and left <= CLEAR * rtol else enough
                continue
            for one in agreed:  # the larger ones by chance
                self._halve(one)
            agreed, enough = [], 4
        return left

    def _halve(self, part: Part) -> None:
        """Let two halves take the place of a part, of which the finer rule is in the sums."""
        self._place(part, self._finer, -1.0)
        for half in part.halves():
            self._place(half, self._rule, 1.0)
            bisect.insort(self._parts, half, key=_length)
        self._evaluate()

    def _exchange(self, part: Part) -> float:
        """Let the finer rule take the place of the other in a part of a step; return by how much, over the sums."""
        if self._rtol is not None:
            return self._exchange_measured(part)
        self._append(part, self._finer, 1.0)
        self._append(part, self._rule, -1.0)
        difference = self._products(*self._take())
        add_products(self.sums.total, difference)
        return size_of(difference) / (size_of(self.sums.total) or math.nan)

    def _exchange_measured(self, part: Part) -> float:
        """Exchange the rules in a part, and keep the size of what it adds."""

        def products(rule: Rule, sign: float) -> Sequence[Tensor | None]:
            self._append(part, rule, sign)
            return self._products(*self._take())

        own = functools.partial(products, self._rule, -1.0)
        error, size = exchange_rules(functools.partial(products, self._finer, 1.0), own, self.sums.total)
        self._looked_size += size
        self._looked_length += part.length
        return error

    def _place(self, part: Part, rule: Rule, sign: float) -> None:
        """Add the nodes of a rule in a part, when there are enough of them to be evaluated together."""
        self._append(part, rule, sign)
        if len(self._times) >= self._most:
            self._evaluate()

    def _append(self, part: Part, rule: Rule, sign: float) -> None:
        (low, high), layout = sorted((part.a, part.b)), self._problem.layout
        points, weights = rule
        h = part.b - part.a
        times = [min(max(part.a + point * h, low), high) for point in points]
        self._times += times
        z = part.step.at(times)
        if layout.has_y:
            self._y.append(z[:, layout.y_slice])
        adjoint = z[:, layout.adjoint_slice]
        multiply_all(adjoint.unbind(), [-h * weight * sign for weight in weights])
        self._adjoint.append(adjoint)

    def _evaluate(self) -> None:
        if self._times:
            self._add(self.sums, *self._take(), self._at_once)

    def _take(self) -> tuple[list[float], Tensor, Tensor]:
        """Return the nodes that wait: none does any more."""
        dense = self._problem.dense
        y = torch.cat(self._y) if dense is None or self._y else dense.rows(self._times)
        taken = self._times, y, torch.cat(self._adjoint)
        self._times, self._y, self._adjoint = [], [], []
        return taken

    def _products(self, times: list[float], y: Tensor, adjoint: Tensor) -> Sequence[Tensor | None]:
        """Return what nodes add up to; nodes in any number are compiled one by one."""
        at_once = self._at_once if self._problem.field.steps is None else 1
        if len(times) <= at_once:
            return self.sums.products(times, y, adjoint)
        sums = ParameterQuadrature(self._problem.field, self._stats, batched_time=self._batched_time)
        self._add(sums, times, y, adjoint, at_once)
        return sums.total

    def _add(self, sums: ParameterQuadrature, times: list[float], y: Tensor, adjoint: Tensor, at_once: int) -> None:
        for i in range(0, len(times), at_once):
            part = slice(i, i + at_once)
            sums.add(times[part], y[part], adjoint[part])


def _length(part: Part) -> float:
    return part.length


def _share(lengths: Sequence[float]) -> float:
    """Return how much larger the error of steps is than that of the largest, in any directions."""
    largest = max(lengths)
    return math.hypot(*((length / largest) ** ERROR_GROWTH for length in lengths))
