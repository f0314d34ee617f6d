"""What an explicit Runge-Kutta method is: coefficients, error estimate and dense output, as numbers and as tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..stepping import MethodTraits

Row = tuple[float, ...]


@dataclass(frozen=True, eq=False)  # a key by identity
class Tableau:
    """One explicit Runge-Kutta method.

    The last stage of an FSAL method serves as the first of the next step. It is evaluated at the new state, so that its
    row of ``a`` holds the solution weights, but for two of torchdiffeq's (`ends_at_state`).
    ``dense[i][j]`` is the coefficient of theta^(j+1) in the weight of stage ``i`` of the interpolant
    ``y(t + theta h) = y + h sum_i b_i(theta) k_i``; stages beyond ``len(c)`` are the interpolant's extra ones.
    """

    name: str
    order: int
    c: Row
    a: tuple[Row, ...]
    b: Row
    dense: tuple[Row, ...]
    b_error: Row | None = None  # None: a fixed-step method
    fsal: bool = True
    extra_c: Row = ()
    extra_a: tuple[Row, ...] = ()
    hairer_gains: bool = False  # of the PI controller: those of Hairer's codes, which OrdinaryDiffEq keeps for DP5

    @property
    def adaptive(self) -> bool:
        return self.b_error is not None

    @property
    def traits(self) -> MethodTraits:
        return MethodTraits(self.name, self.order, self.adaptive, needs_jacobian=False)

    def gains(self, beta2: float | None = None) -> tuple[float, float]:
        """Return gains of the PI controller, by default OrdinaryDiffEq's; a given second one may decide the first."""
        if self.hairer_gains:
            beta2 = 0.04 if beta2 is None else beta2
            return 1 / self.order - 0.75 * beta2, beta2
        return 7 / (10 * self.order), 2 / (5 * self.order) if beta2 is None else beta2

    @property
    def stages(self) -> int:
        return len(self.c)

    @functools.cached_property
    def integral_error(self) -> Row | None:
        """Weights of the embedded error of a plain integral beside the state, for which ``b`` are those of the step.

        A stage that weighs nothing in the step leaves its part to another one at the same time, where there is one: its
        derivative of the integral need not be made.
        """
        if self.b_error is None:
            return None
        weights = list(self.b_error)
        for i, c in enumerate(self.c):
            others = [j for j in range(self.stages) if self.c[j] == c and self.b[j] != 0.0]
            if self.b[i] == 0.0 and others:
                weights[others[-1]] += weights[i]
                weights[i] = 0.0
        return tuple(weights)

    @functools.cached_property
    def relative_integral_error(self) -> Row | None:
        """`integral_error` over b, where no stage without a weight in the step has one in the error."""
        errors = self.integral_error
        if errors is None or any(e and not b for e, b in zip(errors, self.b, strict=True)):
            return None
        return tuple(e / b if b else 0.0 for e, b in zip(errors, self.b, strict=True))

    @property
    def ends_at_state(self) -> bool:
        """Whether the last stage is evaluated at the new state."""
        return self.a[-1] == self.b[:-1] and self.b[-1] == 0.0


def row(text: str) -> Row:
    """Read numbers, and fractions of whole numbers."""
    return tuple(int(n) / int(d) if d else float(n) for n, _, d in (x.partition("/") for x in text.split()))


def rows(text: str) -> tuple[Row, ...]:
    """Read rows, each ended by a semicolon but the last."""
    return tuple(map(row, text.split(";")))


def polynomial(*terms: tuple[float, Row]) -> Row:
    """Sum of weight x polynomial, for building an interpolant's row."""
    degree = max(len(p) for _, p in terms)
    return tuple(sum(w * p[j] for w, p in terms if j < len(p)) for j in range(degree))


def hermite(b: Row) -> tuple[Row, ...]:
    """Return cubic Hermite weights on [y0, y1] with derivatives at the first and last stage (Hairer I, page 190)."""
    last = len(b) - 1
    return tuple(
        polynomial((weight, (0.0, 3.0, -2.0)), (float(i == 0), (1.0, -2.0, 1.0)), (float(i == last), (0.0, -1.0, 1.0)))
        for i, weight in enumerate(b)
    )


def quartic(b: Row, middle: Row) -> tuple[Row, ...]:
    """Return the weights of the quartic through y0, y1, the derivatives of the first and the last stage, and the state
    in the middle of the step, which has the weights ``middle`` (L. F. Shampine, Some Practical Runge-Kutta Formulas,
    Mathematics of Computation 46, 1986): torchdiffeq's dense output.
    """
    last = len(b) - 1
    return tuple(
        polynomial(
            (weight, (0.0, -5.0, 14.0, -8.0)),
            (half, (0.0, 16.0, -32.0, 16.0)),
            (float(i == 0), (1.0, -4.0, 5.0, -2.0)),
            (float(i == last), (0.0, 1.0, -3.0, 2.0)),
        )
        for i, (weight, half) in enumerate(zip(b, middle, strict=True))
    )


def make_fsal(name: str, order: int, c: Row, a: tuple[Row, ...], b: Row, b_error: Row | None = None) -> Tableau:
    """Return a method with a last stage at the new state, which the next step begins with, and Hermite dense output."""
    weights = (*b, 0.0)
    return Tableau(name, order, (*c, 1.0), (*a, b), weights, hermite(weights), b_error)


class Weights:
    """What steps multiply ``stages`` by, those of the interpolant included, which are at ``c`` in the step.

    ``rows``: weights of the stages before each one, of an implicit one also of itself and others; ``columns``: those of
    each one in the stages after it; ``b``: of the new state; ``error``: of the estimate, or None; ``dense``: the
    interpolant's, (degree, stages).
    """

    def __init__(self, tableau: Tableau, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(row: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
            return torch.tensor(row, dtype=dtype, device=device)

        rows = tableau.a + tableau.extra_a
        self.stages, self.c = len(rows), tableau.c + tableau.extra_c
        full = tensor([[*row, *(0.0,) * (self.stages - len(row))] for row in rows])
        self.rows = [full[i, : max(i, len(row))].clone() for i, row in enumerate(rows)]
        self.columns = [full[i + 1 :, i].clone() for i in range(self.stages)]
        self.b = tensor([*tableau.b, *(0.0,) * len(tableau.extra_c)])
        self.error = tensor(tableau.b_error) if tableau.b_error else None
        self.dense = tensor(tableau.dense).T.contiguous()


def interpolant_weights(tableau: Tableau, thetas: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return b_i(theta) of a step's dense output, (thetas, stages)."""
    dense = _dense(tableau)
    found: np.ndarray[Any, Any] = thetas[:, None] ** np.arange(1.0, len(dense) + 1) @ dense
    return found


def interpolant_slopes(tableau: Tableau, thetas: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the derivatives of `interpolant_weights` by theta, (thetas, stages)."""
    dense = _dense(tableau)
    powers = np.arange(1.0, len(dense) + 1)
    found: np.ndarray[Any, Any] = powers * thetas[:, None] ** (powers - 1.0) @ dense
    return found


@functools.cache
def _dense(tableau: Tableau) -> np.ndarray[Any, Any]:
    dense: np.ndarray[Any, Any] = np.array(tableau.dense).T
    return dense


def weights(tableau: Tableau, like: Tensor) -> Weights:
    """Return the weights of a tableau in the dtype of ``like``, on its device."""
    return _weights(tableau, like.dtype, like.device)


_weights = functools.cache(Weights)
