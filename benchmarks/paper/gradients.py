"""How far a contender's gradient is from the true one, at the same weights for all."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyseminorm import GaussAdjoint

from .contenders import CONTENDERS, FAILURES
from .experiment import Batch, Experiment
from .pairs import Pair
from .solver import OurSolver, Solver


@dataclass(frozen=True)
class GradientError:
    """Relative error of dL/dtheta of the vector field on the held batch (None: the pass failed), and what it took."""

    contender: str
    epoch: int
    error: float | None
    backward_evaluations: int


def gradient_errors(
    pair: Pair, experiment: Experiment, model: nn.Module, epoch: int, backend: str
) -> list[GradientError]:
    """The errors of all contenders at the model's weights."""
    truth = _reference(pair, experiment, model)
    found = []
    for contender in CONTENDERS:
        solver = contender.solver(pair, backend)
        try:
            gradient = _gradient(experiment, model, experiment.held, solver)
        except FAILURES:
            found.append(GradientError(contender.name, epoch, None, 0))
            continue
        error = float((gradient.double() - truth).norm() / truth.norm())
        found.append(GradientError(contender.name, epoch, error, solver.cost().backward_evaluations))
    return found


def _reference(pair: Pair, experiment: Experiment, model: nn.Module) -> Tensor:
    """In float64, by the embedded engine at the pair's tight tolerance."""
    method, tolerance = pair.reference
    held = tuple(x.double() if x.is_floating_point() else x for x in experiment.held)
    solver = OurSolver(method=method, rtol=tolerance, atol=tolerance, adjoint=GaussAdjoint(), backend="torch")
    return _gradient(experiment, copy.deepcopy(model).double(), held, solver)


def _gradient(experiment: Experiment, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
    loss = experiment.loss(model, batch, solver)
    parts = torch.autograd.grad(loss, list(model.get_submodule("field").parameters()))
    return torch.cat([part.reshape(-1) for part in parts])
