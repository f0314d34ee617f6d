"""Memory for the nodes of a Gauss quadrature, which Julia fills."""

from __future__ import annotations

import torch

from ....adjoints import GaussAdjoint
from ....passes.gauss_quadrature import check_rule, check_rules, gauss_legendre, nodes_per_call
from ....passes.gradient_error import estimates
from ....passes.problems import AdjointProblem
from ..session.memory import address, addresses, doubles


class NodeMemory:
    """Nodes evaluated at once: ``times`` in float64, ``y`` and weighted ``adjoint`` (nodes, size), ``arguments``.

    ``check``: the rows behind these, of the rules by which a step's error is found.
    """

    def __init__(self, problem: AdjointProblem) -> None:
        assert isinstance(problem.adjoint, GaussAdjoint)
        size = problem.layout.state
        order, capacity = problem.options.traits.order, nodes_per_call(size)
        rtol = problem.adjoint.param_rtol
        checked = _checked(problem, order) if rtol is None else check_rule(order)
        self._rules = [doubles(tuple(x)) for x in (*gauss_legendre(order), *checked)]
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
            "param_rtol": rtol or 0.0,
            "node_times": address(self.times, torch.float64), "node_y": y, "node_adjoint": adjoint,
        }  # fmt: skip


def _checked(problem: AdjointProblem, order: int) -> tuple[list[float], list[float]]:
    """Return the nodes and weights of `check_rules`, all in a row, or of `check_rule` where the forward solve is rough;
    none where they would make no estimate.
    """
    if not estimates(problem.options.method, problem.options.traits):
        return [], []
    rules = [check_rule(order)] if problem.rough else check_rules(order)
    return [x for points, _ in rules for x in points], [x for _, weights in rules for x in weights]
