"""What a solve refuses by name: double backward, transforms, dual numbers, random functions, impossible steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..adjoints import Adjoint, DiscreteAdjoint
from ..errors import InvalidInputError, UnsupportedError
from ..methods.tableaus import ADAPTIVE_METHODS, TABLEAUS
from ..stepping import MethodTraits, TorchdiffeqController
from ..torch_internals import forward_mode_is_active, transform_is_active, vmap_is_active
from .problems import PassOptions


class _NoDoubleBackward(torch.autograd.Function):
    """Identity on the first ``count`` tensors; differentiating through it is refused by name."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise UnsupportedError(
            "double backward through pyseminorm.solve is not supported: the gradient of a gradient would need the "
            "adjoint of the adjoint solve. Give adjoint=DirectAdjoint(), which backpropagates through the steps, or "
            "put the derivative that you need into func and the state."
        )


refuse_again: Any = _NoDoubleBackward.apply


def refuse_transforms() -> None:
    """Raise by name under torch.func transforms, which `SolveFunction` does not define."""
    if transform_is_active():
        raise UnsupportedError(
            "pyseminorm.solve inside a torch.func transform (grad, vmap, jvp, jacrev ...) is not supported: call "
            "solve outside it and use .backward() or torch.autograd.grad, or give adjoint=DirectAdjoint(), which all "
            "but vmap can go through; for a batch, give solve a batched y0."
        )


def refuse_vmap() -> None:
    """Raise by name under torch.func.vmap, whose rows would want steps of their own."""
    if vmap_is_active():
        raise UnsupportedError(
            "pyseminorm.solve inside torch.func.vmap (or jacfwd, hessian) is not supported: a step has one size. Give "
            "solve a batched y0; torch.func.jacrev, and jvp for one tangent, go through DirectAdjoint()."
        )


def refuse_dual_numbers(tensors: Sequence[Tensor]) -> None:
    """Raise by name under forward-mode AD, which `SolveFunction` does not define."""
    unpack_dual: Any = torch.autograd.forward_ad.unpack_dual
    for x in tensors if forward_mode_is_active() else ():
        if unpack_dual(x).tangent is not None:
            raise UnsupportedError(
                "forward-mode AD through pyseminorm.solve is not supported: give adjoint=DirectAdjoint(), use "
                ".backward() or torch.autograd.grad, or solve the forward sensitivity equations with func extended by "
                "its jvp."
            )


def refuse_random(adjoint: Adjoint | None, traits: MethodTraits) -> None:
    """Refuse a function that draws random numbers where its values are compared, or are wanted twice."""
    said = "func draws random numbers in every call. "
    if traits.adaptive:
        raise InvalidInputError(
            f"{said}{traits.name} would take what they change for its own error, and make ever smaller steps: "
            'give a fixed-step method (method="rk4", dt=...), draw the numbers once, before the solve, or switch '
            "dropout off (module.eval())."
        )
    if adjoint is not None and not (isinstance(adjoint, DiscreteAdjoint) and adjoint.keep == "stages"):
        raise InvalidInputError(
            f'{said}The backward pass would draw others: give DirectAdjoint() or DiscreteAdjoint(keep="stages"), which '
            "evaluate nothing again, draw the numbers once, before the solve, or switch dropout off (module.eval())."
        )


def refuse_many_steps(options: PassOptions, times: Sequence[float]) -> None:
    """Refuse more steps of a given size than a solve may take, before the first of them."""
    size, way = options.fixed_step, abs(times[-1] - times[0])
    if size and way / size > options.max_steps * (1.0 + 1e-9):
        raise InvalidInputError(
            f"dt={size} makes {way / size:.0f} steps from t = {times[0]} to {times[-1]}, and max_steps is "
            f"{options.max_steps}: give a larger dt, or raise max_steps."
        )


def refuse_steps(options: PassOptions, adjoint: Any) -> None:
    """Refuse what says nothing of the steps of a method, and an adjoint that does not know them."""
    name = options.traits.name
    if isinstance(adjoint, DiscreteAdjoint) and options.tableau.fsal and not options.tableau.ends_at_state:
        raise InvalidInputError(
            f'DiscreteAdjoint does not follow {name} with controller="torchdiffeq", whose steps begin with a stage of '
            "the step before, at another state: give another controller or another adjoint."
        )
    rtol = None if getattr(adjoint, "quadrature", True) else getattr(adjoint, "param_rtol", None)
    if rtol is not None and (options.as_torchdiffeq or isinstance(adjoint.controller, TorchdiffeqController)):
        raise InvalidInputError(
            f"{type(adjoint).__name__}(param_rtol={rtol}) is not for torchdiffeq's steps, which are "
            "controlled by its norm alone: give another controller, or GaussAdjoint."
        )
    if options.traits.adaptive and options.grid is not None:
        raise InvalidInputError(f"dt is a grid, and {name} chooses its steps: give tstops, or a fixed-step method.")
    if not options.traits.adaptive and options.warm is not None:
        raise InvalidInputError(
            f"dt is a WarmStart, for adaptive methods: give a step size, since {name} takes fixed steps."
        )
    if not options.traits.adaptive and (options.dtmin, options.dtmax) != (0.0, math.inf):
        raise InvalidInputError(f"dtmin and dtmax are for adaptive methods: give dt, since {name} takes fixed steps.")


def refuse_backward_method(adjoint: Adjoint, back: MethodTraits) -> None:
    """Refuse a backward method that needs the Jacobian of a state which is more than lambda, or chooses steps that are
    given.
    """
    if back.adaptive and callable(getattr(adjoint, "dt", None)):
        raise InvalidInputError(
            f"{type(adjoint).__name__}(dt=...) is a grid, and {back.name} chooses its steps: give a fixed-step method."
        )
    if back.needs_jacobian and (adjoint.integrates_y or not adjoint.quadrature):
        raise InvalidInputError(
            f"{type(adjoint).__name__} cannot be solved by {back.name}: a method that needs the Jacobian wants the "
            'backward state to be lambda alone. Give adjoint=GaussAdjoint() (or adjoint="auto"), or the adjoint an '
            'explicit method of its own, such as InterpolatingAdjoint(method="tsit5").'
        )


def refuse_param_rtol(adjoint: Adjoint, back: MethodTraits, engine: str) -> None:
    """Refuse control of the parameter gradient's error by an engine and a backward method that have none."""
    rtol = getattr(adjoint, "param_rtol", None)
    if rtol is None or engine != "julia" or adjoint.quadrature:
        return
    if back.name not in TABLEAUS:
        raise UnsupportedError(
            f"{type(adjoint).__name__}(param_rtol={rtol}) is not supported with the backward method {back.name}, whose "
            f"stages are not known here: give the adjoint one of {', '.join(ADAPTIVE_METHODS)} (method=...)."
        )
