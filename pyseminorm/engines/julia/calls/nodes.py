"""Memory for the nodes of a Gauss quadrature, which Julia fills."""

from __future__ import annotations

import torch
from torch import Tensor

from ....passes.gauss_quadrature import gauss_legendre, nodes_per_call
from ..session.memory import address, addresses, doubles


class NodeMemory:
    """As many nodes as are evaluated at once.

    Attributes:
        times: (nodes,) in float64.
        y, adjoint: (nodes, size) each, like the tensor ``like``; the adjoint with the weight of its node.
    """

    def __init__(self, like: Tensor, size: int, order: int) -> None:
        self._points, self._weights = (doubles(tuple(x)) for x in gauss_legendre(order))
        self.times = torch.empty(nodes_per_call(size), dtype=torch.float64)
        self.y = like.new_empty(len(self.times), size)
        self.adjoint = torch.empty_like(self.y)

    @property
    def arguments(self) -> dict[str, int]:
        """Their arguments of "adjoint"."""
        points, weights = self._points, self._weights
        y, adjoint = addresses((self.y, self.adjoint), self.y.dtype)
        return {
            "points": points.address, "weights": weights.address, "points_count": points.count,
            "capacity": len(self.times), "node_times": address(self.times, torch.float64), "node_y": y,
            "node_adjoint": adjoint,
        }  # fmt: skip
