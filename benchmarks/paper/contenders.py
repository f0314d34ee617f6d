"""What is compared: ways to differentiate the same model, in our engine and in torchdiffeq's own package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, SolveError, WarmStart
from pyseminorm.adjoints import Adjoint, choose_adjoint

from .cost import Cost
from .pairs import METHOD, Pair
from .solver import Field, OurSolver, Solver

# What a solve that does not succeed raises: ours, and torchdiffeq's (steps that underflow, or too many of them).
FAILURES = (SolveError, AssertionError)


class CountingSolver(Solver, Protocol):
    """A solver that says what its latest solve cost."""

    def cost(self) -> Cost:
        """Both passes of the latest solve, the backward one as far as it has run."""
        ...


class OurCountingSolver(OurSolver):
    """`pyseminorm.solve`, counted by its own statistics."""

    def cost(self) -> Cost:
        forward, backward = self.solution.stats.forward, self.solution.stats.backward
        cost = Cost(forward_evaluations=forward.evaluations, forward_rejected=forward.nreject)
        if backward is not None:
            cost.backward_evaluations, cost.backward_rejected = backward.evaluations, backward.nreject
        return cost


class TheirSolver:
    """`torchdiffeq.odeint_adjoint`, counted by its calls of the field and by its callbacks."""

    def __init__(self, norm: Callable[[Any], Any] | None, **settings: Any) -> None:
        self.settings = settings
        self.adjoint_options = None if norm is None else {"norm": norm}

    def __call__(self, field: Field, y0: Tensor, times: Sequence[float], params: Iterable[Tensor], /) -> Tensor:
        from torchdiffeq import odeint_adjoint

        self.counted = _Counted(field)
        ys: Tensor = odeint_adjoint(
            self.counted,
            y0,
            torch.tensor(times, dtype=y0.dtype),
            adjoint_params=tuple(params),
            adjoint_options=self.adjoint_options,
            **self.settings,
        )
        self.counted.forward_calls = self.counted.calls
        return ys

    def cost(self) -> Cost:
        counted = self.counted
        return Cost(
            forward_evaluations=counted.forward_calls,
            backward_evaluations=counted.calls - counted.forward_calls,
            forward_rejected=counted.forward_rejected,
            backward_rejected=counted.backward_rejected,
        )


class _Counted:
    """A vector field with the callbacks that torchdiffeq looks for."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.calls = self.forward_calls = self.forward_rejected = self.backward_rejected = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.field(t, y)

    def callback_reject_step(self, t: Tensor, y: Any, dt: Tensor) -> None:
        self.forward_rejected += 1

    def callback_reject_step_adjoint(self, t: Tensor, y: Any, dt: Tensor) -> None:
        self.backward_rejected += 1


def paper_norm(state: tuple[Tensor, ...]) -> Tensor:
    """The paper's norm on torchdiffeq's backward state (a_t, y, lambda, mu ...): max(rms y, rms lambda)."""
    rms_y, rms_adjoint = (x.square().mean().sqrt() for x in state[1:3])
    return torch.maximum(rms_y, rms_adjoint)


@dataclass(frozen=True)
class Contender:
    """A named way to differentiate: one of our adjoints, or (None) torchdiffeq's package with ``norm``.

    ``compile``: that of `solve`, for ours; ``warm``: each of ours begins with the step of the solve before.
    """

    name: str
    label: str
    adjoint: Adjoint | None
    norm: Callable[[Any], Any] | None = None
    compile: str | None = None
    warm: bool = False

    def solver(self, pair: Pair, backend: str) -> CountingSolver:
        """Solves a pair's models; ``backend`` is that of our contenders."""
        settings: dict[str, Any] = {"method": METHOD, "rtol": pair.rtol, "atol": pair.atol}
        if self.adjoint is None:
            return TheirSolver(self.norm, **settings)
        if self.warm:
            settings["dt"] = WarmStart()
        return OurCountingSolver(adjoint=self.adjoint, backend=backend, compile=self.compile, **settings)


def _only_the_norm(norm: str) -> BacksolveAdjoint:
    """Our backward solve as torchdiffeq's in everything but the norm: cotangents are not scaled."""
    return BacksolveAdjoint(norm=norm, scale_invariant=False, verbose=False)


CONTENDERS: tuple[Contender, ...] = (
    Contender("norm-torchdiffeq", "torchdiffeq's norm", _only_the_norm("torchdiffeq")),
    Contender("norm-rms", "plain RMS", _only_the_norm("rms")),
    Contender("norm-seminorm", "seminorm", _only_the_norm("seminorm")),
    Contender("gauss", "GaussAdjoint()", GaussAdjoint(verbose=False)),
    Contender("backsolve", "BacksolveAdjoint()", BacksolveAdjoint(verbose=False)),
    Contender("traced", 'BacksolveAdjoint(), compile="trace"', BacksolveAdjoint(verbose=False), compile="trace"),
    Contender("discrete", "DiscreteAdjoint()", DiscreteAdjoint(verbose=False)),
    Contender("package-default", "torchdiffeq 0.2.5, default norm", None),
    Contender("package-seminorm", "torchdiffeq 0.2.5, paper's norm", None, paper_norm),
)


def picked_by_auto(state: int, parameters: int) -> str:
    """The name of the contender that ``adjoint="auto"`` is, for an explicit method.

    >>> picked_by_auto(32, 5000), picked_by_auto(4096, 100)
    ('gauss', 'backsolve')
    """
    chosen: Any = choose_adjoint(state, parameters, implicit=False)
    adjoint = replace(chosen, verbose=False)  # as they all are
    return next(contender.name for contender in CONTENDERS if contender.adjoint == adjoint)
