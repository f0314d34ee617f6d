"""What solves cost, counted alike for every contender."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cost:
    """Evaluations of the vector field and rejected steps of both passes.

    A backward evaluation is a call of the field together with its products, as torchdiffeq makes it; products alone (by
    the state, or by the parameters at a quadrature node) count as one each, however batched.
    """

    forward_evaluations: int = 0
    backward_evaluations: int = 0
    forward_rejected: int = 0
    backward_rejected: int = 0

    def __iadd__(self, other: Cost) -> Cost:
        self.forward_evaluations += other.forward_evaluations
        self.backward_evaluations += other.backward_evaluations
        self.forward_rejected += other.forward_rejected
        self.backward_rejected += other.backward_rejected
        return self
