"""How the models of the tasks reach a solver, whoever's it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor

from pyseminorm import Solution, solve

Field = Callable[[Tensor, Tensor], Tensor]


class Solver(Protocol):
    """Solves dy/dt = field(t, y) and differentiates by y0 and ``params``."""

    def __call__(self, field: Field, y0: Tensor, times: Sequence[float], params: Iterable[Tensor], /) -> Tensor:
        """Return the states (len(times), *y0.shape)."""
        ...


class OurSolver:
    """`pyseminorm.solve` with fixed settings; `solution` keeps the latest solve, for its statistics."""

    solution: Solution

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def __call__(self, field: Field, y0: Tensor, times: Sequence[float], params: Iterable[Tensor], /) -> Tensor:
        self.solution = solve(field, y0, times, params=params, **self.settings)
        ys: Tensor = self.solution.ys
        return ys
