"""The derivatives of a step's stages, and what is made of them: in memory that every step uses again."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ...methods.tableau import Tableau, weights
from .interpolant import LocalInterpolation
from .recorded_stages import RecordedStages
from .system import Derivative, IntegralDerivatives, System


class StageBuffers:
    """Stages of a system, without gradients, written into one matrix.

    `RecordedStages` has the same methods. How states are laid out, and whether autograd sees it, is theirs.
    """

    def __init__(self, system: System, tableau: Tableau, like: Tensor) -> None:
        self._system, self._stages, self._like = system, tableau.stages, like
        self._weights = weights(tableau, like)

    # Derivatives of all stages, with the views of them that steps need: many small calls are what a step costs.

    @functools.cached_property
    def _k(self) -> Tensor:
        return self._like.new_zeros(self._weights.stages, self._like.numel())

    @functools.cached_property
    def _rows(self) -> tuple[Tensor, ...]:
        return self._k.unbind(0)

    @functools.cached_property
    def _before(self) -> list[Tensor]:
        """Columns: the stages that the i-th weighs, those before it, and more where it is an implicit one."""
        return [self._k[:n].T for n in (*map(len, self._weights.rows), self._weights.stages)]

    @functools.cached_property
    def first(self) -> Tensor:
        """The derivative of the first stage (size,), without gradient."""
        return self._rows[0]

    def values(self, state: Tensor) -> Tensor:
        """Return a state as a vector (size,), without gradient."""
        return state

    def derivative(self, t: float, y: Tensor) -> Derivative:
        """Return the derivative at (t, y), for ``y`` (size,): no part of a step."""
        out = torch.empty_like(y)
        return Derivative(out, self._system(t, y, out, True))

    def take_first(self, value: Tensor) -> None:
        """Let a derivative that is known be that of the first stage."""
        self.first.copy_(value)

    def take_last_first(self) -> None:
        """Let the derivative of the last stage be that of the first one of the next step."""
        self.first.copy_(self._rows[self._stages - 1])

    def evaluate(self, i: int, t: float, y: Tensor, *, wanted: bool) -> IntegralDerivatives:
        """Make the derivative of stage ``i`` at (t, y)."""
        return self._system(t, y, self._rows[i], wanted)

    def place(self, i: int, value: Tensor) -> None:
        """Let a derivative be that of stage ``i``."""
        self._rows[i].copy_(value)

    def kept(self, i: int) -> Tensor:
        """Return the derivative of stage ``i``, which later steps leave as it is; laid out as states are."""
        return self._rows[i].clone()

    def start(self, i: int, y: Tensor, h: float) -> Tensor:
        """Return the state of stage ``i`` of a step from ``y``, by the stages that it weighs."""
        return torch.addmv(y, self._before[i], self._weights.rows[i], alpha=h)

    def end(self, y: Tensor, h: float) -> Tensor:
        """Return the state at the end of a step from ``y``."""
        return torch.addmv(y, self._k.T, self._weights.b, alpha=h)

    def error(self, h: float) -> Tensor:
        """Return the error estimate of the step (size,), without gradient; the caller's to overwrite."""
        assert self._weights.error is not None
        return torch.mv(self._before[self._stages], self._weights.error).mul_(h)

    def interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        """Return the dense output of the step, all of whose stages are there."""
        return LocalInterpolation(t0, h, y0, y1, self._weights.dense @ self._k)

    def outputs(self, step: LocalInterpolation, times: Sequence[float]) -> Tensor:
        """Return the states (len(times), size) at output times inside a step."""
        return step.at(times)


Stages = StageBuffers | RecordedStages  # what the integrator evaluates and combines
