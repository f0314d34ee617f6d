"""The parameter gradient as a quadrature over the accepted steps of a backward solve (GaussAdjoint)."""

from __future__ import annotations

import functools
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
HARMLESS = 0.2  # of rtol: below it, what rules of a node less make of a step is right enough
OF_THE_RULE = 1.2  # its error over that of the two: 1.1 of what neither resolves, 3.4 of what both do with three nodes
LONGER = 1.000001  # than the steps before is one that is held back: steps of one length differ by rounding
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


@functools.cache
def check_rules(order: int) -> list[tuple[list[float], list[float]]]:
    """Return nodes and weights of the rule of `gauss_legendre`, of two rules of a node less, and of one of two more.

    The two are each other's mirror image, and add up to a rule as exact as the first. So their difference is of a node
    less than that, and no node is there for it alone. Each is the Gauss rule whose last recursion coefficient is that
    of the next order: then the sum is exact for one power more than either is alone.
    """
    nodes = (order + 1) // 2
    beside = [math.sqrt(_recursion(k)) for k in range(1, max(nodes, 2))]
    matrix = np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    matrix[-1, -1] = beside[-1]
    points, vectors = np.linalg.eigh(matrix)
    weights = (vectors[0] ** 2 / 2).tolist()
    pair = [(((1 + sign * points) / 2).tolist(), weights) for sign in (1, -1)]
    return [gauss_legendre(order), *pair, gauss_legendre(2 * (nodes + 2))]


def _recursion(k: int) -> float:
    """Return the coefficient in the recursion of the monic Legendre polynomials."""
    return k * k / (4 * k * k - 1)


def check_step(
    products: Callable[[int], Sequence[Tensor | None]], total: Sequence[Tensor], order: int, rtol: object
) -> float:
    """Add a step to a total by the two rules of `check_rules` that are each other's mirror image, and return the error
    of the first over the size of the total; NaN: that is zero.

    Where the two say the same, the rule of more nodes is not evaluated. ``products``: from the index of one of
    `check_rules` to its sum. No more than two vectors as long as the parameters are made.
    """
    step = [torch.zeros_like(x) for x in total]
    add_products(step, products(1))
    mirrored = products(2)
    add_products(step, mirrored, -1.0)
    difference = size_of(step)
    add_products(step, mirrored, 2.0)
    del mirrored
    add_products(total, step)
    size = size_of(total) or math.nan
    if isinstance(rtol, float) and difference <= HARMLESS * rtol * size:
        return _resolved_error(difference / size, (order + 1) // 2)
    add_products(step, products(3), -1.0)
    return OF_THE_RULE * size_of(step) / size


def exchange_rules(
    finer: Callable[[], Sequence[Tensor | None]], own: Callable[[], Sequence[Tensor | None]], total: Sequence[Tensor]
) -> tuple[float, float]:
    """Add what a finer rule makes of a step to a total that has the step's own, and what ``own`` makes, which is that
    with negative weights. Return the size of the difference over that of the total (NaN: that is zero), and of what
    the finer rule makes. No more than two vectors as long as the parameters are made.
    """
    step = [torch.zeros_like(x) for x in total]
    add_products(step, finer())
    made = size_of(step)
    add_products(step, own())
    add_products(total, step)
    return size_of(step) / (size_of(total) or math.nan), made


def _resolved_error(difference: float, nodes: int) -> float:
    """Return the error of a Gauss rule from the difference of the two rules of a node less, of a wave in a step.

    They are c p^(2 nodes) and d p^(2 nodes - 3), p the phase that the wave goes through.
    """
    less = max(nodes - 1, 1)
    c = math.factorial(nodes) ** 4 / ((2 * nodes + 1) * math.factorial(2 * nodes) ** 3)
    d = math.factorial(less - 1) ** 4 / (2 * math.factorial(2 * less - 1) ** 2 * math.factorial(2 * less - 2))
    power: float = 2 * nodes / (2 * less - 1)
    return float(c * (difference / (math.sqrt(_recursion(less)) * d)) ** power)


def add_products(total: Sequence[Tensor], products: Sequence[Tensor | None], factor: float = 1.0) -> None:
    """Add products by the parameters, times a factor, to a total; None: zero."""
    known = [g for g in products if g is not None]
    if len(known) < len(products):
        total = [t for t, g in zip(total, products, strict=True) if g is not None]
    if known:
        increment_all(total, known, alpha=factor)


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
