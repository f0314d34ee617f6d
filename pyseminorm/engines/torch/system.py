"""What the Runge-Kutta integrator integrates: a derivative of the measured state, plus plain integrals beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# The derivatives of the integrals that no right-hand side reads (None: zero).
Rates = Sequence[Tensor | None]


class System(Protocol):
    """A right-hand side: writes the derivative of the state (size,) into ``out``, and gives those of the integrals."""

    def __call__(self, t: float, state: Tensor, out: Tensor, /) -> Rates: ...


class Derivative(NamedTuple):
    """Derivative of the state (size,), and of the integrals."""

    state: Tensor
    integrals: Rates

    def equal(self, other: Derivative) -> bool:
        return torch.equal(self.state, other.state) and all(
            a is b or (a is not None and b is not None and torch.equal(a, b))
            for a, b in zip(self.integrals, other.integrals, strict=True)
        )


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

    def add_stage(self, rates: Rates, weight: float) -> None:
        if not rates or weight == 0.0:
            return
        trial, known = self._trial, [q for q in rates if q is not None]
        if len(known) < len(rates):
            trial = [t for t, q in zip(trial, rates, strict=True) if q is not None]
        if known:
            torch._foreach_add_(trial, known, alpha=weight)

    def accept(self, step: float) -> None:
        if self.total:
            torch._foreach_add_(self.total, self._trial, alpha=step)
