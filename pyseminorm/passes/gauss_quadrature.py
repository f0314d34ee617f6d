"""The parameter gradient as a quadrature over the accepted steps of a backward solve (GaussAdjoint)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
HARMLESS = 1e-2  # of rtol: below it, what a rule of a node less makes of a step is right enough
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


def check_rules(order: int) -> list[tuple[list[float], list[float]]]:
    """Return nodes and weights of the rule of `gauss_legendre`, of one of a node less, and of one of two more."""
    nodes = (order + 1) // 2
    return [gauss_legendre(2 * n) for n in (nodes, max(nodes - 1, 1), nodes + 2)]


def check_step(
    products: Callable[[int], Sequence[Tensor | None]], total: Sequence[Tensor], order: int, rtol: object
) -> float:
    """Add a step's rule to a total, and return its error over the size of the total; NaN: that is zero.

    Where a rule of one node less says the same, that of two more is not evaluated. ``products``: from the index of one
    of `check_rules` to its sum.
    """
    step = [torch.zeros_like(x) for x in total]
    add_products(step, products(0))
    add_products(total, step)
    size = size_of(total) or math.nan
    less = _distance(step, products(1)) / size
    if isinstance(rtol, float) and less <= HARMLESS * rtol:
        return _resolved_error(less, (order + 1) // 2)
    return _distance(step, products(2)) / size


def _distance(step: Sequence[Tensor], products: Sequence[Tensor | None]) -> float:
    """Return the size of a difference, which no further vector as long as the parameters is made for."""
    add_products(step, products, -1.0)
    size = size_of(step)
    add_products(step, products)
    return size


def _resolved_error(less: float, nodes: int) -> float:
    """Return the error of a rule from that of a rule of a node less, of a wave that both resolve."""
    power: float = nodes / (nodes - 1)
    return float(_wave_error(nodes) * (less / _wave_error(nodes - 1)) ** power)


def _wave_error(nodes: int) -> float:
    """Return the error of a Gauss rule in a step of a wave, over the power 2 ``nodes`` of its phase there."""
    return float(math.factorial(nodes) ** 4 / ((2 * nodes + 1) * math.factorial(2 * nodes) ** 3))


def add_products(total: Sequence[Tensor], products: Sequence[Tensor | None], factor: float = 1.0) -> None:
    """Add products by the parameters, times a factor, to a total; None: zero."""
    pairs = [(t, g) for t, g in zip(total, products, strict=True) if g is not None]
    if pairs:
        increment_all([t for t, _ in pairs], [g for _, g in pairs], alpha=factor)


def size_of(tensors: Sequence[Tensor | None]) -> float:
    """Return the 2-norm of tensors as one vector; None: zero."""
    return math.hypot(*(read_number(torch.linalg.vector_norm(x)) for x in tensors if x is not None))


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
        add_products(self.total, self.products(times, y, adjoint))

    def products(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        """Return what such nodes add up to."""
        self._stats.nvjp_param += len(times)
        gradients = self._vjp(times, y, adjoint)
        if not each_finite(gradients):
            raise self._not_finite(times, y, adjoint)
        return gradients

    def _vjp(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        return self._field.vjp_params(times, y, adjoint, batched_time=self._batched_time)

    def _not_finite(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> SolveError:
        """Return the error of nodes whose sum is not finite; they are evaluated again to find the one."""
        for i, t in enumerate(times):
            if not each_finite(self._vjp([t], y[i : i + 1], adjoint[i : i + 1])):
                return not_finite(PARAMS_PRODUCT, t)
        return not_finite(PARAMS_PRODUCT, times[0], times[-1])
