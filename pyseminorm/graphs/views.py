"""A joint graph without views that change nothing: where it runs call by call, each costs half as much as a layer.

A product of matrices that sums over one element is a multiplication there, too, which takes half the time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from ..torch_internals import aten_operations
from .joint_graph import JointGraph

aten = torch.ops.aten

# Of the graph's tensors, which nothing changes in place, these are the same.
_SAME = frozenset(aten_operations(default="alias detach lift_fresh_copy"))
# Views of all elements, from where the tensor begins.
_VIEWS = _SAME.union(
    aten_operations(default="_unsafe_view expand permute t unsqueeze view", int="transpose", dim="squeeze")
)


def leave_out_views(graph: JointGraph) -> JointGraph:
    """Return a copy of a graph without views that are as what they are views of, or as what that is a view of."""
    copy = fx.Graph()
    outputs = copy.graph_copy(graph.module.graph, {})
    copy.output(outputs)
    for node in copy.nodes:
        same = _find_same(node)
        if same is not None:
            node.replace_all_uses_with(same)
        elif node.target is aten.view.default and _drops_kept_axes(node.args[0], node):
            total: Any = node.args[0]
            node.target, node.args = total.target, total.args[:2]
        elif node.target is aten.bmm.default and _multiplies(node):
            node.target = aten.mul.Tensor
    copy.eliminate_dead_code()
    return dataclasses.replace(graph, module=fx.GraphModule(graph.module, copy))


def are_views(nodes: Iterable[fx.Node]) -> bool:
    """Tell whether all nodes are views of what they are made of."""
    return all(node.op == "call_function" and node.target in _VIEWS for node in nodes)


def _find_same(node: fx.Node) -> fx.Node | None:
    """Return the first one in a chain of views, or what it is of, with the shape and the strides of its end."""
    found, at = None, node
    while at.op == "call_function" and at.target in _VIEWS:
        source: Any = at.args[0]
        at = source
        if (at is node.args[0] and node.target in _SAME) or _layout(at) == _layout(node):
            found = at
    return found


def _drops_kept_axes(total: Any, node: fx.Node) -> bool:
    """Tell whether a view leaves out the axes that a sum over them has kept, so that a sum makes it at once."""
    if total.target is not aten.sum.dim_IntList or len(total.args) != 3 or total.kwargs:
        return False
    summed = total.args[0].meta["val"]
    axes = {axis % summed.dim() for axis in total.args[1]}
    return tuple(node.meta["val"].shape) == tuple(n for i, n in enumerate(summed.shape) if i not in axes)


def _multiplies(product: fx.Node) -> bool:
    """Tell whether a product is the multiplication of its factors by elements, laid out in the same way."""
    factors = [x.meta["val"] for x in product.all_input_nodes]
    if len(factors) != 2 or factors[0].shape[2] != 1:
        return False
    a, b = (torch.empty_strided(x.shape, x.stride(), device="meta") for x in factors)
    return bool((a * b).stride() == product.meta["val"].stride())


def _layout(node: fx.Node) -> Any:
    value = node.meta["val"]
    return value.shape, value.stride()
