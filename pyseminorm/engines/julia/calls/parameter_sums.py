"""mu beside the backward state as sums over stages, of which Julia says when they gain."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ....methods.tableau import Tableau
from ...torch.system import Integrals

# By number; kept as bound methods they would keep their object alive.
METHODS = "_gain", "_accept", "_reject", "_drop", "share"


class ParameterSums(Integrals):
    """What the methods of `ForeignSums` in PySeminorm are in Python, by number.

    Attributes:
        held: the derivatives of mu at the last evaluation that wanted them (None: zero).
    """

    def __init__(self, targets: Sequence[Tensor], tableau: Tableau, rtol: float | None) -> None:
        super().__init__(list(targets), tableau, rtol)
        self.held: Sequence[Tensor | None] = ()
        self.start_step()

    def __call__(self, what: int, number: float) -> float:
        """Do what Julia asks for, with the number of a stage or the size of a step."""
        return float(getattr(self, METHODS[what])(number))

    def _gain(self, stage: float) -> bool:
        self.add_stage(int(stage) - 1, self.held)
        return True

    def _accept(self, h: float) -> bool:
        finite = self.accept(h)
        self.start_step()
        return finite

    def _reject(self, _: float) -> bool:
        """End a rejected attempt; tell whether the first stage is there for the next one."""
        self.start_step()
        return self.keeps_stages

    def _drop(self, _: float) -> bool:
        self.held = ()
        return True
