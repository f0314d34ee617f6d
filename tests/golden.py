"""Graphs that were captured once, kept as text beside the Julia code that they are lowered to."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from pyseminorm.graphs.joint_graph import JointGraph
from pyseminorm.graphs.lowering.ops import simplify
from pyseminorm.graphs.lowering.writer import Writer

FOLDER = Path(__file__).parent / "data" / "golden"
NAMES = ("mlp", "wide mlp", "time", "normed", "attention", "flow", "in place", "elementary", "nested")


@dataclass
class Golden:
    """A joint graph as text.

    Attributes:
        leaves: how many leaves the state has.
        params: the shapes of the parameters.
        inputs: the shapes of t, the leaves of y, those of the adjoint, then of the sources.
        dtypes: of the inputs, by name.
        code: a function ``forward(self, ...)`` of the inputs, made of operations that have Julia code.
    """

    leaves: int
    params: list[tuple[int, ...]]
    inputs: list[tuple[int, ...]]
    dtypes: list[str]
    code: str

    @classmethod
    def of(cls, graph: JointGraph, sources: list[Tensor]) -> Golden:
        """The text of a captured graph."""
        module = simplify(graph, sources).module
        tensors = [*graph.examples, *sources]
        shapes, dtypes = [tuple(x.shape) for x in tensors], [str(x.dtype).removeprefix("torch.") for x in tensors]
        return cls(graph.leaves, graph.param_shapes, shapes, dtypes, module.graph.python_code("self").src.strip())

    @classmethod
    def read(cls, name: str) -> Golden:
        """The graph that was kept under a name."""
        head, code = (FOLDER / f"{name}.fx").read_text().split("\n\n", 1)
        return cls(*(ast.literal_eval(line.split(" = ")[1]) for line in head.splitlines()), code.strip())

    def write(self, name: str) -> None:
        fields = ("leaves", "params", "inputs", "dtypes")
        head = "".join(f"{field} = {getattr(self, field)!r}\n" for field in fields)
        (FOLDER / f"{name}.fx").write_text(f"{head}\n{self.code}\n")

    def tensors(self) -> list[Tensor]:
        """Inputs of these shapes, of numbers from a formula."""
        tensors = []
        for shape, dtype in zip(self.inputs, self.dtypes, strict=True):
            n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
            tensors.append((torch.sin(1.3 * n + len(tensors)) * 0.7).reshape(shape).to(getattr(torch, dtype)))
        return tensors

    def function(self) -> Callable[..., Any]:
        """The graph as a function of its inputs."""
        space = {"torch": torch, "device": torch.device, "fx_pytree": fx._pytree}
        exec(self.code, space)
        return lambda *tensors: space["forward"](None, *tensors)

    def graph(self) -> tuple[JointGraph, list[Tensor]]:
        """The graph, with tensors for its sources."""
        tensors, count = self.tensors(), 1 + 2 * self.leaves
        module = make_fx(self.function())(*tensors)
        return JointGraph(module, [], self.leaves, self.params, tensors[:count]), tensors[count:]

    def lowered(self) -> Writer:
        """What the graph is lowered to."""
        return Writer(*self.graph())
