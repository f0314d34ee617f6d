"""Dense output of the engine "julia"."""

from __future__ import annotations

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
        self._julia.check_caller()
        value = torch.empty_like(self._like, memory_format=torch.contiguous_format)
        self._julia.module.evaluate_b(self.outcome.object, t, address(value, value.dtype))
        return value
