"""The parameter gradient of a discrete sweep, summed stage by stage, with the embedded errors of its steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..methods.tableau import Tableau
from ..problem.finiteness import each_finite
from .embedded_errors import EmbeddedErrors, StepSizes
from .gauss_quadrature import add_products
from .gradient_error import quadrature_error

SEEN = 0.25  # of the time must lie in steps whose errors are known, that they stand for all


class SweepSums:
    """Sums of products kbar_i^T df/dtheta, which are h b_i k_i of the integral that a continuous adjoint has.

    A step with an output inside has stages of which some are before it and some behind: its error is not known.

    Attributes:
        total: one tensor per target.
    """

    def __init__(self, targets: Sequence[Tensor], tableau: Tableau, stages: int) -> None:
        self._tableau, known = tableau, tableau.relative_integral_error
        weights = (*known, *(0.0,) * (stages - len(known))) if known else ()
        self._errors = EmbeddedErrors(targets, (1.0,) * stages, weights) if targets and weights else None
        self._whole = self._errors is not None and self._errors.whole
        self.total = self._errors.parts if self._errors and self._whole else [torch.zeros_like(x) for x in targets]
        self._steps, self._time, self._seen = 0, 0.0, 0.0
        self._stages: Sequence[int] = ()  # of the last step

    def start_step(self, stages: Sequence[int]) -> None:
        """Begin a step, of which these stages have products."""
        if self._errors is not None and stages != self._stages:
            self._errors.clear()
        self._stages = stages

    def add(self, i: int, gradients: Sequence[Tensor | None]) -> None:
        """Add the products of stage ``i``; None: zero."""
        if self._errors is not None:
            self._errors.take(i, gradients)
        if not self._whole:
            add_products(self.total, gradients)

    def end_step(self, h: float, *, smooth: bool) -> bool:
        """End a step, ``smooth`` where no output lies inside it; return whether the totals are finite."""
        self._steps += 1
        self._time += abs(h)
        self._seen += abs(h) * smooth
        if self._errors is None:
            return each_finite(self.total)
        self._errors.accept(1.0, counted=smooth)
        return each_finite([self._errors.total] if self._whole else self.total)

    def error(self, steps: int) -> float | None:
        """Return the estimate of the relative error of the totals, of a sweep of so many steps."""
        if self._errors is None or self._steps < steps:
            return None
        return sweep_error(self._errors.steps(self._errors.size()), self._time, self._seen, self._tableau)


def sweep_error(steps: Sequence[StepSizes], time: float, seen: float, tableau: Tableau) -> float | None:
    """Return the estimate of the relative error of sums over a ``time``, of which it is known in steps of ``seen``."""
    error = quadrature_error(steps, tableau)
    return None if error is None else of_all_steps(error, seen / time)


def of_all_steps(error: float, seen: float) -> float | None:
    """Return the error of all steps from that of those in a part of the time; None where that is too small."""
    return error / seen**0.5 if seen >= SEEN else None
