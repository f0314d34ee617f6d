"""What a backward pass says of the error of its parameter gradient, by a second look where the estimate is in doubt.

An estimate is made of what the stages of a few steps happen to see of the integrand, so that it is off by its own size
as easily as the errors of these steps add up or cancel. Where that decides about a warning, the integral is made again
along the same steps, of parts that are halved until they say the same (GaussAdjoint with a param_rtol).
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import weakref
from collections.abc import Callable
from typing import Any

import torch

from ..adjoints import Adjoint, ContinuousAdjoint, DirectAdjoint, DiscreteAdjoint, GaussAdjoint
from ..errors import PySeminormError
from ..problem.parameters import kind_of
from ..problem.vector_field import EagerVectorField
from ..stats import PassStats
from .gauss_quadrature import size_of
from .gradient_error import (
    WORTH_WARNING,
    complete_estimate,
    is_rough,
    warn_of_drift,
    warn_of_error,
    warn_of_states,
)
from .problems import AdjointProblem, AdjointResult, Engine

logger = logging.getLogger("pyseminorm")

FEW, FEWEST = 10, 2  # steps: the errors of fewer hardly average; to these a `WarmStart` comes down
DOUBTED, SOON_DOUBTED = 0.25, 0.1  # of what is worth a warning, in a pass of few steps, or of the fewest
SMOOTH = 0.5  # in one of many, where what is not seen makes most of the error: else the states do, which no look sees
ALWAYS = 8  # passes in doubt are looked at
RESOLVED = 1e-2  # relative error of the integral that is compared with
RESOLVED_AGAIN = 5e-3  # where the pass is such an integral, in whose largest step two rules may agree by chance

# From the adjoint of a second look to its problem, and by what the cotangents are divided there.
Resolve = Callable[[GaussAdjoint], tuple[AdjointProblem, float]]


def judge(
    engine: Engine,
    adjoint: Adjoint,
    func: Callable[..., Any],
    result: AdjointResult,
    forward: PassStats,
    resolve: Resolve,
    *,
    lost: bool = False,
) -> None:
    """Complete the estimate of a pass's error, look again where that is in doubt or states were ``lost``, and warn."""
    stats, rounding = result.stats, torch.finfo(result.adjoint.dtype).eps
    complete_estimate(stats, forward, rounding)
    if isinstance(adjoint, DirectAdjoint) or not adjoint.verbose:
        return
    if lost and result.params:
        if _LOST.setdefault(kind_of(func), Looks()).are_due():
            error = measure_error(engine, looking_at(adjoint, lost=True), resolve, result)
            if error is None:
                warn_of_error(stats)
            else:
                stats.param_error = error
                warn_of_drift(stats, type(adjoint).__name__)
        return
    if stats.param_error is None:
        return
    if not isinstance(adjoint, DiscreteAdjoint) and adjoint.param_rtol is not None:
        warn_of_states(stats, forward, adjoint.param_rtol)
    elif in_doubt(stats, forward):
        looks = _LOOKS.setdefault(kind_of(func), Looks())
        if not looks.are_due():
            stats.param_error *= looks.factor
        elif error := measure_error(engine, looking_at(adjoint), resolve, result):
            looks.factor, stats.param_error = error / stats.param_error, error
            complete_estimate(stats, forward, rounding)
    warn_of_error(stats)


@dataclasses.dataclass
class Looks:
    """The second looks at passes of functions of one kind: at the first ones in doubt, and then ever fewer.

    Attributes:
        passes: that were in doubt.
        factor: what the last look saw, over the estimate.
    """

    passes: int = 0
    factor: float = 1.0

    def are_due(self) -> bool:
        """Count a pass in doubt; tell whether it is to be looked at: up to a few, and where twice as many are done."""
        self.passes += 1
        if self.passes == 1:
            logger.info(
                "the error of the gradient by the parameters is in doubt: backward passes take a second look at it, "
                f"which takes several times as long: the first {ALWAYS}, and every one that doubles their number. "
                "verbose=False of the adjoint avoids that, and so does what removes the doubt: param_rtol, a smaller "
                "dtmax or, where stats.backward.drift is large, an adjoint that reads y from the forward solve"
            )
        return self.passes <= ALWAYS or self.passes & (self.passes - 1) == 0


def in_doubt(stats: PassStats, forward: PassStats) -> bool:
    """Tell whether what a pass estimates may be on the wrong side of what is worth a warning."""
    steps, many = stats.naccept, 1.0 if is_rough(forward) else SMOOTH
    share = many if steps >= FEW else DOUBTED if steps > FEWEST else SOON_DOUBTED
    return stats.param_error is not None and stats.param_error >= share * WORTH_WARNING


def looking_at(adjoint: ContinuousAdjoint | DiscreteAdjoint, *, lost: bool = False) -> GaussAdjoint:
    """Return the adjoint of a second look, whose steps are the same as far as they follow lambda and y; where y was
    ``lost`` on the way back, it is read from the forward solve.
    """
    if isinstance(adjoint, DiscreteAdjoint):
        return GaussAdjoint(param_rtol=RESOLVED)
    if isinstance(adjoint, GaussAdjoint):
        return dataclasses.replace(adjoint, param_rtol=RESOLVED_AGAIN, interpolate=lost or adjoint.interpolate)
    settings = {field.name: getattr(adjoint, field.name) for field in dataclasses.fields(adjoint)}
    if isinstance(adjoint.norm, str) and adjoint.norm.startswith("torchdiffeq"):
        settings["norm"] = "seminorm"
    return GaussAdjoint(**settings | {"param_rtol": RESOLVED, "interpolate": lost or not adjoint.integrates_y})


def plain_problem(problem: AdjointProblem, adjoint: GaussAdjoint) -> AdjointProblem:
    """Return a problem with another adjoint, whose steps nobody is told of."""
    options = dataclasses.replace(problem.options, report=None, announce=None)
    field = by_stages(problem.field)
    return dataclasses.replace(problem, field=field, adjoint=adjoint, options=options, want_times=False)


def by_stages(field: EagerVectorField) -> EagerVectorField:
    """Return a field of which no whole steps are compiled: that takes longer than few passes do."""
    if getattr(field, "steps", None) is None:
        return field
    field = copy.copy(field)
    field.steps = None
    return field


def measure_error(engine: Engine, adjoint: GaussAdjoint, resolve: Resolve, result: AdjointResult) -> float | None:
    """Return how far the parameter gradient of a pass is from that by another adjoint, relative; None where that fails.

    What it evaluates is counted.
    """
    try:
        problem, scale = resolve(adjoint)
        seen = engine.solve_adjoint(problem)
    except PySeminormError:
        return None
    result.stats.add_work(seen.stats)
    if not seen.retcode.success:
        return None
    for right in seen.params:
        right.mul_(scale)
    size = size_of(seen.params)
    for right, found in zip(seen.params, result.params, strict=True):
        right.sub_(found)
    return size_of(seen.params) / size if size else None


_LOOKS: weakref.WeakKeyDictionary[Any, Looks] = weakref.WeakKeyDictionary()
_LOST: weakref.WeakKeyDictionary[Any, Looks] = weakref.WeakKeyDictionary()


def forget_looks() -> None:
    """Let every function's passes be looked at anew."""
    _LOOKS.clear()
    _LOST.clear()
