"""The first step size: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, section II.4, as it stands
in OrdinaryDiffEqCore 4.15 (initdt.jl).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from ...norms import FlatNorm
from .system import Derivative


def initial_step(
    system: Callable[[float, Tensor], Derivative],
    t0: float,
    direction: float,
    bounds: tuple[float, float],
    y0: Tensor,
    f0: Derivative,
    order: int,
    scale: Tensor,
    norm: FlatNorm,
) -> float:
    """Return the size of a first step for ``system`` from (t0, y0) in the ``direction`` 1 or -1; one evaluation beyond
    ``f0``.

    ``bounds``: dtmin and dtmax. ``scale`` is what errors are measured against, atol + |y0| rtol.
    """
    smallest, largest = math.nextafter(max(math.ulp(t0), bounds[0]), math.inf), bounds[1]
    small = max(smallest, 1e-6)
    d0, d1 = norm(y0 / scale), norm(f0.state / scale)
    if math.isinf(d1):
        return smallest
    dt0 = small if d0 < 1e-5 or d1 < 1e-5 else d0 / d1 / 100
    dt0 = min(dt0, largest)
    if dt0 < 10 * math.ulp(1.0):
        return max(small, smallest)
    f1 = system(t0 + direction * dt0, y0 + direction * dt0 * f0.state)
    if f1.equal(f0):
        return max(smallest, 100 * dt0)
    d2 = norm((f1.state - f0.state) / scale) / dt0
    steepest = max(d1, d2)
    dt1 = max(1e-6, dt0 * 1e-3) if steepest <= 1e-15 else 10.0 ** (-(2 + math.log10(steepest)) / order)
    return max(smallest, min(100 * dt0, dt1, largest))
