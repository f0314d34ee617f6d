"""The Jacobian of a vector field through torch, for methods that solve linear systems (stiff problems)."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import first_line
from .vector_field import EagerVectorField

logger = logging.getLogger("pyseminorm")

_grad: Any = functools.partial(torch.autograd.grad, allow_unused=True, materialize_grads=True)
JACOBIANS = ("reverse", "forward", "finite")

Derivatives = tuple[Tensor, Tensor]  # of a right-hand side, by the state (size, size) and by the time (size,)


class Jacobian:
    """Derivatives of f, and of the adjoint's right-hand side, by state and time.

    ``mode`` "reverse": all rows in one batched vector-Jacobian product, row by row where torch cannot batch;
    "forward": columns by batched forward-mode AD; "finite": forward differences, one call of func a column.
    ``intervals``: where func is smooth; finite differences in time do not leave them.
    """

    def __init__(self, field: EagerVectorField, mode: str, intervals: Sequence[tuple[float, float]]) -> None:
        self.calls = 0
        self._field, self._mode, self._intervals = field, mode, intervals
        self._one_by_one = False
        self._known: tuple[float, Tensor, Derivatives] | None = None

    def of_field(self, t: float, y: Tensor) -> Derivatives:
        """Return (df/dy, df/dt) at (t, y), for y (size,)."""
        evaluate = {"reverse": self._reverse, "forward": self._forward, "finite": self._finite}[self._mode]
        return self._once(t, y, lambda: evaluate(t, y))

    def of_adjoint(self, t: float, y: Tensor, adjoint: Tensor) -> Derivatives:
        """Return (A, d): lambda' = A lambda with A = -(df/dy)^T along the trajectory y(t), and d = (dA/dt) lambda."""
        return self._once(t, adjoint, lambda: self._adjoint(t, y, adjoint))

    def _once(self, t: float, state: Tensor, evaluate: Callable[[], Derivatives]) -> Derivatives:
        """Evaluate once where a solver asks for the two derivatives at one point one after the other."""
        known = self._known
        if known is None or known[0] != t or not torch.equal(known[1], state):
            self.calls += 1
            self._known = known = (t, state, evaluate())
        return known[2]

    def _reverse(self, t: float, y: Tensor) -> Derivatives:
        by_state, by_time = self._rows(*self._graph(t, y))
        return by_state, by_time

    def _forward(self, t: float, y: Tensor) -> Derivatives:
        with warnings.catch_warnings():  # torch's own, when it first loads its rules for forward mode
            warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=DeprecationWarning)
            by_time, by_state = torch.func.jacfwd(self._field.flat, argnums=(0, 1))(self._field.time(t), y)
        return by_state.detach(), by_time.detach()

    def _graph(self, t: float, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (f, state, time), connected."""
        with torch.enable_grad():
            state, when = y.detach().requires_grad_(), self._field.time(t).requires_grad_()
            return self._field.flat(when, state), state, when

    def _rows(self, value: Tensor, *inputs: Tensor) -> list[Tensor]:
        """Make every row of the Jacobians by inputs as a vector-Jacobian product with a unit vector."""
        size = value.numel()
        if not value.requires_grad:
            return [value.new_zeros(size, *x.shape) for x in inputs]
        units = torch.eye(size, dtype=value.dtype, device=value.device)
        make = functools.partial(_grad, value, inputs, retain_graph=True)
        if not self._one_by_one:
            try:
                grads = make(units, is_grads_batched=True)
                return [g.expand(size, *x.shape) for g, x in zip(grads, inputs, strict=True)]  # a zero has no rows
            except RuntimeError as error:
                self._one_by_one = True
                logger.info(
                    f"the Jacobian is made row by row: torch cannot batch func's products ({first_line(error)})"
                )
        return [torch.stack(parts) for parts in zip(*map(make, units), strict=True)]

    def _finite(self, t: float, y: Tensor) -> Derivatives:
        value, root = self._field.f(t, y), torch.finfo(y.dtype).eps ** 0.5
        columns = []
        for i, step in enumerate((root * y.abs().clamp(min=1.0)).tolist()):
            moved = y.clone()
            moved[i] += step
            columns.append((self._field.f(t, moved) - value) / (moved[i] - y[i]))
        later = self._beside(t, root)
        return torch.stack(columns, dim=1), (self._field.f(later, y) - value) / (later - t)

    def _beside(self, t: float, root: float) -> float:
        """Return another time, a small step away inside the smooth interval that t is in."""
        low, high = next((b for b in self._intervals if b[0] <= t <= b[1]), self._intervals[-1])
        step = root * max(1.0, abs(t))
        return t + step if high - t > t - low else t - step

    def _adjoint(self, t: float, y: Tensor, adjoint: Tensor) -> Derivatives:
        if self._mode == "finite":
            return self._adjoint_finite(t, y, adjoint)
        value, state, when = self._graph(t, y)
        by_state, _ = self._rows(value, state, when)
        if not value.requires_grad:
            return -by_state.T, torch.zeros_like(adjoint)
        with torch.enable_grad():  # the gradient by y of the slope of lambda . f along (1, f)
            by_y, by_time = _grad(torch.dot(value, adjoint), (state, when), create_graph=True)
            (along,) = _grad(torch.dot(by_y, value.detach()) + by_time + 0.0 * when, (state,))
        return -by_state.T, -along

    def _adjoint_finite(self, t: float, y: Tensor, adjoint: Tensor) -> Derivatives:
        by_state, _ = self._finite(t, y)
        later = self._beside(t, torch.finfo(y.dtype).eps ** 0.5)
        moved = y + (later - t) * self._field.f(t, y)
        here, there = (self._field.vjp(*at, adjoint, params=False)[1] for at in ((t, y), (later, moved)))
        return -by_state.T, -(there - here) / (later - t)
