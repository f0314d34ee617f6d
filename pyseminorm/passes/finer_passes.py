"""Solves made again where a parameter gradient is not as exact as its ``param_rtol`` asks for.

Control of its integral does not see the errors of the states, along which it is, nor how much of it will cancel.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch

from ..adjoints import ContinuousAdjoint
from ..errors import SolveError
from ..host_copies import are_equal
from ..stats import PassStats
from .gradient_error import out_of_reach
from .problems import AdjointProblem, AdjointResult, Engine, ForwardProblem, PassOptions

logger = logging.getLogger("pyseminorm")

FINER = 0.1  # of both tolerances; of param_rtol at least
SURELY = 0.5  # of what the estimate says would be enough
LEAST = 100.0  # roundings: no rtol is made smaller


def repeat_finer(
    engine: Engine,
    run: Callable[[AdjointProblem], AdjointResult],
    problem: AdjointProblem,
    result: AdjointResult,
    forward: ForwardProblem,
    solved: PassStats,
) -> tuple[AdjointProblem, AdjointResult, PassStats]:
    """Solve backward again where that is wanted finer, and forward before it, where the states are.

    Return the backward problem, its result and the statistics of the forward solve: as given, where nothing is wanted,
    or one of them fails, or y0 has been changed since.
    """
    shares = _find_shares(problem, result.stats, forward.options, solved)
    if shares == Shares(1.0, 1.0):
        return problem, result, solved
    _tell()
    finer, given, work = problem, solved, [result.stats]
    if shares.tolerances != 1.0:
        options = _finer(forward.options, shares.tolerances)
        found = engine.integrate(dataclasses.replace(forward, options=options, keep_dense=problem.dense is not None))
        ys = found.ys.view_as(problem.ys)
        if not found.retcode.success or not are_equal(ys[0], problem.ys[0]):
            result.stats.add_work(found.stats)
            return problem, result, given
        options, solved = _finer(problem.options, shares.tolerances), found.stats
        finer = dataclasses.replace(problem, ys=ys, dense=found.dense, options=options)
        work.append(solved)
    assert isinstance(finer.adjoint, ContinuousAdjoint) and finer.adjoint.param_rtol is not None
    adjoint = dataclasses.replace(finer.adjoint, param_rtol=finer.adjoint.param_rtol * shares.control)
    finer = dataclasses.replace(finer, adjoint=adjoint)
    try:
        again = run(finer)
    except SolveError as error:  # it takes more than max_steps
        for stats in (*work[1:], error.last_good_state.stats):
            result.stats.add_work(stats)
        return problem, result, given
    for stats in work:
        again.stats.add_work(stats)
    return finer, again, solved


class Shares(NamedTuple):
    """What the tolerances of both solves are multiplied by, and ``param_rtol``; 1: they are fine enough."""

    tolerances: float
    control: float


def _find_shares(problem: AdjointProblem, backward: PassStats, options: PassOptions, forward: PassStats) -> Shares:
    wanted, rtol = getattr(problem.adjoint, "param_rtol", None), options.rtol
    if wanted is None or not isinstance(rtol, float) or not options.traits.adaptive:
        return Shares(1.0, 1.0)
    reachable = rtol * FINER >= LEAST * torch.finfo(problem.ys.dtype).eps
    tolerances = FINER if reachable and out_of_reach(backward, forward) > wanted else 1.0
    error = backward.param_error or 0.0  # over mu as it is at the end, which may be less than while it was controlled
    controls = error > wanted and not problem.adjoint.quadrature  # which has refined itself as far as it can
    return Shares(tolerances, max(FINER, SURELY * wanted / error) if controls else 1.0)


def _finer(options: PassOptions, share: float) -> PassOptions:
    return dataclasses.replace(
        options, rtol=options.rtol * share, atol=options.atol * share, first_step=None, warm=None
    )


@functools.cache
def _tell() -> None:
    logger.info(
        "a gradient is not as exact as its param_rtol asks for, by the errors of the states, or since most of it "
        "cancels: the backward pass is made again by finer tolerances, and where the states err the forward one before "
        "it, which takes several times as long. A smaller rtol of solve avoids that"
    )
