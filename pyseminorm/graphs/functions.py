"""A joint graph as Python functions of a few lines: plain torch calls, without modules and without autograd."""

from __future__ import annotations

import linecache
import math
import operator
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..torch_internals import aten_operations
from .capture import define
from .joint_graph import JointGraph
from .split import Parts, Wanted
from .views import leave_out_views

# torch's own bindings of ATen operations start faster than torch.ops.aten's; these take the same arguments.
_BINDINGS: dict[Any, Any] = {
    operation: getattr(torch, name) if hasattr(torch, name) else getattr(Tensor, name)
    for operation in aten_operations(
        default="abs addmm bmm cat cos exp expand index_select log mm mv neg permute relu sigmoid sin sqrt t tanh "
        "unsqueeze view",
        Tensor="add bucketize div mul sub",
        Tensor_Scalar="pow",
        dim_IntList="sum",
        dim="squeeze",
        int="select transpose unbind",
        self="where",
    )
    if (name := operation.__name__.partition(".")[0])
}


class Functions:
    """The parts of a graph as functions.

    ``constants(*sources)`` is all that stays the same in a solve, and that the others take first; ``primal(constants,
    t, *y)`` gives the leaves of f, and what products read; ``adjoint`` makes ``(constants, t, y, saved, *adjoint)``,
    which gives products in the order of `Wanted.nodes`, None for zeros.
    """

    def __init__(self, graph: JointGraph, compiler: Callable[[Any], Any] | None = None) -> None:
        graph = self.graph = leave_out_views(graph)
        parts = self._parts = Parts(graph)
        self._compiler = compiler
        self._names = {node: f"v{i}" for i, node in enumerate(graph.module.graph.nodes)}
        self._t, self._y = parts.arguments[0], parts.arguments[1 : 1 + graph.leaves]
        self._a = parts.arguments[1 + graph.leaves :]
        self._kept = [*parts.sources, *parts.constant]
        self._saved = parts.saved()
        self.constants = self._function(parts.sources, "", parts.constant, self._tuple(self._kept))
        values = f"[{self._list(graph.outputs.value)}], {self._tuple(self._saved)}"
        head, arguments = self._unpack(self._kept, "constants"), [self._t, *self._y]
        self.primal = self._compile(self._function(arguments, head, parts.primal, values, "constants"))
        self._adjoints: dict[Wanted, Callable[..., list[Tensor | None]]] = {}

    def adjoint(self, wanted: Wanted) -> Callable[..., list[Tensor | None]]:
        if wanted not in self._adjoints:
            nodes = self._parts.adjoint_for(wanted)
            taken = (self._kept, "constants"), (self._y, "y"), (self._saved, "saved")
            head = "".join(self._unpack(*each) for each in taken)
            results = f"[{self._list(wanted.nodes(self._parts.graph))}]"
            first = f"constants, {self._names[self._t]}, y, saved"
            self._adjoints[wanted] = self._compile(self._function(self._a, head, nodes, results, first))
        return self._adjoints[wanted]

    def _compile(self, function: Any) -> Any:
        return function if self._compiler is None else self._compiler(function)

    def _function(
        self, arguments: Sequence[fx.Node], head: str, nodes: Sequence[fx.Node], result: str, first: str = ""
    ) -> Any:
        space: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "device": torch.device, "torch": torch}
        lines = [f"def function({', '.join([first] * bool(first) + [self._names[n] for n in arguments])}):\n", head]
        lines += [f"    {self._names[node]} = {self._call(node, space)}\n" for node in nodes]
        name = define("".join([*lines, f"    return {result}\n"]), space)
        function = space["function"]
        weakref.finalize(function, linecache.cache.pop, name, None)
        return function

    def _call(self, node: fx.Node, space: dict[str, Any]) -> str:
        target: Any = node.target
        if target is operator.getitem:
            return f"{self._text(node.args[0])}[{node.args[1]!r}]"
        binding = target if node.kwargs else _BINDINGS.get(target, target)
        name = f"op_{target.__name__.replace('.', '_')}"
        space[name] = binding
        arguments = [self._text(x) for x in node.args] + [f"{k}={self._text(x)}" for k, x in node.kwargs.items()]
        return f"{name}({', '.join(arguments)})"

    def _text(self, x: Any) -> str:
        if isinstance(x, fx.Node):
            return self._names[x]
        if isinstance(x, (list, tuple)):
            return f"[{', '.join(self._text(i) for i in x)}]"
        return repr(x)

    def _list(self, nodes: Iterable[fx.Node | None]) -> str:
        return ", ".join("None" if n is None else self._names[n] for n in nodes)

    def _tuple(self, nodes: Sequence[fx.Node]) -> str:
        return f"({self._list(nodes)},)" if nodes else "()"

    def _unpack(self, nodes: Sequence[fx.Node], name: str) -> str:
        return f"    {self._list(nodes)}, = {name}\n" if nodes else ""
