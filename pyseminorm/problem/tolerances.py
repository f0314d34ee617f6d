"""Tolerances: one number for the whole state, or one for every element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..arguments import check_scalar
from ..errors import InvalidInputError
from ..torch_internals import pytree
from .state import StateSpec

Tolerance = float | Tensor


def check_tolerance(name: str, value: Any, spec: StateSpec) -> Tolerance:
    """Return a positive tolerance as a number, or, of a tensor or parts like a nested state, as a vector (size,)."""
    if not isinstance(value, (tuple, list, dict)) and (not isinstance(value, Tensor) or value.numel() == 1):
        return check_scalar(name, value)
    vector = torch.cat([part.reshape(-1) for part in _expand(name, value, spec)])
    if not bool(((vector > 0) & torch.isfinite(vector)).all()):
        raise InvalidInputError(f"{name} contains numbers that are not positive and finite.")
    return vector


def _expand(name: str, value: Any, spec: StateSpec) -> Iterator[Tensor]:
    """Return the tolerances of every leaf's elements; of both parts of a complex number the same."""
    leaves = [value] if spec.is_tensor and isinstance(value, Tensor) else pytree.tree_leaves(value)
    if len(leaves) != len(spec.shapes):
        raise InvalidInputError(f"{name} has {len(leaves)} parts: expected {len(spec.shapes)}, one for a leaf of y0.")
    for part, shape in zip(leaves, spec.shapes, strict=True):
        given = torch.as_tensor(part, dtype=spec.real_dtype, device=spec.device).detach()
        try:
            expanded = given.expand(shape)
        except RuntimeError:
            raise InvalidInputError(
                f"{name} has shape {tuple(given.shape)}: expected one that expands to {shape}, that of y0."
            ) from None
        yield torch.stack([expanded, expanded], dim=-1) if spec.is_complex else expanded


def check_fits(dtype: torch.dtype, numbers: Mapping[str, float | None]) -> None:
    """Refuse a number that the state's dtype does not hold."""
    most = torch.finfo(dtype).max
    for name, number in numbers.items():
        if isinstance(number, float) and abs(number) > most:
            raise InvalidInputError(f"{name} = {number!r} is beyond {dtype}, the state's dtype: at most {most:.3g}.")
