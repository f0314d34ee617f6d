"""torchdiffeq's module of this name: its norms, of a tensor or of a tuple of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def _linf_norm(tensor: Tensor) -> Tensor:
    """Return the largest absolute value."""
    return tensor.abs().max()


def _rms_norm(tensor: Tensor) -> Tensor:
    """Return the root mean square."""
    return tensor.abs().pow(2).mean().sqrt()


def _zero_norm(tensor: Tensor) -> float:
    """Return 0, whatever the tensor."""
    return 0.0


def _mixed_norm(tensors: Sequence[Tensor]) -> Tensor | float:
    """Return the largest root mean square of a tuple's tensors, 0 for none."""
    return max(map(_rms_norm, tensors)) if tensors else 0.0
