"""torchdiffeq's module of this name."""

from __future__ import annotations

from torch import Tensor, nn

from ...problem.parameters import parameters_of
from ..functions import odeint_adjoint as odeint_adjoint
from ..solvers import SOLVERS as SOLVERS


def find_parameters(module: nn.Module) -> list[Tensor]:
    """Return the parameters of a module, of a replica of `nn.DataParallel` its tensors in their places."""
    assert isinstance(module, nn.Module)
    return parameters_of(module) if getattr(module, "_is_replica", False) else list(module.parameters())
