"""The root of a function between two places where it has different signs."""

from __future__ import annotations

import math
from collections.abc import Generator

Evaluations = Generator[float, float, float]


def find_root(fa: float, fb: float, resolution: float) -> Evaluations:
    """Find a root in [0, 1] of a function with the values ``fa`` at 0 and ``fb`` at 1, of different signs.

    A generator: yields places, is sent the values there, and returns the end of the last bracket (no wider than
    ``resolution``) where the value is the smaller. It takes at most one evaluation more than bisection.

    Source: I. F. D. Oliveira, R. H. C. Takahashi, An enhancement of the bisection method average performance preserving
    minmax optimality, ACM Transactions on Mathematical Software 47 (2020): the method ITP.
    """
    a, b = 0.0, 1.0
    left = 1 + max(0, math.ceil(math.log2(1.0 / resolution)))  # evaluations
    while b - a > resolution and fa != 0.0 and fb != 0.0:
        x = _next_place(a, fa, b, fb, resolution / 2 * 2.0**left)
        left -= 1
        if not a < x < b:
            break
        fx = yield x
        if (fx > 0.0) == (fb > 0.0) and fx != 0.0:
            b, fb = x, fx
        else:
            a, fa = x, fx
    return a if abs(fa) < abs(fb) else b


def _next_place(a: float, fa: float, b: float, fb: float, widest: float) -> float:
    """Return the secant's root, moved towards the middle of the bracket, and to within ``widest`` - width / 2 of it."""
    middle, width = (a + b) / 2, b - a
    secant = a + width * (abs(fa) / (abs(fa) + abs(fb)))
    side = math.copysign(1.0, middle - secant)
    moved = 0.2 * width**2
    x = secant + side * moved if moved <= abs(middle - secant) else middle
    radius = max(widest - width / 2, 0.0)
    return x if abs(x - middle) <= radius else middle - side * radius
