"""Broyden's method for x = phi(x), and derivatives of its solution by the implicit function theorem."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError, level_of_caller

Map = Callable[[Tensor], Tensor]


def solve_equation(residual: Map, x: Tensor, tolerance: float, most: int) -> tuple[Tensor, bool]:
    """Return where the residual's 2-norm is below the tolerance, or the last x, and whether it is.

    The approximate Jacobian begins as the identity, and its inverse is kept as the steps that were made (C. T. Kelley,
    Iterative Methods for Linear and Nonlinear Equations, SIAM 1995, section 7.3).
    """
    value, steps = residual(x), list[Tensor]()
    for _ in range(most):
        size = float(value.norm())
        if not size >= tolerance:
            return x, size < tolerance
        step = _next_step(value, steps)
        if step is None:
            break
        steps.append(step)
        x = x + step
        value = residual(x)
    return x, False


def warn_of_iteration() -> None:
    """Warn that the state after a step is not where its equation holds: in torchdiffeq's words, and what helps."""
    warnings.warn(
        "Functional iteration did not converge. Solution may be incorrect. (A smaller dt helps, or more iterations: "
        "method=Algorithm(name, max_iters=...).)",
        stacklevel=level_of_caller(),
    )


def _next_step(value: Tensor, steps: list[Tensor]) -> Tensor | None:
    """Return the step, or None where the approximate Jacobian is singular."""
    step = -value
    for before, after in itertools.pairwise(steps):
        step = step + after * (torch.dot(before, step) / torch.dot(before, before))
    if not steps:
        return step
    remains = 1.0 - torch.dot(steps[-1], step) / torch.dot(steps[-1], steps[-1])
    return step / remains if float(remains) else None


def differentiable(phi: Map, held: Map, x: Tensor) -> Tensor:
    """Return a solution x = phi(x) as a function of all that phi reads, with its first and second derivatives.

    Two Newton steps are recorded, with the Jacobian of ``held`` at x, which reads no more than its argument: the first
    has the first derivatives, the second both.
    """
    inverse = _Inverse(held, x)
    for _ in range(2):
        x = x - _AtSolution.apply(inverse, x - phi(x))  # type: ignore[no-untyped-call]
    return x


class _Inverse:
    """Solves with I - d phi/dx, and with its transpose."""

    def __init__(self, phi: Map, x: Tensor) -> None:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._value = phi(self._x)
            self._dual = torch.zeros_like(x, requires_grad=True)
        self._relative = 1e-11 if x.dtype == torch.float64 else 1e-5

    def transposed(self, b: Tensor) -> Tensor:
        return self._solve(lambda v: _product(self._value, self._x, v), b)

    def plain(self, b: Tensor) -> Tensor:
        pulled = _product(self._value, self._x, self._dual, create_graph=True)
        return self._solve(lambda v: _product(pulled, self._dual, v), b)

    def _solve(self, product: Map, b: Tensor) -> Tensor:
        tolerance = self._relative * float(b.norm())
        if not 0.0 < tolerance < math.inf:
            return b
        x, converged = solve_equation(lambda x: x - product(x) - b, b, tolerance, 100 + 2 * len(b))
        if not converged:
            raise UnsupportedError("A step of an implicit method is too stiff to be differentiated: give a smaller dt.")
        return x


def _product(value: Tensor, x: Tensor, v: Tensor, *, create_graph: bool = False) -> Tensor:
    """Return v times the derivative of a value by x."""
    if not value.requires_grad:
        return torch.zeros_like(v)
    found = torch.autograd.grad(value, x, v, retain_graph=True, create_graph=create_graph, materialize_grads=True)
    return found[0]


class _AtSolution(torch.autograd.Function):
    """The inverse times a vector that is zero at the solution, but moves."""

    @staticmethod
    def forward(ctx: Any, inverse: _Inverse, x: Tensor) -> Tensor:
        ctx.inverse = inverse
        ctx.save_for_backward(x)
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        return None, _Transposed.apply(ctx.inverse, grad, x)  # type: ignore[no-untyped-call]


class _Transposed(torch.autograd.Function):
    """The transposed inverse times a vector; it belongs to x, too, so that no second derivative passes it by."""

    @staticmethod
    def forward(ctx: Any, inverse: _Inverse, grad: Tensor, x: Tensor) -> Tensor:
        ctx.inverse = inverse
        return inverse.transposed(grad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise UnsupportedError(
                "The steps of an implicit method have first and second derivatives: create_graph=True is not known for "
                'second ones. Differentiate an explicit method, such as "vern7".'
            )
        return None, ctx.inverse.plain(grad), None
