"""What a task is to the training loop."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from .solver import Solver

Batch = tuple[Tensor, ...]


class Experiment(Protocol):
    """A task with its data. Randomness is torch's global generator's, except in what must be the same in all runs.

    Attributes:
        held: the batch on which gradients are compared.
        quality_name: what `quality` measures.
    """

    held: Batch
    quality_name: str

    def model(self) -> nn.Module:
        """A model with fresh weights; its vector field is its submodule ``field``."""
        ...

    def batches(self) -> list[Batch]:
        """One epoch; all that is random in `loss` is part of a batch."""
        ...

    def loss(self, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
        """The loss of a batch, through one solve."""
        ...

    def quality(self, model: nn.Module, solver: Solver) -> float:
        """How good the model is on test data."""
        ...

    def samples(self, model: nn.Module, solver: Solver) -> list[list[float]]:
        """What the model generates, for a picture; nothing where it generates nothing."""
        ...
