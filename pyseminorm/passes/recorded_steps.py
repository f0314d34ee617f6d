"""What a forward solve keeps of its steps for DiscreteAdjoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from ..methods.tableau import Tableau
from ..problem.vector_field import EagerVectorField
from .stages import StageCollector, Stages

StepReport = Callable[[bool, float, Tensor, float], None]


class Checkpoints:
    """States at the starts of steps: of all of them, or (``thin``) of about sqrt(steps), evenly spaced."""

    def __init__(self, *, thin: bool) -> None:
        self.states: list[Tensor] = []
        self._thin, self._stride, self._steps = thin, 1, 0

    def append(self, y: Tensor) -> None:
        """Take the state at the start of the next step."""
        if self._steps % self._stride == 0:
            self.states.append(y)
        self._steps += 1
        if self._thin and len(self.states) > 2 * self._stride:
            self.states = self.states[::2]
            self._stride *= 2

    def take(self, n: int, advance: Callable[[int, Tensor], Tensor], stretch: list[Tensor]) -> Tensor:
        """Return y_n, for steps in descending order; those not kept are made again, by ``advance(n, y_n)``.

        ``stretch`` holds those made since the checkpoint before, and is the caller's between the calls.
        """
        if not stretch:
            stretch.append(self.states[n // self._stride])
            for i in range(n // self._stride * self._stride, n):
                stretch.append(advance(i, stretch[-1]))
        return stretch.pop()


class WholeStep(NamedTuple):
    """What is kept of a step that was made as a whole: its ``stages``, derivatives of the state (stages, size).

    ``saved``: what the products of the stages ``evaluated`` read, stage by stage; so many before them were ``known``.
    """

    stages: Tensor
    saved: Sequence[Tensor]
    evaluated: int
    known: int

    def of(self, first: int, last: int) -> Sequence[Tensor] | None:
        """Return what the products of the stages from ``first`` to ``last`` read; None where the first of them was not
        evaluated in this step.
        """
        known, each = self.known, len(self.saved) // (self.evaluated or 1)
        return None if first < known else self.saved[(first - known) * each : (last + 1 - known) * each]


class RecordedSteps:
    """The accepted steps of a forward solve: their signed sizes, the states at their starts, and their stages."""

    def __init__(self, *, thin: bool) -> None:
        self.sizes: list[float] = []
        self.states = Checkpoints(thin=thin)
        self.collector: StageCollector | None = None
        self.whole: dict[int, WholeStep] = {}  # those that were made as a whole, where stages are kept

    def take_stages(self) -> Stages:
        """Return the stages that were kept; they are gone from here, since a product can be made of each only once."""
        return {} if self.collector is None else self.collector.take()


class StepRecorder:
    """Records ``steps`` of a forward solve, as a solver calls f and reports; ``attempted``: the last, made as a whole.

    ``keeps_stages``: what the products of every stage read is kept too, until a sweep takes it. ``for_python``: no
    engine may record the steps itself, and make the sweep: only some states are kept, or somebody watches the sweep.
    """

    def __init__(self, keep: str, *, watched: bool = False) -> None:
        self._thin = keep == "checkpoints"
        self.keeps_stages = keep == "stages"
        self.for_python = keep == "checkpoints" or watched
        self.attempted: WholeStep | None = None

    @functools.cached_property
    def steps(self) -> RecordedSteps:
        return RecordedSteps(thin=self._thin)

    def record_calls(self, field: EagerVectorField, tableau: Tableau) -> Callable[[float, Tensor], Tensor]:
        """Return what gives the solver f, where the solver calls Python for it."""
        if not self.keeps_stages:
            return field.f
        self.steps.collector = StageCollector(field, tableau)
        return self.steps.collector

    def record_steps(self, report: StepReport | None) -> StepReport:
        """Return what the engine tells of every attempted step; passed on to the user's ``report``."""
        if report is None:
            return self._record

        def both(accepted: bool, t: float, y: Tensor, h: float) -> None:
            self._record(accepted, t, y.clone(), h)
            report(accepted, t, y, h)

        return both

    def _record(self, accepted: bool, t: float, y: Tensor, h: float) -> None:
        steps = self.steps
        if steps.collector is not None:
            steps.collector.end_attempt(accepted, len(steps.sizes), t, h)
        if accepted:
            if self.attempted is not None:
                steps.whole[len(steps.sizes)] = self.attempted
            steps.states.append(y)
            steps.sizes.append(h)
