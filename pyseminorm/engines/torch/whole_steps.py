"""Stages that one compiled graph makes, with the new state and its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from ...host_copies import read
from ...methods.tableau import Tableau
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
        thetas: where in it outputs are wanted.
    """

    y: Tensor
    times: Sequence[float]
    numbers: tuple[float, float, float]
    first: tuple[Tensor, IntegralDerivatives] | None
    last: bool
    thetas: Sequence[float]


class Attempt(NamedTuple):
    """An attempted step.

    Attributes:
        end: the state at its end (size,).
        stages: derivatives of the state (stages, size).
        errors: lengths of the segments that a `Seminorm` measures, or (for any other norm) the scaled error (size,);
            with integrals, behind them the 2-norms of `WholeIntegrals`.
        totals: of the integrals after the step; None: as before.
        derivatives: of the integrals at the last stage.
        last: the derivative of the state there (size,), where it is at hand.
        outputs: states (outputs, size) in the step, where they are made in it; None or fewer than wanted: they are not.
    """

    end: Tensor
    stages: Tensor
    errors: Tensor
    totals: IntegralDerivatives = ()
    derivatives: IntegralDerivatives = ()
    last: Tensor | None = None
    outputs: Tensor | None = None


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
            self.first = self.made.stages[self._stages - 1] if self.made.last is None else self.made.last

    def start(self, i: int, y: Tensor, h: float) -> Tensor:
        if self.made is not None:  # a stage of the interpolant alone
            self._k[: self._stages].copy_(self.made.stages)
        return super().start(i, y, h)

    def made_outputs(self, count: int) -> Tensor | None:
        """Return so many outputs of the last attempt, (count, size), if they were made in it."""
        rows = None if self.made is None else self.made.outputs
        return rows if rows is not None and rows.shape[0] == count else None

    def interpolation(self, t0: float, h: float, y0: Tensor, y1: Tensor) -> LocalInterpolation:
        if self.made is None or len(self._rows) > self._stages:
            return super().interpolation(t0, h, y0, y1)
        return LocalInterpolation(t0, h, y0, y1, self._weights.dense @ self.made.stages)
