"""What the Runge-Kutta integrator integrates: a derivative of the measured state, plus plain integrals beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...host_copies import are_equal
from ...methods.tableau import Tableau
from ...passes.embedded_errors import EmbeddedErrors
from ...passes.gradient_error import SAFETY, local_error, quadrature_error
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
    copied, and nothing need be zeroed), and added to `total` when the step is accepted. Few parameters are kept stage
    by stage instead, with their embedded errors.

    ``rtol``: limits the errors of steps, beside the norm.

    Attributes:
        wanted: for every stage, whether its derivatives are asked for.
    """

    def __init__(self, shapes_of: list[Tensor], tableau: Tableau, rtol: float | None = None) -> None:
        error = tableau.integral_error if shapes_of else None
        self._tableau, self._rtol = tableau, rtol
        self._b, self._e = tableau.b, error or (0.0,) * len(tableau.b)
        self.wanted = [bool(b or e) for b, e in zip(self._b, self._e, strict=True)]
        self.errors = EmbeddedErrors(shapes_of, self._b, error) if error else None
        self._whole = self.errors is not None and self.errors.whole
        self._complete = True  # whether all steps were made stage by stage
        self.total = self.errors.parts if self.errors and self._whole else [torch.zeros_like(x) for x in shapes_of]
        self._trial: list[Tensor] = []  # made where a step is made stage by stage
        self._increments: IntegralDerivatives | None = None  # of a step made as a whole
        self._first = 0.0  # the first weight of the step
        self._zeros = [x.new_zeros(()).expand_as(x) for x in shapes_of]  # for targets that a stage does not depend on

    def start_step(self, increments: IntegralDerivatives | None = None) -> None:
        """Begin an attempt, of which the ``increments`` may be known already."""
        self._first, self._increments = 0.0, increments

    def add_stage(self, i: int, derivatives: IntegralDerivatives) -> None:
        if not derivatives or not self.wanted[i]:
            return
        if self.errors is not None:
            self.errors.take(i, derivatives)
        if self._b[i] != 0.0 and not self._whole:
            self._add(derivatives, self._b[i])

    def _add(self, derivatives: IntegralDerivatives, weight: float) -> None:
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
            self._accept_whole(self._increments)
        elif self.errors is not None:
            self.errors.accept(step)
        if self._first:
            increment_all(self.total, self._trial, alpha=step * self._first)
        return not self.total or each_finite([self.errors.total] if self.errors and self._whole else self.total)

    def scaled_error(self, step: float) -> float:
        """Return the error of the attempted step's part of the totals over ``rtol`` of these, all as one vector."""
        if self._rtol is None or self.errors is None:
            return 0.0
        return SAFETY * local_error(self.errors.attempted(step), self._tableau) / self._rtol

    def error(self) -> float | None:
        """Return the estimate of the relative error of the totals."""
        return quadrature_error(self.errors.steps(), self._tableau) if self.errors and self._complete else None

    def _accept_whole(self, increments: IntegralDerivatives) -> None:
        self._complete = False
        pairs = [(x, q) for x, q in zip(self.total, increments, strict=True) if q is not None]
        if pairs:
            increment_all([x for x, _ in pairs], [q for _, q in pairs])
