"""What a forward solve keeps of its steps for DiscreteAdjoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

StepReport = Callable[[bool, float, Tensor, float], None]


class RecordedSteps:
    """The accepted steps of a forward solve, as the solver reports them: their signed sizes and where they began.

    Attributes:
        sizes: of all steps.
        states: at the start of every step, or (checkpoints) of about sqrt(steps) of them, evenly spaced.
        stages: whether what the products of every stage read is kept too.
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

    def reporting_to(self, report: StepReport | None) -> StepReport:
        """What the engine tells of every attempted step; passed on to the user's ``report``."""
        if report is None:
            return self._record

        def both(accepted: bool, t: float, y: Tensor, h: float) -> None:
            self._record(accepted, t, y.clone(), h)
            report(accepted, t, y, h)

        return both

    def _record(self, accepted: bool, t: float, y: Tensor, h: float) -> None:
        if not accepted:
            return
        if len(self.sizes) % self._stride == 0:
            self.states.append(y)
        self.sizes.append(h)
        if self._thin and len(self.states) > 2 * self._stride:
            self.states = self.states[::2]
            self._stride *= 2

    def backwards(self, last: int, advance: Callable[[int, Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(n, y_n) for n = last ... 0; those not kept are made again, by ``advance(n, y_n)``."""
        for kept in reversed(range(last // self._stride + 1)):
            first = kept * self._stride
            stretch = [self.states[kept]]
            for n in range(first, min(first + self._stride - 1, last)):
                stretch.append(advance(n, stretch[-1]))
            while stretch:
                y = stretch.pop()
                yield first + len(stretch), y
