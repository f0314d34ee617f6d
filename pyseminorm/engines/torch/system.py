"""What the Runge-Kutta integrator integrates: a derivative of the measured state, plus plain integrals beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...host_copies import are_equal
from ...problem.finiteness import each_finite
from ...torch_internals import copy_all, increment_all

# The derivatives of the integrals that no right-hand side reads (None: zero).
IntegralDerivatives = Sequence[Tensor | None]


class System(Protocol):
    """A right-hand side: writes the derivative of the state (size,) into ``out``, and gives those of the integrals.

    Where the latter weigh nothing in a step, they are not ``wanted`` and may be left out.
    """

    def __call__(self, t: float, state: Tensor, out: Tensor, wanted: bool, /) -> IntegralDerivatives: ...


class Derivative(NamedTuple):
    """Derivative of the state (size,), and of the integrals."""

    state: Tensor
    integrals: IntegralDerivatives

    def equal(self, other: Derivative) -> bool:
        return are_equal(self.state, other.state) and all(
            a is b or (a is not None and b is not None and are_equal(a, b))
            for a, b in zip(self.integrals, other.integrals, strict=True)
        )


class Integrals:
    """Plain integrals mu' = q(t), as long as the parameters, kept out of the Runge-Kutta stages.

    Only the b-weighted sum of a step's derivatives is kept, divided by the first weight (the first derivative is then
    copied, and nothing need be zeroed), and added to `total` when the step is accepted.
    """

    def __init__(self, shapes_of: list[Tensor]) -> None:
        self.total = [torch.zeros_like(x) for x in shapes_of]
        self._trial: list[Tensor] = []  # made where a step is made stage by stage
        self._increments: IntegralDerivatives | None = None  # of a step made as a whole
        self._first = 0.0  # the first weight of the step
        self._zeros = [x.new_zeros(()).expand_as(x) for x in shapes_of]  # for targets that a stage does not depend on

    def start_step(self, increments: IntegralDerivatives | None = None) -> None:
        """Begin an attempt, of which the ``increments`` may be known already."""
        self._first, self._increments = 0.0, increments

    def add_stage(self, derivatives: IntegralDerivatives, weight: float) -> None:
        if not derivatives or weight == 0.0:
            return
        if self._first == 0.0:
            self._first = weight
            self._trial = self._trial or [torch.empty_like(x) for x in self.total]
            copy_all(self._trial, [zero if q is None else q for q, zero in zip(derivatives, self._zeros, strict=True)])
            return
        trial, known = self._trial, [q for q in derivatives if q is not None]
        if len(known) < len(derivatives):
            trial = [t for t, q in zip(trial, derivatives, strict=True) if q is not None]
        if known:
            increment_all(trial, known, alpha=weight / self._first)

    def accept(self, step: float) -> bool:
        """Add the derivatives of an accepted step; return whether the totals are finite, as no norm can say."""
        if self._increments:
            pairs = [(x, q) for x, q in zip(self.total, self._increments, strict=True) if q is not None]
            if pairs:
                increment_all([x for x, _ in pairs], [q for _, q in pairs])
        elif self._first:
            increment_all(self.total, self._trial, alpha=step * self._first)
        return not self.total or each_finite(self.total)
