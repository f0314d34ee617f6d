"""The first step size: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, section II.4, as it stands
in OrdinaryDiffEqCore 4.15 (initdt.jl).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class FirstSizes(NamedTuple):
    """Between which sizes a first step from t0 is chosen."""

    smallest: float
    largest: float

    @classmethod
    def of(cls, t0: float, dtmin: float, dtmax: float) -> FirstSizes:
        return cls(math.nextafter(max(math.ulp(t0), dtmin), math.inf), dtmax)

    @property
    def small(self) -> float:
        """What is tried where the state or its derivative is near zero."""
        return max(self.smallest, 1e-6)

    def choose(self, order: int, d0: float, d1: float, look: Callable[[float], tuple[float, bool]]) -> float:
        """Return the size of a first step, from the sizes of the state and of its derivative, as the norm has them, and
        a ``look`` at the end of a trial step: by how much the derivative changes, and whether it does not at all.
        """
        if math.isinf(d1):
            return self.smallest
        dt0 = min(self.small if d0 < 1e-5 or d1 < 1e-5 else d0 / d1 / 100, self.largest)
        if dt0 < 10 * math.ulp(1.0):
            return self.small
        change, same = look(dt0)
        if same:
            return max(self.smallest, 100 * dt0)
        steepest = max(d1, change / dt0)
        dt1 = max(1e-6, dt0 * 1e-3) if steepest <= 1e-15 else 10.0 ** (-(2 + math.log10(steepest)) / order)
        return max(self.smallest, min(100 * dt0, dt1, self.largest))
