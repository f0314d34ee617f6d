"""Adams methods on equal steps: their coefficients (E. Hairer, S. Norsett, G. Wanner, Solving Ordinary Differential
Equations I, section III.1), and torchdiffeq's settings of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..arguments import check_whole
from ..errors import InvalidInputError
from .tableau import Row

ADAMS_METHODS = ("explicit_adams", "implicit_adams")
LEAST_ORDER, MOST_ORDER = 4, 12


@dataclass(frozen=True)
class AdamsSettings:
    """How many steps are looked back on, and how often an implicit method corrects itself.

    Args:
        max_order: at most so many derivatives, that of the new state included; at most 12, and 3/8-rule steps below 4.
        max_iters: at most so many corrections in a step.
    """

    max_order: int = MOST_ORDER
    max_iters: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, check_whole(name, value, owner="implicit_adams"))
        if self.max_order > MOST_ORDER:
            raise InvalidInputError(f"max_order={self.max_order} must be at most {MOST_ORDER}.")


@functools.cache
def explicit_weights(order: int) -> Row:
    """Return the weights of the derivatives at the times 0, -1, -2 ... in a step to time 1 (Adams-Bashforth)."""
    return _integrals([-j for j in range(order)])


@functools.cache
def implicit_weights(order: int) -> Row:
    """Return the weights of the derivatives at the times 1, 0, -1 ... in a step to time 1 (Adams-Moulton)."""
    return _integrals([1 - j for j in range(order)])


def _integrals(nodes: Sequence[int]) -> Row:
    """Return the integrals from 0 to 1 of Lagrange's polynomials."""
    return tuple(float(_integral([x for x in nodes if x != node], node)) for node in nodes)


def _integral(others: Sequence[int], node: int) -> Fraction:
    powers = [Fraction(1)]  # of the product of (s - x) / (node - x), the lowest first
    for x in others:
        scale = Fraction(1, node - x)
        shifted, lower = [Fraction(0), *powers], [*powers, Fraction(0)]
        powers = [scale * (a - x * b) for a, b in zip(shifted, lower, strict=True)]
    return sum((p / (i + 1) for i, p in enumerate(powers)), Fraction(0))
