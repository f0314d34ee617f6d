"""A joint graph in three parts: what is the same for a whole solve, f, and what only its product needs."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from .joint_graph import JointGraph


@dataclass(frozen=True)
class Wanted:
    """Which products with the Jacobian are asked for."""

    state: bool = True
    params: bool = True
    time: bool = False

    def nodes(self, graph: JointGraph) -> list[fx.Node | None]:
        outputs = graph.outputs
        return [
            *(outputs.state if self.state else ()),
            *(outputs.params if self.params else ()),
            *((outputs.time,) if self.time else ()),
        ]


class Parts:
    """The parts of a graph, each in order of execution.

    ``constant`` depends on the sources alone and is evaluated once a solve; ``primal`` is what else f needs, and all
    results of an operation that has several, of which ``timed`` depends on the time alone (and the sources);
    ``adjoint`` is all that remains.
    """

    def __init__(self, graph: JointGraph) -> None:
        inputs = graph.inputs
        self.graph = graph
        self.arguments, self.sources = inputs[: 1 + 2 * graph.leaves], inputs[1 + 2 * graph.leaves :]
        nodes = [node for node in graph.module.graph.nodes if node.op not in ("placeholder", "output")]
        varying, moving = readers_of(self.arguments, nodes), readers_of(self.arguments[1:], nodes)
        for_value = needed_for(graph.outputs.value)
        for_value |= {n for n in nodes if n.target is operator.getitem and n.args[0] in for_value}  # tensors are saved
        self.constant = [n for n in nodes if n not in varying]
        self.primal = [n for n in nodes if n in varying and n in for_value]
        self.timed = [n for n in self.primal if n not in moving]
        self.adjoint = [n for n in nodes if n in varying and n not in for_value]

    def adjoint_for(self, wanted: Wanted) -> list[fx.Node]:
        """Return what of the adjoint part some products need."""
        needed = needed_for(wanted.nodes(self.graph))
        return [n for n in self.adjoint if n in needed]

    def saved(self) -> list[fx.Node]:
        """Return nodes of the primal part that the adjoint part reads, or that products are."""
        readers = set(self.adjoint)
        results = set(Wanted(time=True).nodes(self.graph))
        return [n for n in self.primal if n in results or any(user in readers for user in n.users)]


def readers_of(inputs: Iterable[fx.Node], nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Return the inputs, and those of the nodes, in order of execution, that depend on any."""
    found = set(inputs)
    for node in nodes:
        if any(x in found for x in node.all_input_nodes):
            found.add(node)
    return found


def needed_for(nodes: Iterable[fx.Node | None]) -> set[fx.Node]:
    """Return the nodes and all that they depend on."""
    found: set[fx.Node] = set()
    stack = [n for n in nodes if n is not None]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += node.all_input_nodes
    return found
