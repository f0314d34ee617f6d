"""Nodes of graphs as Python functions of a few lines: plain torch calls, without modules and without autograd."""

from __future__ import annotations

import linecache
import math
import operator
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..torch_internals import aten_operations
from .capture import define

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


class PythonCode:
    """Writes functions of nodes, each of which has one name in all of them."""

    def __init__(self) -> None:
        self._names: dict[fx.Node, str] = {}

    def name(self, nodes: Iterable[fx.Node]) -> None:
        """Give names to nodes."""
        for node in nodes:
            self._names[node] = f"v{len(self._names)}"

    def function(
        self, arguments: Sequence[fx.Node], head: str, nodes: Sequence[fx.Node], result: str, first: str = ""
    ) -> Any:
        """Return a function of what ``first`` names and of ``arguments``, which unpacks with ``head``, runs nodes, and
        returns an expression of names.
        """
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

    def names(self, nodes: Iterable[fx.Node | None]) -> str:
        return ", ".join("None" if n is None else self._names[n] for n in nodes)

    def tuple_of(self, nodes: Sequence[fx.Node]) -> str:
        return f"({self.names(nodes)},)" if nodes else "()"

    def unpack(self, nodes: Sequence[fx.Node], name: str) -> str:
        return f"    {self.names(nodes)}, = {name}\n" if nodes else ""
