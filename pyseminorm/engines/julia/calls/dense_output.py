"""Dense output of the engine "julia"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..session.c_functions import JuliaHandle
from ..session.memory import address
from ..session.runtime import Runtime


class JuliaDenseInterpolation:
    """A kept forward trajectory: OrdinaryDiffEq's dense solution, alive as long as this object."""

    def __init__(self, julia: Runtime, outcome: JuliaHandle, like: Tensor) -> None:
        self.outcome = outcome
        self._julia, self._like = julia, like

    def __call__(self, t: float) -> Tensor:
        return self.rows([t])[0]

    def rows(self, times: Sequence[float], *, derivative: bool = False) -> Tensor:
        """Return the states at times, or their derivatives by time, (len(times), size)."""
        self._julia.check_caller()
        values, wanted = self._like.new_empty(len(times), self._like.numel()), torch.tensor(times, dtype=torch.float64)
        at = address(wanted, wanted.dtype), len(times), address(values, values.dtype)
        self._julia.module.evaluate_b(self.outcome.object, *at, derivative)
        return values
