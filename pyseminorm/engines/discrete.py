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
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import LastGoodState
from ..retcode import ReturnCode
from ..stats import PassStats
from ..vector_field import Pullback
from .interface import AdjointResult, DiscreteProblem
from .torch.tableaus import TABLEAUS, Tableau


class Coefficients:
    """A tableau as tensors like the state, rows of ``a`` and columns of it below the diagonal."""

    def __init__(self, tableau: Tableau, like: Tensor) -> None:
        rows = tableau.a + tableau.extra_a
        self.stages = len(rows)
        self.c = tableau.c + tableau.extra_c
        full = np.array([[*row, *(0.0,) * (self.stages - len(row))] for row in rows])
        self.rows = [torch.from_numpy(full[i, :i].copy()).to(like) for i in range(self.stages)]
        self.columns = [torch.from_numpy(full[i + 1 :, i].copy()).to(like) for i in range(self.stages)]
        self.b = torch.tensor([*tableau.b, *(0.0,) * len(tableau.extra_c)], dtype=torch.float64).to(like)


@functools.cache
def needed_stages(tableau: Tableau, *, inner: bool) -> tuple[int, ...]:
    """The stages that the new state depends on, and (``inner``) dense output inside the step."""
    rows = tableau.a + tableau.extra_a
    used = {i for i, b in enumerate(tableau.b) if b}
    if inner:
        used |= {i for i, row in enumerate(tableau.dense) if any(row)}
    for i in reversed(range(len(rows))):
        if i in used:
            used |= {j for j, a in enumerate(rows[i]) if a}
    return tuple(sorted(used))


class Outputs:
    """Where the outputs with nonzero cotangents lie: at the end of a step, or inside it on its dense output.

    Attributes:
        at_end: step -> outputs at its end (more than one where times differ by less than theta resolves).
        inner: step -> outputs inside it.
        last_step: the last step that an output lies in.
    """

    def __init__(self, problem: DiscreteProblem, tableau: Tableau) -> None:
        ends, times = problem.ends, problem.times
        direction = 1.0 if ends[-1] > ends[0] else -1.0
        directed = [direction * t for t in ends]
        self.at_end: dict[int, list[int]] = {}
        self.inner: dict[int, list[int]] = {}
        self.last_step = 0
        thetas = np.zeros(len(times))
        for i in range(1, len(times)):
            if not problem.active[i]:
                continue
            n = bisect.bisect_left(directed, direction * times[i], lo=1, hi=len(ends) - 1) - 1
            thetas[i] = (times[i] - ends[n]) / problem.steps.sizes[n]
            ended = times[i] == ends[n + 1] or thetas[i] == 1.0
            (self.at_end if ended else self.inner).setdefault(n, []).append(i)
            self.last_step = n
        dense = np.array(tableau.dense)
        powers = np.arange(1, dense.shape[1] + 1)
        like = problem.cotangents
        self._weights = torch.from_numpy(thetas[:, None] ** powers @ dense.T).to(like)
        self._slopes = torch.from_numpy(powers * thetas[:, None] ** (powers - 1) @ dense.T).to(like)

    def weights(self, step: int) -> Tensor:
        """b_i(theta) of the outputs inside a step, (outputs, stages)."""
        return self._weights[self.inner[step]]

    def slopes(self, step: int) -> Tensor:
        """The derivatives of the weights by theta, so that the dense output's is sum_i slope_i k_i."""
        return self._slopes[self.inner[step]]


