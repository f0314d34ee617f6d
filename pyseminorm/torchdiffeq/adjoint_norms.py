"""Norms of the backward solve that torchdiffeq's functions are given, as those of `BacksolveAdjoint`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..adjoints import AdjointNorm
from ..norms import AdjointState


def adjoint_norm(norm: Any, state_norm: Any) -> AdjointNorm:
    """Return the norm of the backward solve: a name, or what takes an `AdjointState`; None is our seminorm.

    A callable ``norm`` takes torchdiffeq's tuple; a callable ``state_norm``, of the forward solve, measures lambda and
    y in the seminorm, as there.
    """
    if callable(norm):
        return _from_tuple(norm)
    if callable(state_norm) and norm in (None, "seminorm"):
        return lambda state: max(state_norm(state.y), state_norm(state.adjoint))
    return "seminorm_leaves" if norm in (None, "seminorm") else norm


def as_tuple(state: AdjointState) -> tuple[Any, ...]:
    """Return a backward state as torchdiffeq's (a_t, y, adj_y, *params), with the leaves of a tuple y in its place."""
    y, adjoint = ((x,) if isinstance(x, Tensor) else tuple(x) for x in (state.y, state.adjoint))
    return (adjoint[0].real.new_zeros(()), *y, *adjoint, *state.params)


def _from_tuple(norm: Callable[[tuple[Any, ...]], Any]) -> Callable[[AdjointState], Any]:
    return lambda state: norm(as_tuple(state))
