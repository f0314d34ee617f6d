"""What a task is to the training loop, and the task of every name in the table."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from ..demo.solver import Solver
from .pairs import Sizes

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


def experiment(task: str, sizes: Sizes) -> Experiment:
    """The task of that name, with its data."""
    if task in ("basic-motions", "japanese-vowels"):
        from .classification import Classification

        return Classification(task, sizes)
    if task == "latent-ode":
        from .latent_ode import Interpolation

        return Interpolation(sizes)
    if task in ("digits", "moons", "checkerboard"):
        from .flow import DensityEstimation

        return DensityEstimation(task, sizes)
    from .control import Control

    return Control(task, sizes)