class Sweep:
    """Goes through the steps backwards, once."""

    def __init__(self, problem: DiscreteProblem) -> None:
        self._problem, self._tableau = problem, TABLEAUS[problem.method]
        like = problem.cotangents
        self._direction = 1.0 if problem.ends[-1] > problem.ends[0] else -1.0
        self._breaks = [self._direction * t for t in problem.pieces.breaks]
        self._outputs = Outputs(problem, self._tableau)
        self._coefficients = Coefficients(self._tableau, like)
        self._stage_values = like.new_zeros(self._coefficients.stages, like.shape[1])  # k
        self._stage_adjoints = torch.zeros_like(self._stage_values)  # Ybar
        self._params = [torch.zeros_like(x) for x in problem.field.targets]
        self._following: Tensor | None = None  # the first stage of the step after the present one
        self._rates: dict[int, Tensor] = {}
        self._stats = PassStats()

    def run(self) -> AdjointResult:
        started = time.perf_counter()
        problem, stats, last = self._problem, self._stats, self._outputs.last_step
        adjoint = torch.zeros_like(problem.cotangents[0])
        at = problem.ends[last + 1]
        stats.times.append(at)
        try:
            for n, y in problem.steps.backwards(last, self.advance):
                if n in self._outputs.at_end:
                    adjoint = adjoint + problem.cotangents[self._outputs.at_end[n]].sum(dim=0)
                if problem.report is not None:
                    problem.report(True, at, adjoint.clone(), -problem.steps.sizes[n])
                adjoint = self._back(n, y, adjoint)
                at = problem.ends[n]
                stats.naccept += 1
                stats.times.append(at)
        except BaseException as error:
            state = LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)
            error.last_good_state = state  # type: ignore[attr-defined]
            raise
        stats.seconds = time.perf_counter() - started
        return AdjointResult(adjoint, self._params, ReturnCode.Success, stats, at, rates=self._rates)

    def advance(self, n: int, y: Tensor) -> Tensor:
        """The state after step ``n`` from ``y``, made again."""
        stages = needed_stages(self._tableau, inner=False)
        for i in stages:
            self._stats.nf += 1
            self._stage_values[i] = self._problem.field.f(self._time(n, i), self._stage_input(n, i, y))
        used = stages[-1] + 1
        b, h = self._coefficients.b[:used], self._problem.steps.sizes[n]
        return torch.addmv(y, self._stage_values[:used].T, b, alpha=h)

    def _back(self, n: int, y: Tensor, adjoint: Tensor) -> Tensor:
        """dL/dy at the start of step ``n``, from dL/dy1 at its end; adds to the parameter gradient."""
        stages = needed_stages(self._tableau, inner=n in self._outputs.inner)
        if self._shares_last(n):
            stages = tuple(i for i in stages if i != self._tableau.stages - 1)
        pullbacks = [self._stage(n, i, y) for i in stages]
        direct = self._direct(n, adjoint)
        h, used, above = self._problem.steps.sizes[n], stages[-1] + 1, self._stage_adjoints
        for i, pullback in zip(reversed(stages), reversed(pullbacks), strict=True):
            columns = self._coefficients.columns[i][: used - i - 1]
            cotangent = torch.addmv(direct[i], above[i + 1 : used].T, columns, alpha=h)
            self._stats.nvjp += 1
            above[i], gradients, _ = pullback(cotangent)
            self._add(gradients)
        if n in self._outputs.inner:
            adjoint = adjoint + self._inner_cotangents(n).sum(dim=0)
            self._keep_rates(n)
        if self._problem.want_rates:
            self._following = self._stage_values[0].clone()
        return adjoint + above[:used].sum(dim=0)

    def _direct(self, n: int, adjoint: Tensor) -> Tensor:
        """What every stage's kbar gets from the new state and from the outputs inside, (stages, size).

        The first stage stands for the last one of the step before too, where the two are one evaluation.
        """
        sizes, inner = self._problem.steps.sizes, self._outputs.inner
        direct = torch.outer(self._coefficients.b, adjoint * sizes[n])
        if n in inner:
            direct.addmm_(self._outputs.weights(n).T, self._inner_cotangents(n), alpha=sizes[n])
        if n - 1 in inner and self._shares_last(n - 1):
            weights = self._outputs.weights(n - 1)[:, self._tableau.stages - 1]
            direct[0].addmv_(self._inner_cotangents(n - 1).T, weights, alpha=sizes[n - 1])
        return direct

    def _stage(self, n: int, i: int, y: Tensor) -> Pullback:
        value, pullback = self._problem.field.pullback(self._time(n, i), self._stage_input(n, i, y))
        self._stage_values[i] = value
        return pullback

    def _stage_input(self, n: int, i: int, y: Tensor) -> Tensor:
        if i == 0:
            return y
        h, row = self._problem.steps.sizes[n], self._coefficients.rows[i]
        return torch.addmv(y, self._stage_values[:i].T, row, alpha=h)

    def _time(self, n: int, i: int) -> float:
        """The time t + c_i h, kept within the piece that the step is in."""
        t, h = self._problem.ends[n], self._problem.steps.sizes[n]
        low, high = self._problem.pieces.bounds[self._piece(t)]
        return min(max(t + self._coefficients.c[i] * h, low), high)

    def _piece(self, t: float) -> int:
        """The piece that a step from ``t`` is in."""
        return bisect.bisect_right(self._breaks, self._direction * t)

    def _shares_last(self, n: int) -> bool:
        """Whether the last stage of step ``n`` is the first of the next one, which the sweep has been through."""
        ends = self._problem.ends
        return self._tableau.fsal and n < self._outputs.last_step and self._piece(ends[n]) == self._piece(ends[n + 1])

    def _inner_cotangents(self, n: int) -> Tensor:
        return self._problem.cotangents[self._outputs.inner[n]]

    def _keep_rates(self, n: int) -> None:
        """The derivative of the dense output at the outputs inside step ``n``."""
        if not self._problem.want_rates:
            return
        if self._shares_last(n):
            assert self._following is not None
            self._stage_values[self._tableau.stages - 1] = self._following
        rates = self._outputs.slopes(n) @ self._stage_values
        self._rates.update(zip(self._outputs.inner[n], rates, strict=True))

    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        pairs = [(total, g) for total, g in zip(self._params, gradients, strict=True) if g is not None]
        if pairs:
            torch._foreach_add_([total for total, _ in pairs], [g for _, g in pairs])
