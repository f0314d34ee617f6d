"""What the Runge-Kutta integrator integrates: a derivative of the measured state, plus plain integrals beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...host_copies import are_equal, read, read_number
from ...methods.tableau import Tableau
from ...passes.embedded_errors import EmbeddedErrors, StepSizes
from ...passes.gauss_quadrature import add_products
from ...passes.gradient_error import SAFETY, local_error, quadrature_error, read_by_control
from ...problem.finiteness import each_finite
from ...stats import PassStats
from ...torch_internals import copy_all, increment_all
from .interpolant import LocalInterpolation

# The derivatives of the integrals that no right-hand side reads (None: zero).
IntegralDerivatives = Sequence[Tensor | None]


# A right-hand side (t, state, out, wanted): writes the derivative of the state (size,) into ``out``, and gives those of
# the integrals. Where the latter weigh nothing in a step, they are not ``wanted`` and may be left out.
System = Callable[[float, Tensor, Tensor, bool], IntegralDerivatives]


class Derivative(NamedTuple):
    """Derivative of the state (size,), and of the integrals."""

    state: Tensor
    integrals: IntegralDerivatives

    def equal(self, other: Derivative) -> bool:
        return are_equal(self.state, other.state) and all(
            a is b or (a is not None and b is not None and are_equal(a, b))
            for a, b in zip(self.integrals, other.integrals, strict=True)
        )


class WholeIntegrals(NamedTuple):
    """What a step made as a whole does to plain integrals: their totals after it (None: as before), and what gives the
    2-norms of its increment, of its embedded error and of the totals.
    """

    totals: IntegralDerivatives
    sizes: Callable[[], Sequence[float]]


class Integrals:
    """Plain integrals mu' = q(t), as long as the parameters, kept out of the Runge-Kutta stages.

    Only the b-weighted sum of a step's derivatives is kept, divided by the first weight (the first derivative is then
    copied, and nothing need be zeroed), and added to `total` when the step is accepted. Few parameters are kept stage
    by stage instead, with their embedded errors.

    ``rtol``: limits the errors of steps, beside the norm. ``whole``: steps are to be made as a whole, which tell their
    embedded errors by themselves; these are kept from the first one on that is made stage by stage.

    Attributes:
        wanted: for every stage, whether its derivatives are asked for.
        keeps_stages: whether stages that are not taken again stay as they are, from one attempt to the next.
    """

    def __init__(
        self, shapes_of: list[Tensor], tableau: Tableau, rtol: float | None = None, *, whole: bool = False
    ) -> None:
        error = tableau.integral_error if shapes_of else None
        self._tableau, self._rtol = tableau, rtol
        self._b, self._e = tableau.b, error or (0.0,) * len(tableau.b)
        self.wanted = [bool(b or e) for b, e in zip(self._b, self._e, strict=True)]
        self._shapes_of = shapes_of
        self.errors: EmbeddedErrors | None = None  # of steps made stage by stage
        self.keeps_stages = False
        self._behind = bool(error)  # whether these do not know the totals
        self.total: list[Tensor] = []
        if error and not whole:
            self._keep_errors()
        if not self.keeps_stages:
            self.total = [torch.zeros_like(x) for x in shapes_of]
        self._trial: list[Tensor] = []  # made where a step is made stage by stage
        self._made: WholeIntegrals | None = None  # of a step made as a whole
        self._sizes: list[StepSizes] = []  # of such steps
        self._size = 0.0  # of the totals, after the last of them
        self._first = 0.0  # the first weight of the step
        self._read, self._read_before = 0.0, 0.0  # by control of the attempt, and of the last accepted step

    def start_step(self, made: WholeIntegrals | None = None) -> None:
        """Begin an attempt, of which everything may be ``made`` already."""
        self._first, self._made = 0.0, made
        if made is None and self._behind:
            self._keep_errors()

    def _keep_errors(self) -> None:
        """Keep the embedded errors of steps made stage by stage from now on."""
        if self.errors is None:
            self.errors = EmbeddedErrors(self._shapes_of, self._b, self._e)
            self.keeps_stages = self.errors.whole
        if self.total:
            self.errors.begin(self.total)
        if self.keeps_stages:
            self.total = self.errors.parts
        self._behind = False

    def add_stage(self, i: int, derivatives: IntegralDerivatives) -> None:
        if not derivatives or not self.wanted[i]:
            return
        if self.errors is not None:
            self.errors.take(i, derivatives)
        if self._b[i] != 0.0 and not self.keeps_stages:
            self._add(derivatives, self._b[i])

    def _add(self, derivatives: IntegralDerivatives, weight: float) -> None:
        if self._first == 0.0:
            self._first = weight
            self._trial = self._trial or [torch.empty_like(x) for x in self.total]
            zeros = (x.new_zeros(()).expand_as(x) for x in self._shapes_of)
            copy_all(self._trial, [zero if q is None else q for q, zero in zip(derivatives, zeros, strict=True)])
            return
        add_products(self._trial, derivatives, weight / self._first)

    def accept(self, step: float) -> bool:
        """Add the derivatives of an accepted step; return whether the totals are finite, as no norm can say."""
        self._read_before = self._read
        if not self.total:
            return True
        if self._made is not None and not self._made.totals:  # on which func does not depend
            return True
        if self._made is not None:
            self.total = [old if new is None else new for old, new in zip(self.total, self._made.totals, strict=True)]
            increment, error, self._size = self._made.sizes()
            self._sizes.append(StepSizes(increment, error))
            self._behind = any(self._e)
            return math.isfinite(self._size) or each_finite(self.total)
        if self.errors is not None:
            self.errors.accept(step)
        if self._first:
            increment_all(self.total, self._trial, alpha=step * self._first)
        return each_finite([self.errors.total] if self.errors and self.keeps_stages else self.total)

    def scaled_error(self, step: float) -> float:
        """Return what control reads of the attempted step: 0.0 without an ``rtol``."""
        if self._rtol is not None:
            self._read = read_by_control(self.share(step), self._read_before)
        return self._read

    def share(self, step: float) -> float:
        """Return the error of the attempted step's part of the totals over what ``rtol`` of these allows, all as one
        vector.
        """
        if self._rtol is None or not self.total:
            return 0.0
        if self._made is not None and self._made.totals:
            increment, error, after = self._made.sizes()
            sizes = StepSizes(increment, error).over(max(self._size, after))
        elif self.errors is not None:
            sizes = self.errors.attempted(step)
        else:
            return 0.0
        return SAFETY * local_error(sizes, self._tableau) / self._rtol

    def estimate(self, stats: PassStats) -> None:
        """Write the estimate of the relative error of the totals into statistics, and how much of them cancels."""
        if self._tableau.integral_error is None:
            return
        staged = self.errors
        size = self._size if staged is None or self._behind else staged.size()
        if size == 0.0:
            return
        steps = [x.over(size) for x in self._sizes] + (staged.steps(size) if staged else [])
        stats.param_error = quadrature_error(steps, self._tableau)
        stats.cancellation = sum(step.increment for step in steps)


class CarriedIntegrals(Integrals):
    """Plain integrals that the state carries, from element ``start`` on: what the steps tell of their errors.

    All sizes are kept where the state is, and read once, at the end.
    """

    def __init__(self, start: int, tableau: Tableau) -> None:
        super().__init__([], tableau)
        self._start = start
        self._steps: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def measure(self, x: Tensor) -> Tensor:
        """Return the 2-norm of the integrals' part of a state, or of a difference of states."""
        norm: Tensor = torch.linalg.vector_norm(x[self._start :], dtype=torch.promote_types(x.dtype, torch.float32))
        return norm

    def take(self, change: Tensor, error: Tensor, share: float) -> None:
        """Take an accepted step, what it adds and its embedded error; so much of it lies before the end."""
        self._steps.append(torch.stack([self.measure(change), error]) * share)

    def take_output(self, step: LocalInterpolation, end: float) -> None:
        """Take a step whose dense output ends the solve: what a quartic has at that time over Hermite's cubic."""
        if len(step.coefficients) == 4:
            theta = (end - step.t0) / step.h
            self._outputs.append(self.measure(step.coefficients[3]) * (abs(step.h) * (theta - theta**2) ** 2))

    def estimate_in(self, end: Tensor, stats: PassStats) -> None:
        """Write the estimate of the error, where ``end`` is the last state of the solve."""
        size = float(read_number(self.measure(end)))
        if size == 0.0 or not self._steps:
            return
        steps = [StepSizes(*row) for row in read(torch.stack(self._steps) / size)]
        outputs = read(torch.stack(self._outputs) / size) if self._outputs else ()
        stats.param_error = quadrature_error(steps, self._tableau, outputs)
