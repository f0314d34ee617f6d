"""The estimated error of the parameter gradient, and whether it is worth a warning: for every engine."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import GradientErrorWarning, level_of_caller
from ..host_copies import is_short, read, read_length
from ..methods.tableau import Tableau
from ..methods.tableaus import IMPLICIT_METHODS, TABLEAUS
from ..stats import PassStats
from ..stepping import MethodTraits
from .embedded_errors import StepSizes

WORTH_WARNING = 0.1  # relative error of the parameter gradient

# A step that does not resolve the integrand at all has an embedded error of a share of its increment (see `formula`),
# half of which is wrong, about. The better it is resolved, the more accurate is the solution than the embedded one:
# below a knee, by the order of the method, the error enters with a larger power. Both are such that of
# h exp(i omega t), of any phase, what is estimated is about what is wrong.
UNRESOLVED = 0.5
KNEES = {3: 1.0, 5: 0.08, 7: 1.0}
POWERS = {3: 0.6, 5: 0.6, 7: 0.25}
OF_OUTPUTS = {3: 0.5, 5: 0.02}  # by that order, what counts of the quartic's part of an output inside a step
SAFETY = 4.0  # of param_rtol: errors of steps add up, and some steps are blind
KEPT = 0.6  # of what control read of the step before: a blind step is a large one, which begins with a lucky one
# What the embedded errors of y and of lambda weigh in the gradient's where steps are smooth; where the field has kinks,
# which many rejected steps tell, the solution is no better than the embedded one, and errors add up in one direction.
# Below a knee they weigh less: the solution is of an order more, which with order 5 is the error's fifth root.
OF_STATES, STATES_KNEE, STATES_POWER = 0.1, 3e-5, 0.2
ROUGH = 0.25  # of the attempts are rejected
MOSTLY = 10.0  # times as much is added to the gradient as is left of it, where most of it cancels
LOST = 0.1  # of the state: the paper's twelve pairs drift by 0.018 at most, the problems of the benchmark by 3e-4
STATES_AT_MOST = 0.05  # of it: where a state has decayed to nothing at its end, its relative error there says little


def quadrature_error(steps: Sequence[StepSizes], tableau: Tableau, outputs: Sequence[float] = ()) -> float | None:
    """Return the error of mu, relative, from the sizes of the increments and of their embedded errors over mu's.

    ``outputs``: where parts of mu end at an output inside a step, what its quartic has there over Hermite's cubic.

    All numbers in it are found by benchmarks/studies/gradient_error.py, for methods of the orders in `KNEES`.
    """
    if not steps or not has_estimate(tableau):
        return None
    weight = OF_OUTPUTS.get(tableau.order, 0.0)
    return math.hypot(*(local_error(step, tableau) for step in steps), *(weight * x for x in outputs))


def local_error(step: StepSizes, tableau: Tableau) -> float:
    """Return the error of a step's part of mu: of what it does not resolve, at worst the increment, half is wrong."""
    if step.error == 0.0:
        return 0.0
    factor, knee, power = formula(tableau)
    resolved = step.error / (knee * step.increment) if step.increment else math.inf
    return float(factor * step.error * min(1.0, resolved**power))


def read_by_control(share: float, before: float) -> float:
    """Return what control of a step reads of its part's error, as a ``share`` of what is allowed, after that of the
    step ``before``: it grows with a larger power of the step's size than the controller of the steps knows.
    """
    return max(share * share, KEPT * min(before, 1.0))


def has_estimate(tableau: Tableau) -> bool:
    """Tell whether what is known of a method's embedded errors makes an estimate."""
    return tableau.order in KNEES


def estimates(method: Any, traits: MethodTraits) -> bool:
    """Tell whether the errors of a method's steps are known to make an estimate."""
    return traits.adaptive and isinstance(method, str) and method in TABLEAUS and has_estimate(TABLEAUS[method])


@functools.cache
def formula(tableau: Tableau) -> tuple[float, float, float]:
    """Return the factor, the knee and the power of `local_error`, which PySeminorm has too.

    Stages that have nothing to do with each other have an embedded error of ``share`` of the increment.
    """
    knee = KNEES.get(tableau.order)
    if knee is None or tableau.integral_error is None:
        return 1.0, 1.0, 0.0
    share = math.hypot(*tableau.integral_error) / math.hypot(*tableau.b)
    return UNRESOLVED / share, knee * share, POWERS[tableau.order]


def state_error(squares: float, rtol: object, atol: object, size: float) -> float | None:
    """Return the relative error of a state of rms ``size``, from the sum of the squares of scaled errors of steps."""
    if not isinstance(rtol, float) or not isinstance(atol, float) or size == 0.0:
        return None
    return math.sqrt(squares) * (rtol + atol / size)


def complete_estimate(backward: PassStats, forward: PassStats, rounding: float) -> None:
    """Let the estimate of the parameter gradient's error, made by an engine of its integral alone, hold the errors of
    both solves, and of rounding.
    """
    if backward.param_error is None:
        return
    error = math.hypot(backward.param_error, _of_state(forward), _of_state(backward), rounding)
    backward.param_error = error if math.isfinite(error) else None  # 2-norms of such sizes overflow


def _of_state(stats: PassStats) -> float:
    """Return what the error of a pass's state adds to that of the parameter gradient."""
    error = stats.state_error
    if error is None:
        return 0.0
    return min((_smooth_share(error) + math.sqrt(stats.naccept) * _roughness(stats)) * error, STATES_AT_MOST)


