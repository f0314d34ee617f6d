"""Stages that one compiled graph makes, with the new state and its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from ...host_copies import read
from ...methods.tableau import Tableau
from ...norms import FlatNorm, Seminorm
from .interpolant import LocalInterpolation
from .stages import StageBuffers
from .system import IntegralDerivatives, System


class Start(NamedTuple):
    """A step to attempt.

    Attributes:
        y: the state (size,) at its start.
        times: of its stages.
        numbers: its size, atol, rtol.
        first: derivatives of state and integrals at the first stage; None where they are to be made.
    """

    y: Tensor
    times: Sequence[float]
    numbers: tuple[float, float, float]
    first: tuple[Tensor, IntegralDerivatives] | None


class Attempt(NamedTuple):
    """An attempted step.

    Attributes:
        end: the state at its end (size,).
        stages: derivatives of the state (stages, size).
        errors: lengths of the segments that a `Seminorm` measures, or (for any other norm) the scaled error (size,).
        increments: of the integrals; None: zero.
        derivatives: of the integrals at the last stage.
    """

    end: Tensor
    stages: Tensor
    errors: Tensor
    increments: IntegralDerivatives = ()
    derivatives: IntegralDerivatives = ()


class WholeSteps(StageBuffers):
    """Stages of a system, made all in one call of ``attempt``, and one by one where that gives None."""

    def __init__(
        self, system: System, tableau: Tableau, like: Tensor, attempt: Callable[[Start], Attempt | None]
    ) -> None:
        super().__init__(system, tableau, like)
        self._attempt = attempt
        self._made: Attempt | None = None  # the last attempt

    def attempt(self, start: Start) -> Attempt | None:
        self._made = self._attempt(start)
        if self._made is None and self.first is not self._rows[0]:
            self._rows[0].copy_(self.first)
            self.first = self._rows[0]
        return self._made

    def error_size(self, norm: FlatNorm) -> float | None:
        """Return what the norm says of the error of the last attempt; None of one made stage by stage."""
        if self._made is None:
            return None
        errors = self._made.errors
        return norm.join(read(errors)) if isinstance(norm, Seminorm) else norm(errors)

    def take_last_first(self) -> None:
        if self._made is None:
            super().take_last_first()
        else:
            self.first = self._made.stages[self._stages - 1]

    def start(self, i: int, y: Tensor, h: float) -> Tensor:
        if self._made is not None:  # a stage of the interpolant alone
            self._k[: self._stages].copy_(self._made.stages)
        return super().start(i, y, h)

    def interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        if self._made is None or len(self._rows) > self._stages:
            return super().interpolation(t0, h, y0, y1)
        return LocalInterpolation(t0, h, y0, y1, self._weights.dense @ self._made.stages)
