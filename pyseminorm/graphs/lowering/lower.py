"""From a captured graph to Julia source."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ..joint_graph import JointGraph
from ..split import Parts
from .ops import DECOMPOSITIONS
from .writer import Writer


def lower(graph: JointGraph, sources: list[Tensor]) -> Writer:
    """Write Julia code for a graph that reads ``sources``; raise a LoweringError that names what the table lacks."""
    return Writer(Parts(simplify(graph, sources)), graph.examples[0].dtype)


def simplify(graph: JointGraph, sources: list[Tensor], *, merge: bool = True) -> JointGraph:
    """Write the same graph by the operations that the table has; ``merge``: what is computed twice, once."""
    examples = [*graph.examples, *(x.detach() for x in sources)]
    with torch.no_grad():
        module: fx.GraphModule = make_fx(graph.module, decomposition_table=DECOMPOSITIONS)(*examples)
    if merge:
        _merge_equal(module.graph)
    module.graph.eliminate_dead_code()
    return dataclasses.replace(graph, module=module)


def _merge_equal(graph: fx.Graph) -> None:
    """Leave one node for all that compute the same."""
    known: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or "nondeterministic_seeded" in str(getattr(node.target, "tags", "")):
            continue
        key = (node.target, repr(node.args), repr(node.kwargs))
        same = known.setdefault(key, node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
