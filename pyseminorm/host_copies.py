"""What goes between the host and a device: the only places that wait for one, each for one number or a few.

From a CUDA device a number comes by an asynchronous copy into pinned memory; the event behind it is waited for.
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read(x: Tensor) -> Any:
    """Return the elements of a tensor as Python numbers, in lists as ``x.tolist()`` has them."""
    there = _fetch(x) if x.is_cuda else x
    try:
        return there.tolist()
    except RuntimeError:  # inside a transform of torch.func, which older versions of PyTorch read numbers in alone
        return _read_singly(there)


def _read_singly(x: Tensor) -> Any:
    return x.item() if x.dim() == 0 else [_read_singly(row) for row in x]


def read_each(tensors: Sequence[Tensor]) -> list[list[Any]]:
    """Return the elements of short vectors of one length, in one copy from a device."""
    if tensors[0].is_cuda:
        return read(torch.stack(tuple(tensors)))  # type: ignore[no-any-return]
    return [x.tolist() for x in tensors]


def read_number(x: Tensor) -> Any:
    """Return the only element of a tensor as a Python number."""
    return (_fetch(x) if x.is_cuda else x).item()


def is_short(x: Tensor) -> bool:
    """Tell whether the elements of a tensor are looked at faster by Python than by a call of PyTorch."""
    return x.is_cpu and x.numel() <= SHORT


SHORT = 32


def read_length(x: Tensor) -> float:
    """Return the 2-norm of a vector."""
    if is_short(x):
        return math.hypot(*map(abs, read(x.reshape(-1))))
    length: float = read_number(torch.linalg.vector_norm(x))
    return length


def are_equal(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors of one shape and device have the same elements."""
    return bool(read_number((a == b).all())) if a.is_cuda else torch.equal(a, b)


def send(x: Tensor, like: Tensor) -> Tensor:
    """Return a tensor of the host on the device of ``like``, without a wait."""
    if like.is_cpu:
        return x
    return x.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else x.to(like.device)


def send_numbers(numbers: Sequence[Any], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers (or rows of them) as a tensor like another, of its dtype or one given, without a wait."""
    kind = dtype or like.dtype
    code, known = _CODES.get(kind), _NUMPY.get(kind)  # PyTorch takes three times as long for numbers of Python's
    if code is not None and numbers and type(numbers[0]) is float:
        made = torch.frombuffer(array.array(code, numbers), dtype=kind)
    else:
        made = torch.tensor(numbers, dtype=kind) if known is None else torch.from_numpy(np.array(numbers, dtype=known))
    return send(made, like)


_CODES = {torch.float32: "f", torch.float64: "d"}
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.long: np.int64}


def _fetch(x: Tensor) -> Tensor:
    """Return a copy in the memory of the host, once it is there."""
    pinned = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    pinned.copy_(x.detach(), non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(x.device))
    event.synchronize()
    return pinned
