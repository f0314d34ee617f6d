"""Stages that one compiled graph makes, with the new state and its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...host_copies import read, send
from ...methods.tableau import Tableau, interpolant_weights
from ...norms import FlatNorm, Seminorm
from .interpolant import LocalInterpolation
from .stages import StageBuffers
from .system import Derivative, IntegralDerivatives, System


class Start(NamedTuple):
    """A step to attempt.

    Attributes:
        y: the state (size,) at its start.
        times: of its stages.
        numbers: its size, atol, rtol.
        first: derivatives of state and integrals at the first stage; None where they are to be made.
        last: whether the last stage is wanted.
    """

    y: Tensor
    times: Sequence[float]
    numbers: tuple[float, float, float]
    first: tuple[Tensor, IntegralDerivatives] | None
    last: bool


class Attempt(NamedTuple):
    """An attempted step.

    Attributes:
        end: the state at its end (size,).
        stages: derivatives of the state (stages, size).
        errors: lengths of the segments that a `Seminorm` measures, or (for any other norm) the scaled error (size,);
            with integrals, behind them the 2-norms of `WholeIntegrals`.
        totals: of the integrals after the step; None: as before.
        derivatives: of the integrals at the last stage.
    """

    end: Tensor
    stages: Tensor
    errors: Tensor
    totals: IntegralDerivatives = ()
    derivatives: IntegralDerivatives = ()


class Begun(NamedTuple):
    """The beginning of an adaptive solve.

    Attributes:
        first: the derivative of the state there.
        derivatives: of the integrals.
        sizes: of the state, of its derivative, and of the change of that in a trial step, as the norm has them; and
            whether there is no change at all.
    """

    first: Tensor
    derivatives: IntegralDerivatives
    sizes: tuple[float, float, float, bool]


class Attempts(Protocol):
    """What makes whole steps; None where it cannot.

    Attributes:
        renews: whether an attempt makes its first stage, where something has changed since the last one of the step
            before; else `derivative` does.
    """

    renews: bool

    def begin(self, y: Tensor, numbers: Sequence[float]) -> Begun | None:
        """Make the derivative at the start, and look for the size of the first step: see `graphs.steps.Begin`."""

    def derivative(self, t: float, y: Tensor) -> Derivative | None:
        """Make a derivative by itself."""

    def __call__(self, start: Start) -> Attempt | None: ...


class WholeSteps(StageBuffers):
    """Stages of a system, made all in one call of ``attempts``, and one by one where that gives None.

    Attributes:
        made: the last attempt.
        renews: as of `Attempts`.
    """

    def __init__(self, system: System, tableau: Tableau, like: Tensor, attempts: Attempts) -> None:
        super().__init__(system, tableau, like)
        self._attempts, self.renews = attempts, attempts.renews
        self.made: Attempt | None = None
        self._numbers: list[float] = []  # of its errors, where they were read

    def begin(self, y: Tensor, numbers: Sequence[float]) -> Begun | None:
        begun = self._attempts.begin(y, numbers)
        if begun is not None:
            self.first = begun.first
        return begun

    def derivative(self, t: float, y: Tensor) -> Derivative:
        return self._attempts.derivative(t, y) or super().derivative(t, y)

    def evaluate(self, i: int, t: float, y: Tensor, *, wanted: bool) -> IntegralDerivatives:
        made = self._attempts.derivative(t, y) if i == 0 else None
        if made is not None:
            self.first = made.state
            return made.integrals
        if i == 0:
            self.first = self._rows[0]
        return super().evaluate(i, t, y, wanted=wanted)

    def attempt(self, start: Start) -> Attempt | None:
        self.made, self._numbers = self._attempts(start), []
        if self.made is None and self.first is not self._rows[0]:
            self._rows[0].copy_(self.first)
            self.first = self._rows[0]
        return self.made

    def error_size(self, norm: FlatNorm) -> float | None:
        """Return what the norm says of the error of the last attempt; None of one made stage by stage."""
        if self.made is None:
            return None
        errors = self.made.errors
        if not isinstance(norm, Seminorm):
            return norm(errors[: self.made.end.shape[0]])
        self._numbers = read(errors)
        return norm.join(self._numbers[: len(norm.segments)])

    def sizes(self) -> list[float]:
        """Return the 2-norms of `WholeIntegrals` of the last attempt."""
        assert self.made is not None
        self._numbers = self._numbers or read(self.made.errors[-3:])
        return self._numbers[-3:]

    def take_last_first(self) -> None:
        if self.made is None:
            super().take_last_first()
        else:
            self.first = self.made.stages[self._stages - 1]

    def start(self, i: int, y: Tensor, h: float) -> Tensor:
        if self.made is not None:  # a stage of the interpolant alone
            self._k[: self._stages].copy_(self.made.stages)
        return super().start(i, y, h)

    def interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        if self.made is None or len(self._rows) > self._stages:
            return super().interpolation(t0, h, y0, y1)
        return LocalInterpolation(t0, h, y0, y1, self._weights.dense @ self.made.stages)


class LateOutputs:
    """Outputs inside of steps, made for some steps together and given to ``give``: (index of the first, rows)."""

    def __init__(self, tableau: Tableau, give: Callable[[int, Tensor], None]) -> None:
        self._give, self._tableau = give, tableau
        self._steps: list[tuple[int, Tensor, Tensor, int]] = []
        self._places: list[tuple[float, float]] = []  # of every output: theta, and the size of its step
        self._numbers = 0

    def add(self, first: int, h: float, y0: Tensor, stages: Tensor, thetas: Sequence[float]) -> None:
        """Take the outputs at ``thetas`` of a step of size ``h``, from the one of index ``first``."""
        self._steps.append((first, y0, stages, len(thetas)))
        self._places += [(theta, h) for theta in thetas]
        self._numbers += stages.numel()
        if len(self._steps) == MOST_STEPS or self._numbers > MOST_NUMBERS:
            self.give_out()

    def give_out(self) -> None:
        """Make what is there, each step by itself: what is not finite in one is nothing to the others."""
        if not self._steps:
            return
        like = self._steps[0][1]
        thetas, sizes = np.array(self._places).T
        weights = sizes[:, None] * interpolant_weights(self._tableau, thetas)
        among = send(torch.from_numpy(weights).to(like.dtype), like).split_with_sizes(
            [count for *_, count in self._steps]
        )
        for (first, y0, stages, _), own in zip(self._steps, among, strict=True):
            self._give(first, torch.addmm(y0, own, stages))
        self._steps, self._places, self._numbers = [], [], 0


MOST_STEPS, MOST_NUMBERS = 16, 2**16  # whose outputs are made together
