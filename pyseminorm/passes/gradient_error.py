"""Whether the estimated error of the parameter gradient is worth a warning: decided here for every engine."""

from __future__ import annotations

import warnings

from ..adjoints import Adjoint, DirectAdjoint
from ..errors import GradientErrorWarning
from ..stats import PassStats

WORTH_WARNING = 0.1  # relative error of the parameter gradient


def warn_of_error(stats: PassStats, adjoint: Adjoint) -> None:
    """Warn where a backward pass estimates that its parameter gradient is far off.

    Engines set ``stats.param_error``: the norm of the signed sum, over accepted steps, of the embedded error
    h sum_i (b_i - bhat_i) k_i of mu, relative to the norm of mu, all parameters as one vector.
    """
    error = stats.param_error
    if error is None or error < WORTH_WARNING or isinstance(adjoint, DirectAdjoint) or not adjoint.verbose:
        return
    warnings.warn(
        f"the gradient by the parameters may be off by {error:.0%} (stats.backward.param_error, an estimate): the "
        "steps follow the state, and something that only this gradient sees, such as a fast forcing or a jump of func "
        "in time, goes through between them. A smaller rtol need not help. Give param_rtol=1e-2 to BacksolveAdjoint, "
        "InterpolatingAdjoint or GaussAdjoint, name the times of jumps (solve(discontinuities=...), tstops=...), or "
        "bound the steps (dtmax=...). verbose=False of the adjoint switches this warning off.",
        GradientErrorWarning,
        stacklevel=2,
    )
