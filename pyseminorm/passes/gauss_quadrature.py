"""The parameter gradient as a quadrature over the accepted steps of a backward solve (GaussAdjoint)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import SolveError
from ..host_copies import read_number
from ..problem.finiteness import PARAMS_PRODUCT, each_finite, not_finite
from ..problem.vector_field import EagerVectorField
from ..stats import PassStats
from ..torch_internals import increment_all

ELEMENTS_PER_CALL = 2**18  # of state, in one batched call: its activations stay a bounded multiple of this
MOST_NODES = 256
ERROR_GROWTH = 3  # power of a step's length that its error grows with: between 1, of what is not resolved, and 2m + 1


def gauss_legendre(order: int) -> tuple[list[float], list[float]]:
    """Return nodes and weights on [0, 1], (order + 1) // 2 of them, as SciMLSensitivity's GaussAdjoint takes."""
    nodes, weights = np.polynomial.legendre.leggauss((order + 1) // 2)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def check_rule(order: int) -> tuple[list[float], list[float]]:
    """Return nodes and weights of the difference of a rule of two more nodes from that of `gauss_legendre`."""
    points, weights = gauss_legendre(order)
    finer_points, finer_weights = gauss_legendre(2 * len(points) + 3)
    return finer_points + points, finer_weights + [-weight for weight in weights]


def size_of(tensors: Sequence[Tensor]) -> float:
    """Return the 2-norm of tensors as one vector."""
    return math.hypot(*(read_number(torch.linalg.vector_norm(x)) for x in tensors))


def nodes_per_call(size: int) -> int:
    """Return how many nodes are evaluated together for a state of ``size`` elements."""
    return max(1, min(MOST_NODES, ELEMENTS_PER_CALL // size))


class ParameterQuadrature:
    """Sums sum_j adjoint_j df/dtheta over nodes j, in batched calls; `total` has one tensor per target."""

    def __init__(self, field: EagerVectorField, stats: PassStats, *, batched_time: bool) -> None:
        self.total = [torch.zeros_like(x) for x in field.targets]
        self._field, self._stats, self._batched_time = field, stats, batched_time

    def add(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> None:
        """Add nodes at ``times`` with states and weighted adjoints (nodes, size)."""
        self._stats.nvjp_param += len(times)
        gradients = self._vjp(times, y, adjoint)
        if not each_finite(gradients):
            raise self._not_finite(times, y, adjoint)
        pairs = [(t, g) for t, g in zip(self.total, gradients, strict=True) if g is not None]
        if pairs:
            increment_all([t for t, _ in pairs], [g for _, g in pairs])

    def _vjp(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        return self._field.vjp_params(times, y, adjoint, batched_time=self._batched_time)

    def _not_finite(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> SolveError:
        """Return the error of nodes whose sum is not finite; they are evaluated again to find the one."""
        for i, t in enumerate(times):
            if not each_finite(self._vjp([t], y[i : i + 1], adjoint[i : i + 1])):
                return not_finite(PARAMS_PRODUCT, t)
        return not_finite(PARAMS_PRODUCT, times[0], times[-1])