def _smooth_share(error: float) -> float:
    """Return what a state's embedded error weighs in the gradient's, where steps are smooth."""
    return float(OF_STATES * min(1.0, error / STATES_KNEE) ** STATES_POWER)


def _roughness(stats: PassStats) -> float:
    """Return how much the errors of a pass's steps add up in one direction, 0 to 1."""
    return min(1.0, stats.nreject / (ROUGH * (stats.naccept + stats.nreject))) ** 2 if stats.nreject else 0.0


def is_rough(stats: PassStats) -> bool:
    """Tell whether a pass's field has kinks, as many rejected attempts tell: an eighth of them."""
    return _roughness(stats) >= 0.25


def out_of_reach(backward: PassStats, forward: PassStats) -> float:
    """Return the error of the parameter gradient that the states of both solves make, which no control of mu reaches.

    Rough ones make it, which the forward solve tells: backwards, control rejects steps too. And all do where most of
    the gradient cancels: what is left of it has their errors as many times. A state with a larger relative error than
    either makes has decayed to nothing.
    """
    known = [
        (x.naccept, x.state_error) for x in (backward, forward) if x.state_error and x.state_error <= STATES_AT_MOST
    ]
    cancellation = backward.cancellation or 0.0
    of_each = max((_smooth_share(error) * error for _, error in known), default=0.0)
    cancelled = cancellation * of_each if cancellation >= MOSTLY else 0.0
    if not is_rough(forward):
        return cancelled
    rough = _roughness(forward) * math.hypot(*(math.sqrt(steps) * error for steps, error in known))
    return math.hypot(cancelled, rough)


def find_drift(y: Tensor | None, ys: Tensor) -> float | None:
    """Return how far ``y``, solved backwards to the first time, is from the first of the outputs ``ys``, over the
    larger of that and the next one, at which the backward solve set it right; None where they are zero.
    """
    if y is None or not y.numel():
        return None
    if is_short(y):
        first, following = read(ys[:2])
        distance, size = math.dist(read(y), first), max(math.hypot(*first), math.hypot(*following))
    else:
        distance, size = read_length(y - ys[0]), max(map(read_length, ys[:2].unbind()))
    return distance / size if size else None


def is_lost(stats: PassStats, traits: MethodTraits) -> bool:
    """Tell whether a backward solve has lost the states that its gradients are along.

    Explicit fixed steps are as coarse as they are asked to be, both ways.
    """
    chosen = traits.adaptive or traits.needs_jacobian or traits.name in IMPLICIT_METHODS
    return chosen and stats.drift is not None and stats.drift >= LOST


def warn_of_drift(stats: PassStats, name: str) -> None:
    """Warn where the gradient of a pass that has lost its states is far off, as a second look has measured."""
    drift, error = stats.drift or 0.0, stats.param_error
    if error is None or error < WORTH_WARNING:
        return
    warnings.warn(
        f"the gradient by the parameters is off by {_percent(error)} (stats.backward.param_error, measured): {name} "
        f"solves y backwards, and comes to a state that is off by {_percent(drift)} (stats.backward.drift), since "
        "dynamics that contract forwards (dissipative or stiff ones) grow backwards, and so does every error. Use "
        "InterpolatingAdjoint() or GaussAdjoint(), which read y from the forward solve, or DiscreteAdjoint(). "
        "verbose=False of the adjoint switches this warning off, and the second look that it takes.",
        GradientErrorWarning,
        stacklevel=level_of_caller(),
    )


def _percent(error: float) -> str:
    return f"{error:.0%}" if error < 100.0 else f"a factor of {error:.0e}"


def warn_of_states(backward: PassStats, forward: PassStats, rtol: float) -> None:
    """Warn where the errors of the states keep a parameter gradient from its ``rtol``."""
    error = out_of_reach(backward, forward)
    if error > rtol:
        size = f"{error:.1%}" if error >= 1e-3 else f"{error:.0e}"
        warnings.warn(
            f"the gradient by the parameters may be off by {size}, and param_rtol={rtol:g} does not help: it "
            "is for an integral along the states of both solves, which err themselves (stats.forward.state_error, "
            "stats.backward.state_error): func has kinks, as many rejected steps tell, or most of the gradient cancels "
            "(stats.backward.cancellation). Lower rtol. verbose=False of the adjoint switches this warning off.",
            GradientErrorWarning,
            stacklevel=level_of_caller(),
        )


def warn_of_error(stats: PassStats) -> None:
    """Warn where a backward pass estimates that its parameter gradient is far off."""
    error = stats.param_error
    if error is None or error < WORTH_WARNING:
        return
    warnings.warn(
        f"the gradient by the parameters may be off by {error:.0%} (stats.backward.param_error, an estimate): steps "
        "follow the state, and something that only this gradient sees, such as a fast forcing or a jump of func in "
        "time, goes through between them. A smaller rtol need not help. Give param_rtol=1e-2 to BacksolveAdjoint, "
        "InterpolatingAdjoint or GaussAdjoint (in torchdiffeq's steps to the last alone), name the times of jumps "
        "(discontinuities=..., tstops=...; jump_t, step_t), or bound the steps (dtmax=...; max_step). verbose=False of "
        "the adjoint switches this warning off, and the second look at the integral that it takes.",
        GradientErrorWarning,
        stacklevel=level_of_caller(),
    )
