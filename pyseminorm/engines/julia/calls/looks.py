"""Looking for events in the steps that Julia makes; julia/src/solver/looks.jl is the other side."""

from __future__ import annotations

import torch

from ....passes.problems import EventWatch, ForwardProblem, StepSearch
from ..session.memory import address

# What Julia gets where no more states are wanted: it goes on, the solve ends with the step, or something has raised.
GO_ON, END_HERE, RAISED_THERE = 0, 1000, -1000


class Looks:
    """The search for events in the steps of one solve, which Julia answers in memory that is here."""

    def __init__(self, events: EventWatch, problem: ForwardProblem) -> None:
        events.start(problem)
        self._events, self._count = events, 0
        self._search: StepSearch | None = None
        self._times = torch.empty(events.most_wanted, dtype=torch.float64)
        self._states = problem.y0.new_empty(events.most_wanted, problem.spec.size)

    @property
    def addresses(self) -> tuple[int, int]:
        """Where the times and the states are."""
        return address(self._times, torch.float64), address(self._states, self._states.dtype)

    def look(self, t0: float, t1: float) -> int:
        """Begin to look at a step, or take the states that were wanted; return how many more are (derivatives: < 0)."""
        try:
            if self._search is None:
                self._search = self._events.step(t0, t1)
                wanted = next(self._search)
            else:
                wanted = self._search.send(self._states[: self._count].clone())
        except StopIteration as stop:
            self._search = None
            return END_HERE if stop.value else GO_ON
        self._count = len(wanted.times)
        self._times[: self._count] = torch.tensor(wanted.times, dtype=torch.float64)
        return -self._count if wanted.slopes else self._count
