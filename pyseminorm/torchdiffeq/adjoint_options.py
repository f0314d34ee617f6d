"""`grad_fn.adjoint_options`, where code for torchdiffeq finds, and may replace, the norm of the backward solve."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..norms import AdjointLayout, AdjointState, Seminorm, adjoint_segments
from ..passes.autograd import SolveContext
from ..torch_internals import flatten_tree
from .adjoint_norms import as_tuple


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
    spec = context.spec

    def on_state(state: AdjointState) -> Any:
        return norm(as_tuple(state._replace(y=spec.to_tensor(state.y), adjoint=spec.to_tensor(state.adjoint))))

    return on_state


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
