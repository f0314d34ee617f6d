"""Whether tensors that were made in two ways are the same but for rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .parameters import as_real


def agree(made: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Tell whether tensors are those expected; each is measured by its own size."""
    pairs = [(as_real(a), as_real(b)) for a, b in zip(made, expected, strict=True) if b.numel()]
    pairs = [(a, b) for a, b in pairs if b.dtype in TOLERANCES]
    largest = max((_size(b) for _, b in pairs), default=0.0)
    return all(
        _size(a - b) <= TOLERANCES[b.dtype] * (_size(b) + SMALL * largest) and torch.equal(a.isfinite(), b.isfinite())
        for a, b in pairs
    )


def _size(x: Tensor) -> float:
    return float(x.nan_to_num(0.0, 0.0, 0.0).abs().max())


SMALL = 1e-2  # of the largest: below it, what another one is may be rounding of what cancels
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-2, torch.float16: 0.5, torch.bfloat16: 0.5}
