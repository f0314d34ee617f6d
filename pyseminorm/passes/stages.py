"""What a forward solve keeps of the stages of its accepted steps, for DiscreteAdjoint(keep="stages")."""

from __future__ import annotations

import functools
from typing import NamedTuple

from torch import Tensor

from ..methods.tableau import Tableau
from ..problem.vector_field import EagerVectorField, VjpFunction


@functools.cache
def needed_stages(tableau: Tableau, *, inner: bool) -> tuple[int, ...]:
    """Return the stages that the new state depends on, and (``inner``) dense output inside the step."""
    rows = tableau.a + tableau.extra_a
    used = {i for i, b in enumerate(tableau.b) if b}
    if inner:
        used |= {i for i, row in enumerate(tableau.dense) if any(row)}
    for i in reversed(range(len(rows))):
        if i in used:
            used |= {j for j, a in enumerate(rows[i]) if a}
    return tuple(sorted(used))


class Stage(NamedTuple):
    """One evaluation: f at (t, y), and its products."""

    t: float
    y: Tensor
    value: Tensor
    vjp: VjpFunction


Stages = dict[tuple[int, int], Stage]  # by step and stage


class StageCollector:
    """Evaluates f with its products, and keeps those of accepted steps.

    It sees evaluations in the solver's order, and the end of every attempt: the stages of an attempt but the first are
    its last evaluations. The first one was made before them (anew, or with an attempt that was rejected), or it is the
    last stage of the step before, or it is not here: who takes the stages compares its time and its state.
    """

    def __init__(self, field: EagerVectorField, tableau: Tableau) -> None:
        self._field, self._later, self._adaptive = field, tableau.stages - 1, tableau.adaptive
        self._needed = frozenset(needed_stages(tableau, inner=True))
        self._evaluated: list[Stage] = []
        self._kept: Stages = {}

    def __call__(self, t: float, y: Tensor) -> Tensor:
        """Return dy/dt at (t, y), without gradient; ``y`` is kept."""
        value, vjp = self._field.evaluate_with_vjp(t, y)
        self._evaluated.append(Stage(t, y, value, vjp))
        return value

    def end_attempt(self, accepted: bool, step: int, t: float, h: float) -> None:
        """End an attempt at a step from ``t`` by ``h``, which evaluations so far were for, and what came before."""
        start = len(self._evaluated) - self._later
        if not self._adaptive:  # such a step may leave out its last stage, and none is rejected
            early = [i for i, stage in enumerate(self._evaluated) if abs(stage.t - t) < abs(h) / 4]
            start = early[-1] + 1 if early else 0
        if not accepted:
            del self._evaluated[start:]
            return
        first = max(start - 1, 0)
        for i, stage in enumerate(self._evaluated[first:], first - start + 1):
            if i in self._needed:
                self._kept[step, i] = stage
        self._evaluated.clear()

    def take(self) -> Stages:
        """Return the stages kept, which are the caller's from now on."""
        kept, self._kept = self._kept, {}
        self._evaluated.clear()
        return kept
