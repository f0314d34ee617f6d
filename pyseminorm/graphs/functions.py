"""A joint graph as Python functions of a few lines: plain torch calls, without modules and without autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .joint_graph import JointGraph
from .python_code import PythonCode
from .split import Parts, Wanted
from .time_part import TimePart
from .views import are_views, leave_out_views


class Functions:
    """The parts of a graph as functions.

    ``constants(*sources)`` is all that stays the same in a solve, and that the others take first; ``primal(constants,
    t, *y)`` gives the leaves of f, and what products read; ``adjoint`` makes ``(constants, t, y, saved, *adjoint)``,
    which gives products in the order of `Wanted.nodes`, None for zeros. ``time_part`` makes ``primal`` for several
    times; None where it is not worth it. ``constants_are_views``: of the sources.
    """

    def __init__(self, graph: JointGraph, compiler: Callable[[Any], Any] | None = None) -> None:
        graph = self.graph = leave_out_views(graph)
        parts = self._parts = Parts(graph)
        self._compiler = compiler
        code = self._code = PythonCode()
        code.name(graph.module.graph.nodes)
        self._t, self._y = parts.arguments[0], parts.arguments[1 : 1 + graph.leaves]
        self._a = parts.arguments[1 + graph.leaves :]
        # of the constants what the others read, which is no tuple of results
        self._kept = [*parts.sources, *(n for n in parts.constant if not n.users.keys() <= set(parts.constant))]
        self._saved = parts.saved()
        self.constants_are_views = are_views(parts.constant)
        self.constants = code.function(parts.sources, "", parts.constant, code.tuple_of(self._kept))
        values = f"[{code.names(graph.outputs.value)}], {code.tuple_of(self._saved)}"
        head, arguments = code.unpack(self._kept, "constants"), [self._t, *self._y]
        self.primal = self._compile(code.function(arguments, head, parts.primal, values, "constants"))
        self.time_part = TimePart.of(code, parts, self._kept, values) if compiler is None else None
        self._adjoints: dict[Wanted, Callable[..., list[Tensor | None]]] = {}

    def adjoint(self, wanted: Wanted) -> Callable[..., list[Tensor | None]]:
        code = self._code
        if wanted not in self._adjoints:
            nodes = self._parts.adjoint_for(wanted)
            taken = (self._kept, "constants"), (self._y, "y"), (self._saved, "saved")
            head = "".join(code.unpack(*each) for each in taken)
            results = f"[{code.names(wanted.nodes(self._parts.graph))}]"
            first = f"constants, {code.names([self._t])}, y, saved"
            self._adjoints[wanted] = self._compile(code.function(self._a, head, nodes, results, first))
        return self._adjoints[wanted]

    def _compile(self, function: Any) -> Any:
        return function if self._compiler is None else self._compiler(function)
