"""Numbers of Python's, where Julia finds them: no other file asks a tensor for its address."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ....errors import InvalidInputError


def address(x: Tensor, dtype: torch.dtype) -> int:
    """Return where a tensor's elements lie; refuse one with gaps, another sign or dtype, or that Julia cannot read."""
    try:
        if x.dtype is dtype and x.is_contiguous() and not x.is_neg() and (x.is_cpu or x.is_cuda):
            return x.data_ptr()
    except RuntimeError:  # it has no memory of its own: sparse, fake
        pass
    raise InvalidInputError(
        f"a tensor of shape {tuple(x.shape)} cannot be handed to Julia: it is {x.dtype}, {x.layout}, on {x.device}; "
        f"expected {dtype}, its elements one after the other in memory. Give x.resolve_neg().contiguous()."
    )


def addresses(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Any]:
    """Return the `address` of each tensor: most often all are in order, which is seen without a call for each."""
    usual = set(map(_kind, tensors)) <= {(dtype, torch.strided, True)} and all(map(Tensor.is_contiguous, tensors))
    if usual and not any(map(Tensor.is_neg, tensors)):
        return list(map(Tensor.data_ptr, tensors))
    return [address(x, dtype) for x in tensors]


_kind = operator.attrgetter("dtype", "layout", "is_cpu")


def consecutive(x: Tensor) -> Tensor:
    """Return a tensor whose `address` can be taken: itself, or a copy where it has gaps or is lazily negated."""
    if x.is_contiguous() and not x.is_neg():
        return x
    return x.resolve_conj().resolve_neg().contiguous()


_empty_like = functools.partial(torch.empty_like, memory_format=torch.contiguous_format)


def make_room(like: Sequence[Tensor]) -> tuple[list[Tensor], list[Any]]:
    """Make tensors like others for Julia to write, and return them with their addresses, which need no look."""
    made = list(map(_empty_like, like))
    return made, list(map(Tensor.data_ptr, made))


class Lent:
    """``tensors`` as they lay at ``addresses`` when handed to Julia: their memory lives as long as this object.

    Copies (``copied``) of those that lay in another way, or had another dtype. What becomes of one later
    (``p.data = new``) is not seen.
    """

    def __init__(self, tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
        try:
            self.tensors, self.addresses, self.copied = list(tensors), addresses(tensors, dtype), False
        except InvalidInputError:
            self.tensors = [consecutive(x if x.dtype is dtype else x.to(dtype)) for x in tensors]
            self.addresses, self.copied = addresses(self.tensors, dtype), True
        self._memory = list(map(Tensor.untyped_storage, self.tensors))


class Memory:
    """A tensor of ``count`` numbers at ``address``, which Julia reads as long as this object lives."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers.contiguous()
        self.address = address(self._numbers, numbers.dtype)
        self.count = numbers.numel()


# Every pass of a training loop gives the same, so that they are kept.


@functools.lru_cache(maxsize=64)
def doubles(values: tuple[float, ...]) -> Memory:
    """Return numbers as Float64; who asked holds them during the pass."""
    return Memory(torch.tensor(values, dtype=torch.float64))


@functools.lru_cache(maxsize=64)
def integers(values: tuple[int, ...]) -> Memory:
    """Return numbers as Int64; who asked holds them during the pass."""
    return Memory(torch.tensor(values, dtype=torch.int64))


def offsets_of(segments: Iterable[tuple[int, int]]) -> Memory:
    """Return start, stop, start, stop ... of segments of a vector."""
    return integers(tuple(itertools.chain.from_iterable(segments)))


@functools.lru_cache(maxsize=256)
def array_type(element: Any, length: int) -> Any:
    """Return a ctypes array type, kept: each one made anew is a reference cycle."""
    return element * length
