"""The gradient that errors are measured from: float64, rtol = atol = 1e-11, and torchdiffeq's beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyseminorm import DiscreteAdjoint, solve

from .cases import Problem, gradient, relative_error

TOLERANCE = 1e-11
HOW = "pyseminorm torch, DiscreteAdjoint, vern7, rtol = atol = 1e-11, float64"


@dataclass(frozen=True)
class Reference:
    """The loss and dL/dtheta (one float64 vector) of the unchanged parameters."""

    loss: float
    gradient: Tensor


def reference(problem: Problem) -> Reference:
    """By the embedded engine."""
    exact = problem.doubled()
    settings = {"method": "vern7", "rtol": TOLERANCE, "atol": TOLERANCE, "backend": "torch"}
    ys: Tensor = solve(exact.field, exact.y0, exact.t, adjoint=DiscreteAdjoint(), **settings).ys  # type: ignore[arg-type]
    return _differentiated(exact, ys)


def disagreement(problem: Problem, found: Reference) -> float:
    """Relative difference of ``found`` from the gradient that torchdiffeq's `odeint_adjoint` makes (dopri5)."""
    import torchdiffeq

    exact = problem.doubled()
    ys = torchdiffeq.odeint_adjoint(exact.field, exact.y0, exact.t, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
    return relative_error(found.gradient, _differentiated(exact, ys).gradient)


def _differentiated(exact: Problem, ys: Tensor) -> Reference:
    loss = ys.pow(2).mean()
    with torch.enable_grad():
        loss.backward()  # type: ignore[no-untyped-call]
    return Reference(float(loss.detach()), gradient(exact))
