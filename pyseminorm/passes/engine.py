"""What both passes need of an engine."""

from __future__ import annotations

from typing import Any, Protocol

from ..stepping import MethodTraits
from .problems import AdjointProblem, AdjointResult, DiscreteProblem, ForwardProblem, ForwardResult


class Engine(Protocol):
    """An integrator of forward and adjoint problems."""

    name: str

    def traits(self, method: Any) -> MethodTraits:
        """Return what is known of a method; refuse one that the engine has not."""

    def integrate(self, problem: ForwardProblem) -> ForwardResult: ...

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult: ...

    def sweep(self, problem: DiscreteProblem) -> AdjointResult: ...
