"""Adams methods on equal steps: their coefficients.

Source: E. Hairer, S. Norsett, G. Wanner, Solving Ordinary Differential Equations I, section III.1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction

from .tableau import Row

ADAMS_METHODS = ("explicit_adams", "implicit_adams")
LEAST_ORDER, MOST_ORDER = 4, 12


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
