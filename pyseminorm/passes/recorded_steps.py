"""What a forward solve keeps of its steps for DiscreteAdjoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from ..methods.tableaus import TABLEAUS
from ..problem.vector_field import EagerVectorField
from .stages import StageCollector, Stages

StepReport = Callable[[bool, float, Tensor, float], None]


class RecordedSteps:
    """The accepted steps of a forward solve, as the solver reports them: their signed sizes and where they began.

    Attributes:
        sizes: of all steps.
        states: at the start of every step, or (checkpoints) of about sqrt(steps) of them, evenly spaced.
        stages: whether what the products of every stage read is kept too, until a sweep takes it.
        foreign: what an engine keeps in the place of both, where it can make the sweep itself.
        for_python: whether no engine may do that: only some states are kept, or somebody is told of the sweep's steps.
    """

    def __init__(self, keep: str, *, watched: bool = False) -> None:
        self.sizes: list[float] = []
        self.states: list[Tensor] = []
        self.stages = keep == "stages"
        self._thin, self._stride = keep == "checkpoints", 1
        self.for_python = self._thin or watched
        self.foreign: Any = None
        self._collector: StageCollector | None = None

    def evaluating(self, field: EagerVectorField, method: str) -> Callable[[float, Tensor], Tensor]:
        """Return what gives the solver f, where the solver calls Python for it."""
        if not self.stages:
            return field.f
        self._collector = StageCollector(field, TABLEAUS[method])
        return self._collector

    def take_stages(self) -> Stages:
        """Return the stages that were kept; they are gone from here, since a product can be made of each only once."""
        return {} if self._collector is None else self._collector.take()

    def reporting_to(self, report: StepReport | None) -> StepReport:
        """Return what the engine tells of every attempted step; passed on to the user's ``report``."""
        if report is None:
            return self._record

        def both(accepted: bool, t: float, y: Tensor, h: float) -> None:
            self._record(accepted, t, y.clone(), h)
            report(accepted, t, y, h)

        return both

    def _record(self, accepted: bool, t: float, y: Tensor, h: float) -> None:
        if self._collector is not None:
            self._collector.end_attempt(accepted, len(self.sizes), t, h)
        if not accepted:
            return
        if len(self.sizes) % self._stride == 0:
            self.states.append(y)
        self.sizes.append(h)
        if self._thin and len(self.states) > 2 * self._stride:
            self.states = self.states[::2]
            self._stride *= 2

    def backwards(self, last: int, advance: Callable[[int, Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Return (n, y_n) for n = last ... 0; those not kept are made again, by ``advance(n, y_n)``."""
        for kept in reversed(range(last // self._stride + 1)):
            first = kept * self._stride
            stretch = [self.states[kept]]
            for n in range(first, min(first + self._stride - 1, last)):
                stretch.append(advance(n, stretch[-1]))
            while stretch:
                y = stretch.pop()
                yield first + len(stretch), y
