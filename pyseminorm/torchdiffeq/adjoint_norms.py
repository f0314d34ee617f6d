"""Norms of the backward solve: as torchdiffeq's functions are given them, and in `grad_fn.adjoint_options`, where code
for torchdiffeq finds, and may replace, the one of a solve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..adjoints import AdjointNorm
from ..norms import AdjointLayout, AdjointState, Seminorm, adjoint_segments
from ..passes.autograd import SolveContext
from ..torch_internals import flatten_tree


def adjoint_norm(norm: Any, state_norm: Any) -> AdjointNorm:
    """Return the norm of the backward solve: a name, or what takes an `AdjointState`; None is our seminorm.

    A callable ``norm`` takes torchdiffeq's tuple; a callable ``state_norm``, of the forward solve, measures lambda and
    y in the seminorm, as there.
    """
    if callable(norm):
        return lambda state: norm(as_tuple(state))
    if callable(state_norm) and norm in (None, "seminorm"):
        return lambda state: max(state_norm(state.y), state_norm(state.adjoint))
    return "seminorm_leaves" if norm in (None, "seminorm") else norm


def as_tuple(state: AdjointState) -> tuple[Any, ...]:
    """Return a backward state as torchdiffeq's (a_t, y, adj_y, *params), with the leaves of a tuple y in its place."""
    y, adjoint = ((x,) if isinstance(x, Tensor) else tuple(x) for x in (state.y, state.adjoint))
    return (adjoint[0].real.new_zeros(()), *y, *adjoint, *state.params)


class AdjointOptions(dict[str, Any]):
    """The options of a backward solve; an assignment to "norm" is that solve's norm.

    As in torchdiffeq, the norm takes (a_t, y, adj_y, *adj_params), where y of a tuple is one vector.
    """

    def __init__(self, given: Mapping[str, Any], context: SolveContext) -> None:
        super().__init__(given)
        self._context = context
        super().__setitem__("norm", _shown_norm(context))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if key == "norm":
            adjoint: Any = self._context.adjoint
            self._context.adjoint = dataclasses.replace(adjoint, norm=_of_flat(value, self._context))


def show_adjoint_options(ys: Any, given: Mapping[str, Any]) -> None:
    """Attach the options to the node of autograd that has solved ``ys``, where there is one."""
    node: Any = flatten_tree(ys)[0][0].grad_fn
    while node is not None and not hasattr(node, "context"):
        node = node.next_functions[0][0] if node.next_functions else None
    if node is not None:
        node.adjoint_options = AdjointOptions(given, node.context)


def _of_flat(norm: Callable[[tuple[Any, ...]], Any], context: SolveContext) -> Callable[[AdjointState], Any]:
    """Return a norm of a flat y as one of an `AdjointState`."""
    flat = context.spec.to_tensor
    return lambda state: norm(as_tuple(state._replace(y=flat(state.y), adjoint=flat(state.adjoint))))


def _shown_norm(context: SolveContext) -> Callable[[tuple[Tensor, ...]], Any]:
    """Return the norm of the backward solve, of a flat y."""
    spec, norm = context.spec, context.adjoint.norm
    if callable(norm):
        return lambda parts: norm(AdjointState(spec.from_tensor(parts[2]), spec.from_tensor(parts[1]), parts[3:]))

    def named(parts: tuple[Tensor, ...]) -> Tensor:
        a_t, y, adjoint, *params = (x.reshape(-1) for x in parts)
        has_time = str(norm).startswith("torchdiffeq")
        layout = AdjointLayout(spec.sizes, tuple(x.numel() for x in params), has_y=True, has_time=has_time)
        z = torch.cat([adjoint, y, *([a_t] if has_time else []), *params])
        return y.new_tensor(Seminorm(adjoint_segments(str(norm), layout))(z))

    return named
