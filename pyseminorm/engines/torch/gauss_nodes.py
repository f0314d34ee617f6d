"""Gauss nodes in the accepted steps of a backward solve, evaluated many steps together."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...adjoints import GaussAdjoint
from ...passes.gauss_quadrature import ERROR_GROWTH, ParameterQuadrature, gauss_legendre, nodes_per_call, size_of
from ...passes.gradient_error import estimates
from ...passes.problems import AdjointProblem
from ...stats import PassStats
from ...torch_internals import increment_all
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
    """The parameter gradient by Gauss quadrature, with its error by a rule of two more nodes in the largest step.

    With a ``param_rtol`` the rule of more nodes goes on to the next largest step, and takes the place of the other,
    until the two agree; a step in which they do not is halved, and so are those before it, which agreed by chance.
    """

    def __init__(self, problem: AdjointProblem, stats: PassStats) -> None:
        adjoint, order = problem.adjoint, problem.options.tableau.order
        assert isinstance(adjoint, GaussAdjoint)
        self.sums = ParameterQuadrature(problem.field, stats, batched_time=adjoint.batched_time)
        self._stats, self._batched_time, self._rtol = stats, adjoint.batched_time, adjoint.param_rtol
        self._problem = problem
        self._rule = gauss_legendre(order)
        self._finer = gauss_legendre(2 * len(self._rule[0]) + 3)
        self._at_once = nodes_per_call(problem.layout.state)
        self._most = self._at_once if problem.field.steps is None else len(self._rule[0])
        self._times: list[float] = []
        self._y: list[Tensor] = []
        self._adjoint: list[Tensor] = []
        self._parts: list[Part] = []  # the largest step; with a param_rtol all
        self._lengths: list[float] = []

    def collect(self, step: LocalInterpolation, end: float) -> None:
        """Add the nodes of a step: dL/dtheta gains -h sum_j w_j lambda_j^T df/dtheta (negative for increasing
        times).
        """
        part = Part(step, step.t0, end, abs(end - step.t0))
        self._lengths.append(part.length)
        if self._rtol is not None or not self._parts:
            self._parts.append(part)
        elif part.length > self._parts[0].length:
            self._parts[0] = part
        self._place(self.sums, part, self._rule, 1.0)

    def finish(self) -> float | None:
        """Evaluate what is left; return the error of the sums, relative, after what ``param_rtol`` asks for."""
        self._evaluate(self.sums)
        size = size_of(self.sums.total)
        if not self._parts or size == 0.0:
            return None
        self._parts.sort(key=_length)
        if self._rtol is None:
            if not estimates(self._problem.options.method, self._problem.options.traits):
                return None
            return _share(self._lengths) * size_of(self._difference(self._parts[0])) / size
        return self._refine(self._rtol)

    def _refine(self, rtol: float) -> float:
        """Halve the largest parts until the rules agree in some of them one after the other; return the error left."""
        parts, agreed, enough, left = self._parts, list[Part](), 2, 0.0
        longest = parts[-1].length
        while parts and len(agreed) < enough:
            part = parts.pop()
            difference, lengths = self._difference(part), [x.length for x in [*parts, part]]
            increment_all(self.sums.total, difference)
            left = _share(lengths) * size_of(difference) / (size_of(self.sums.total) or math.inf)
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
        self._place(self.sums, part, self._finer, -1.0)
        for half in part.halves():
            self._place(self.sums, half, self._rule, 1.0)
            bisect.insort(self._parts, half, key=_length)
        self._evaluate(self.sums)

    def _difference(self, part: Part) -> list[Tensor]:
        """Return by how much the finer rule differs from the other in a part of a step."""
        sums = ParameterQuadrature(self._problem.field, self._stats, batched_time=self._batched_time)
        self._place(sums, part, self._finer, 1.0)
        self._place(sums, part, self._rule, -1.0)
        self._evaluate(sums)
        return sums.total

    def _place(self, sums: ParameterQuadrature, part: Part, rule: Rule, sign: float) -> None:
        (low, high), layout = sorted((part.a, part.b)), self._problem.layout
        points, weights = rule
        h = part.b - part.a
        times = [min(max(part.a + point * h, low), high) for point in points]
        self._times += times
        for t, z, weight in zip(times, part.step.at(times), weights, strict=True):
            self._y.append(z[layout.y_slice] if layout.has_y else self._problem.y_at(t))
            self._adjoint.append(z[layout.adjoint_slice] * (-h * weight * sign))
        if len(self._times) >= self._most:
            self._evaluate(sums)

    def _evaluate(self, sums: ParameterQuadrature) -> None:
        for i in range(0, len(self._times), self._at_once):
            part = slice(i, i + self._at_once)
            sums.add(self._times[part], torch.stack(self._y[part]), torch.stack(self._adjoint[part]))
        self._times, self._y, self._adjoint = [], [], []


def _length(part: Part) -> float:
    return part.length


def _share(lengths: Sequence[float]) -> float:
    """Return how much larger the error of steps is than that of the largest, in any directions."""
    largest = max(lengths)
    return math.hypot(*((length / largest) ** ERROR_GROWTH for length in lengths))
