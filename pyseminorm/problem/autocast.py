"""Automatic mixed precision: func runs under the autocast setting of the solve's caller, the solver never does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch


def under_autocast(func: Callable[..., Any], device: str, dtype: torch.dtype | None) -> Callable[..., Any]:
    """Return func, called under the autocast setting of a type of device; ``dtype`` None: as it is.

    Without the cache of cast weights: what was cast without gradient would be used again where a product is made.
    """
    if dtype is None:
        return func

    def call(*args: Any) -> Any:
        with torch.autocast(device, dtype=dtype, cache_enabled=False):
            return func(*args)

    return call


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return what autocast casts to on a type of device; None where it is off."""
    if _BY_DEVICE:
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":  # before torch 2.4
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context that the solver computes in: in the state's own dtype, whatever the caller's setting."""
    if autocast_dtype(device.type) is not None:
        return torch.autocast(device.type, enabled=False)
    return _AS_IT_IS


_BY_DEVICE = hasattr(torch, "get_autocast_dtype")  # since torch 2.4
_AS_IT_IS: AbstractContextManager[Any] = contextlib.nullcontext()
