"""The Jacobian of a vector field through torch, for methods that solve linear systems (stiff problems)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import first_line
from .vector_field import EagerVectorField

logger = logging.getLogger("pyseminorm")

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
        return self._rows(*self._graph(t, y))

    def _forward(self, t: float, y: Tensor) -> Derivatives:
        with warnings.catch_warnings():  # torch's own, when it first loads its rules for forward mode
            warnings.filterwarnings("ignore", message="`torch.jit.script` is", category=DeprecationWarning)
            by_time, by_state = torch.func.jacfwd(self._flat, argnums=(0, 1))(self._field.time(t), y)
        return by_state.detach(), by_time.detach()

    def _flat(self, t: Tensor, y: Tensor) -> Tensor:
        field, spec = self._field, self._field.spec
        return spec.join(field.leaves(field.call(t, spec.unflatten(y), *field.args), t))

    def _graph(self, t: float, y: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return (f, leaves of the state, time), connected."""
        field, spec = self._field, self._field.spec
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in spec.split(y)]
            when = field.time(t).requires_grad_()
            outputs = field.leaves(field.call(when, spec.build(leaves), *field.args), when)
            return spec.join(outputs), leaves, when

    def _rows(self, value: Tensor, leaves: list[Tensor], when: Tensor) -> Derivatives:
        """Make every row of the Jacobian as a vector-Jacobian product with a unit vector."""
        size, wanted = value.numel(), [*leaves, when]
        if not value.requires_grad:
            return value.new_zeros(size, size), value.new_zeros(size)
        units = torch.eye(size, dtype=value.dtype, device=value.device)
        grads = None
        if not self._one_by_one:
            try:
                grads = torch.autograd.grad(
                    value, wanted, units, is_grads_batched=True, retain_graph=True, allow_unused=True
                )
            except RuntimeError as error:
                self._one_by_one = True
                logger.info(
                    f"the Jacobian is made row by row: torch cannot batch func's products ({first_line(error)})"
                )
        if grads is None:
            rows = [
                torch.autograd.grad(value, wanted, unit, retain_graph=True, allow_unused=True, materialize_grads=True)
                for unit in units
            ]
            grads = tuple(torch.stack(parts) for parts in zip(*rows, strict=True))
        blocks = [
            value.new_zeros(size, x.numel()) if g is None else g.reshape(size, -1)
            for g, x in zip(grads, wanted, strict=True)
        ]
        return torch.cat(blocks[:-1], dim=1), blocks[-1].reshape(size)

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
        value, leaves, when = self._graph(t, y)
        by_state, _ = self._rows(value, leaves, when)
        return -by_state.T, -self._along_trajectory(value, leaves, when, adjoint)

    def _along_trajectory(self, value: Tensor, leaves: list[Tensor], when: Tensor, adjoint: Tensor) -> Tensor:
        """Return d/dt of (df/dy)^T lambda along y(t): the gradient by y of the slope of lambda . f along (1, f)."""
        spec = self._field.spec
        if not value.requires_grad:
            return torch.zeros_like(adjoint)
        with torch.enable_grad():
            wanted = [*leaves, when]
            first = torch.autograd.grad(torch.dot(value, adjoint), wanted, create_graph=True, allow_unused=True)
            direction = [*spec.split(value.detach()), torch.ones_like(when)]
            slope = sum(((g * d).sum() for g, d in zip(first, direction, strict=True) if g is not None), when * 0.0)
            second = torch.autograd.grad(slope, leaves, allow_unused=True)
        return spec.join([torch.zeros_like(x) if g is None else g for g, x in zip(second, leaves, strict=True)])

    def _adjoint_finite(self, t: float, y: Tensor, adjoint: Tensor) -> Derivatives:
        by_state, _ = self._finite(t, y)
        later = self._beside(t, torch.finfo(y.dtype).eps ** 0.5)
        moved = y + (later - t) * self._field.f(t, y)
        here, there = (self._field.vjp(*at, adjoint, params=False)[1] for at in ((t, y), (later, moved)))
        return -by_state.T, -(there - here) / (later - t)
