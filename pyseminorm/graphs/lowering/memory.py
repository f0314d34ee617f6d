"""Where values of a lowered graph lie: flat buffers, and strided views of them, as torch lays out tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(eq=False)
class Buffer:
    """A stretch of memory that Julia code sees as a pointer of this name; ``size`` in elements."""

    name: str
    size: int


@dataclass(frozen=True)
class View:
    """A strided view, zero based: element (i, j, ...) lies at offset + i * strides[0] + j * strides[1] + ...

    ``boolean`` views hold ones and zeros in the dtype of everything else.
    """

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0
    boolean: bool = False

    @classmethod
    def whole(cls, buffer: Buffer, shape: Shape, *, boolean: bool = False) -> View:
        return cls(buffer, shape, contiguous(shape), 0, boolean)

    @property
    def is_whole(self) -> bool:
        """Whether this is all of its buffer, in order."""
        tensor = self.tensor
        return self.offset == 0 and tensor.is_contiguous() and tensor.numel() == self.buffer.size

    @property
    def tensor(self) -> Tensor:
        """A tensor that lies so, without memory."""
        return torch.empty_strided(self.shape, self.strides, device="meta")

    def look(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the view or views that an operation of torch makes of a tensor; None where strides cannot say it."""
        try:
            made = operation(self.tensor, *args, **kwargs)
        except RuntimeError:
            return None
        return list(map(self._over, made)) if isinstance(made, (list, tuple)) else self._over(made)

    def _over(self, x: Tensor) -> View:
        """Return the same memory, laid out as a view of the tensor that stood for it."""
        offset = self.offset + int(x.storage_offset())
        return replace(self, shape=tuple(x.shape), strides=x.stride(), offset=offset)


def contiguous(shape: Sequence[int]) -> Shape:
    """Return the strides of a row-major array."""
    return torch.empty(tuple(shape), device="meta").stride()
