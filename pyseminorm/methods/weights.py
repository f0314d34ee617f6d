"""A tableau as tensors, made once for every dtype and device."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from .tableau import Tableau


class Weights:
    """What steps multiply ``stages`` by, those of the interpolant included, which are at ``c`` in the step.

    ``rows``: weights of the stages before each one, of an implicit one also of itself and others; ``columns``: those of
    each one in the stages after it; ``b``: of the new state; ``error``: of the estimate, or None; ``dense``: the
    interpolant's, (degree, stages).
    """

    def __init__(self, tableau: Tableau, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(row: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
            return torch.tensor(row, dtype=dtype, device=device)

        rows = tableau.a + tableau.extra_a
        self.stages, self.c = len(rows), tableau.c + tableau.extra_c
        full = tensor([[*row, *(0.0,) * (self.stages - len(row))] for row in rows])
        self.rows = [full[i, : max(i, len(row))].clone() for i, row in enumerate(rows)]
        self.columns = [full[i + 1 :, i].clone() for i in range(self.stages)]
        self.b = tensor([*tableau.b, *(0.0,) * len(tableau.extra_c)])
        self.error = tensor(tableau.b_error) if tableau.b_error else None
        self.dense = tensor(tableau.dense).T.contiguous()


def weights(tableau: Tableau, like: Tensor) -> Weights:
    """Return the weights of a tableau in the dtype of ``like``, on its device."""
    return _weights(tableau, like.dtype, like.device)


_weights = functools.cache(Weights)
