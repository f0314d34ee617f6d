"""The tensors that func reads without being given them: seen in one call, and exchanged for twins in others.

Both are torch function modes, which torch asks before every function that is called with a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..torch_internals import count_nodes, count_writes, get_number

# What says something of a tensor but not of its elements.
_METADATA: frozenset[Any] = frozenset(
    {Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.new_zeros, torch.zeros_like, torch.ones_like}
    | {getattr(Tensor, x).__get__ for x in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf")}
)


class TensorsRead(TorchFunctionMode):
    """Records the tensors that torch's functions get and give, since autograd's count of nodes was ``start``."""

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[int, tuple[Tensor, int]] = {}
        self._made: dict[int, Tensor] = {}
        self.start = count_nodes()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in _METADATA:
            self._look(args)
            if kwargs:
                self._look(kwargs.values())
        out = func(*args, **kwargs) if kwargs else func(*args)
        for x in out if type(out) in (tuple, list) else (out,):
            if isinstance(x, Tensor):
                self._made[id(x)] = x
        return out

    def _look(self, values: Iterable[Any]) -> None:
        for x in values:
            if isinstance(x, Tensor):
                if id(x) not in self._made and id(x) not in self._read:
                    self._read[id(x)] = x, count_writes(x)
            elif type(x) in (tuple, list):
                self._look(x)

    def take(self, given: Iterable[Tensor]) -> list[tuple[Tensor, int]]:
        """Return the tensors that were read, but for those ``given`` to func, with their versions before that.

        Those that came out are forgotten.
        """
        own = {id(x) for x in given}
        read = [(x, version) for key, (x, version) in self._read.items() if key not in own]
        self._read = {}
        self._made = {}
        return read

    def results_with_gradient(self) -> list[Tensor]:
        """Return what func made that requires grad: alive when the graph is gone, it is kept for the next call."""
        made = [x for x in self._made.values() if x.requires_grad and _has_origin(x)]
        return [x for x in made if not (x.is_leaf and id(x) in self._read)]

    def is_older(self, x: Tensor) -> bool:
        """Tell whether a tensor has a graph, made before the call."""
        number = get_number(x)
        return number is not None and number < self.start


def _has_origin(x: Tensor) -> bool:
    try:
        return x.is_leaf or x.grad_fn is not None
    except RuntimeError:  # a view without gradient of what a custom function (a solve inside func) gives out
        return False


class Exchange(TorchFunctionMode):
    """Gives torch's functions a twin wherever they are called with a tensor that has one, by its id."""

    def __init__(self, twins: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._twins = twins

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args = self._exchange(args)
        if not kwargs:
            return func(*args)
        return func(*args, **dict(zip(kwargs, self._exchange(kwargs.values()), strict=True)))

    def _exchange(self, values: Iterable[Any]) -> list[Any]:
        twins = self._twins
        return [
            twins.get(id(x), x) if isinstance(x, Tensor)
            else type(x)(self._exchange(x)) if type(x) in (tuple, list)
            else x
            for x in values
        ]  # fmt: skip
