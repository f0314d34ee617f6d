"""What func returns, as torchdiffeq takes it: of another dtype, or of the state's sizes in other shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..problem.parameters import parameters_of


class AdaptedField:
    """A function whose results are made to look like the state.

    Of a tensor state, a result is broadcast; of a tuple, the elements of all results, in order, are those of the
    state's tensors. Both are cast to the state's dtype.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.params = parameters_of(func)

    def __call__(self, t: Tensor, y: Any) -> Any:
        value = self.func(t, y)
        if isinstance(y, Tensor):
            return torch.as_tensor(value, device=y.device).to(y.dtype).expand(y.shape)
        flat = torch.cat([torch.as_tensor(x, device=y[0].device).reshape(-1) for x in value]).to(y[0].dtype)
        parts = torch.split(flat, [x.numel() for x in y])
        return tuple(part.view(x.shape) for part, x in zip(parts, y, strict=True))
