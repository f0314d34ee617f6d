"""The task of every name in the table `pairs`."""

from __future__ import annotations

from ..experiment import Experiment
from ..pairs import Sizes


def experiment(task: str, sizes: Sizes) -> Experiment:
    """Make the task of that name, with its data."""
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
