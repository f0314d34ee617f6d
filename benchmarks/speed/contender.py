"""What takes part: a `Contender` makes a `Solver` of a problem at a tolerance, and a `Solver` makes training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pyseminorm import PassStats

from .cases import Problem, gradient

OURS = "pyseminorm"
COMPILED = "compiled"  # the explicit object, `pyseminorm.compile`; other names are values of solve's argument compile


@dataclass(frozen=True)
class Outcome:
    """What one step made: the loss, dL/dtheta as one float64 vector, and the calls of both passes where known."""

    loss: float
    gradient: Tensor
    forward: PassStats | None = None
    backward: PassStats | None = None


class Solver(Protocol):
    """One contender on one problem at one tolerance."""

    def refresh(self) -> None:
        """Take over the problem's parameters as they are now; not timed."""

    def step(self) -> None:
        """Solve forward, take the loss (mean square over all outputs), go backward; done when gradients are there."""

    def outcome(self) -> Outcome:
        """Of the last step; not timed."""


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes:
        name: as tables show it.
        package: "pyseminorm" for our modes, whose tolerance is found; a peer runs at the compared tolerance.
        make: gives a `Solver` of (problem, tolerance); raises where that cannot be.
        settings: of our modes: backend, compile, adjoint and method.
        curve: whether it runs at more tolerances for a work-precision curve.
        quick: whether ``--quick`` takes it.
    """

    name: str
    package: str
    make: Callable[[Problem, float], Solver]
    settings: dict[str, str] = field(default_factory=dict)
    curve: bool = True
    quick: bool = True

    @property
    def ours(self) -> bool:
        """Whether this is a mode of pyseminorm."""
        return self.package == OURS


class TorchSolver:
    """A `Solver` whose gradients arrive in the ``grad`` of the problem's parameters; ``run`` gives ys."""

    def __init__(self, problem: Problem, run: Callable[[], Tensor]) -> None:
        self.problem, self.run = problem, run

    def refresh(self) -> None:
        for p in self.problem.params:
            p.grad = None

    def forward(self) -> Tensor:
        """The loss, with its graph."""
        loss = self.run().pow(2).mean()
        self._loss = loss.detach()
        return loss

    def step(self) -> None:
        self.forward().backward()  # type: ignore[no-untyped-call]
        if self.problem.y0.is_cuda:
            torch.cuda.synchronize()

    def outcome(self) -> Outcome:
        return Outcome(float(self._loss), gradient(self.problem))


class CountedSolver(TorchSolver):
    """A `TorchSolver` that counts the calls of the field in its first step, and in no other.

    ``backprop``: the backward pass differentiates the calls of the forward pass and makes none of its own.
    """

    def __init__(self, problem: Problem, run: Callable[[], Tensor], *, backprop: bool = False) -> None:
        super().__init__(problem, run)
        self._backprop = backprop
        self._calls: tuple[int, int] | None = None

    def step(self) -> None:
        if self._calls is not None:
            super().step()
            return
        calls: list[None] = []
        hook = self.problem.field.register_forward_pre_hook(lambda *_: calls.append(None))
        try:
            loss = self.forward()
            forward = len(calls)
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            hook.remove()
        self._calls = (forward, forward if self._backprop else len(calls) - forward)

    def outcome(self) -> Outcome:
        assert self._calls is not None
        forward, backward = PassStats(nf=self._calls[0]), PassStats(nvjp=self._calls[1])
        return Outcome(float(self._loss), gradient(self.problem), forward, backward)
