"""Memory for the nodes of a Gauss quadrature, which Julia fills."""

from __future__ import annotations

import torch

from ....passes.gauss_quadrature import check_rule, gauss_legendre, nodes_per_call
from ....passes.problems import AdjointProblem
from ..session.memory import address, addresses, doubles


class NodeMemory:
    """Nodes evaluated at once: ``times`` in float64, ``y`` and weighted ``adjoint`` (nodes, size), ``arguments``.

    ``check``: the rows of those by which the largest step's error is found.
    """

    def __init__(self, problem: AdjointProblem) -> None:
        size = problem.layout.state
        order, capacity = problem.options.traits.order, nodes_per_call(size)
        self._rules = [doubles(tuple(x)) for x in (*gauss_legendre(order), *check_rule(order))]
        points, weights, check_points, check_weights = self._rules
        self.check = slice(capacity, capacity + check_points.count)
        self.times = torch.empty(self.check.stop, dtype=torch.float64)
        self.y = problem.ys.new_empty(len(self.times), size)
        self.adjoint = torch.empty_like(self.y)
        y, adjoint = addresses((self.y, self.adjoint), self.y.dtype)
        self.arguments = {
            "points": points.address, "weights": weights.address, "points_count": points.count,
            "check_points": check_points.address, "check_weights": check_weights.address,
            "check_count": check_points.count, "capacity": capacity,
            "param_rtol": getattr(problem.adjoint, "param_rtol", None) or 0.0,
            "node_times": address(self.times, torch.float64), "node_y": y, "node_adjoint": adjoint,
        }  # fmt: skip
