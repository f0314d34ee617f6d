"""Where values of a lowered graph lie: flat buffers, and strided views of them, as torch lays out tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
    boolean: bool = field(default=False)

    @classmethod
    def whole(cls, buffer: Buffer, shape: Shape, *, boolean: bool = False) -> View:
        return cls(buffer, shape, contiguous(shape), 0, boolean)

    @property
    def is_whole(self) -> bool:
        """Whether this is all of its buffer, in order."""
        return self.offset == 0 and self.is_contiguous and math.prod(self.shape) == self.buffer.size

    @property
    def is_contiguous(self) -> bool:
        expected = contiguous(self.shape)
        return all(n == 1 or s == e for n, s, e in zip(self.shape, self.strides, expected, strict=True))

    def as_strided(self, shape: Sequence[int], strides: Sequence[int], offset: int | None = None) -> View:
        at = self.offset if offset is None else offset
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=at)

    def permute(self, dims: Sequence[int]) -> View:
        dims = [d % len(self.shape) for d in dims]
        return self.as_strided([self.shape[d] for d in dims], [self.strides[d] for d in dims])

    def expand(self, shape: Sequence[int]) -> View:
        """Broadcast to a shape (-1: as it is), new dimensions in front."""
        lead = len(shape) - len(self.shape)
        sizes = [n if n != -1 else self.shape[i - lead] for i, n in enumerate(shape)]
        own = zip(self.shape, self.strides, sizes[lead:], strict=True)
        strides = [0] * lead + [0 if n == 1 and wanted != 1 else s for n, s, wanted in own]
        return self.as_strided(sizes, strides)

    def select(self, dim: int, index: int) -> View:
        dim %= len(self.shape)
        index %= self.shape[dim]
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + index * strides[dim]
        del shape[dim], strides[dim]
        return self.as_strided(shape, strides, offset)

    def slice(self, dim: int, start: int | None, end: int | None, step: int = 1) -> View:
        dim %= len(self.shape)
        first, last, _ = slice(start, end, step).indices(self.shape[dim])
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + first * strides[dim]
        shape[dim], strides[dim] = len(range(first, last, step)), strides[dim] * step
        return self.as_strided(shape, strides, offset)

    def unsqueeze(self, dim: int) -> View:
        dim %= len(self.shape) + 1
        shape, strides = list(self.shape), list(self.strides)
        shape.insert(dim, 1)
        strides.insert(dim, 0)
        return self.as_strided(shape, strides)

    def squeeze(self, dims: Sequence[int] | None = None) -> View:
        rank = len(self.shape)
        drop = set(range(rank)) if dims is None else {d % rank for d in dims} if rank else set()
        kept = [d for d in range(rank) if d not in drop or self.shape[d] != 1]
        return self.as_strided([self.shape[d] for d in kept], [self.strides[d] for d in kept])

    def reshape(self, shape: Sequence[int]) -> View | None:
        """Return a view with another shape of as many elements; None where strides cannot say it."""
        known = math.prod(n for n in shape if n != -1)
        sizes = [n if n != -1 else math.prod(self.shape) // max(known, 1) for n in shape]
        groups = _merge(self.shape, self.strides)
        strides: list[int] = []
        for extent, stride in reversed(groups):
            rest = extent
            while rest > 1 or (sizes[len(sizes) - len(strides) - 1 :][:1] == [1] and len(strides) < len(sizes)):
                if len(strides) == len(sizes):
                    return None
                n = sizes[len(sizes) - len(strides) - 1]
                if n == 1:
                    strides.append(0)
                    continue
                if rest % n:
                    return None
                strides.append(stride)
                stride, rest = stride * n, rest // n
        strides += [0] * (len(sizes) - len(strides))
        return self.as_strided(sizes, strides[::-1])


def contiguous(shape: Sequence[int]) -> Shape:
    """Return the strides of a row-major array."""
    strides = [1]
    for n in reversed(shape[1:]):
        strides.append(strides[-1] * n)
    return tuple(reversed(strides))[: len(shape)]


def _merge(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return (extent, stride) of dimensions, those joined that one stride can go through."""
    groups: list[tuple[int, int]] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if groups and groups[-1][1] == s * n:
            groups[-1] = (groups[-1][0] * n, s)
        else:
            groups.append((n, s))
    return groups


def broadcast(*shapes: Sequence[int]) -> Shape:
    """Return the common shape of operands."""
    rank = max((len(s) for s in shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return tuple(max(ns) if 0 not in ns else 0 for ns in zip(*padded, strict=True))
