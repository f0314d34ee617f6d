"""What the Runge-Kutta integrator integrates: a derivative of the measured state, plus plain integrals beside it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Derivative(NamedTuple):
    """Derivative of the state (size,), and of the integrals that no right-hand side reads (None: zero)."""

    state: Tensor
    integrals: list[Tensor | None]

    def equal(self, other: Derivative) -> bool:
        return torch.equal(self.state, other.state) and all(
            a is b or (a is not None and b is not None and torch.equal(a, b))
            for a, b in zip(self.integrals, other.integrals, strict=True)
        )


class System(Protocol):
    """A right-hand side; ``t`` may lie one rounding error outside the interval (the integrator clamps it)."""

    def __call__(self, t: float, state: Tensor, /) -> Derivative: ...


class Integrals:
    """Plain integrals mu' = q(t), as long as the parameters, kept out of the Runge-Kutta stages.

    Only the b-weighted sum of a step's derivatives is kept: `trial`, added to `total` when the step is accepted.
    """

    def __init__(self, shapes_of: list[Tensor]) -> None:
        self.total = [torch.zeros_like(x) for x in shapes_of]
        self._trial = [torch.zeros_like(x) for x in shapes_of]

    def start_step(self) -> None:
        if self._trial:
            torch._foreach_zero_(self._trial)

    def add_stage(self, derivative: list[Tensor | None], weight: float) -> None:
        if weight == 0.0:
            return
        pairs = [(t, q) for t, q in zip(self._trial, derivative, strict=True) if q is not None]
        if pairs:
            torch._foreach_add_([t for t, _ in pairs], [q for _, q in pairs], alpha=weight)

    def accept(self, step: float) -> None:
        if self.total:
            torch._foreach_add_(self.total, self._trial, alpha=step)
