"""Memory for the nodes of a Gauss quadrature, which Julia fills."""

from __future__ import annotations

import torch

from ....passes.gauss_quadrature import gauss_legendre, nodes_per_call
from ....passes.problems import AdjointProblem
from ..session.memory import address, addresses, doubles


class NodeMemory:
    """Nodes evaluated at once: ``times`` in float64, ``y`` and weighted ``adjoint`` (nodes, size), ``arguments``."""

    def __init__(self, problem: AdjointProblem) -> None:
        size = problem.layout.state
        self._points, self._weights = (doubles(tuple(x)) for x in gauss_legendre(problem.options.traits.order))
        self.times = torch.empty(nodes_per_call(size), dtype=torch.float64)
        self.y = problem.ys.new_empty(len(self.times), size)
        self.adjoint = torch.empty_like(self.y)
        y, adjoint = addresses((self.y, self.adjoint), self.y.dtype)
        self.arguments = {
            "points": self._points.address, "weights": self._weights.address, "points_count": self._points.count,
            "capacity": len(self.times), "node_times": address(self.times, torch.float64), "node_y": y,
            "node_adjoint": adjoint,
        }  # fmt: skip
