"""What of f depends on the time alone, such as an interpolated input, made for all stages of a step at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..host_copies import send_numbers
from .capture import capturing
from .python_code import PythonCode
from .split import Parts

Values = tuple[Tensor, ...]


class TimePart:
    """What of f depends on the time alone.

    ``rest(constants, t, values, *y)`` gives what `Functions.primal` does, from the values for a time.
    """

    def __init__(self, code: PythonCode, parts: Parts, kept: Sequence[fx.Node], result: str) -> None:
        self._code, time = code, parts.arguments[0]
        later = [n for n in parts.primal if n not in set(parts.timed)]
        read = {x for n in later for x in n.all_input_nodes}.union(parts.saved(), parts.graph.outputs.value)
        given = [n for n in parts.timed if n in read]
        head = code.unpack(kept, "constants")
        self._one = code.function([time], head, parts.timed, code.tuple_of(given), "constants")
        states, first = parts.arguments[1 : 1 + parts.graph.leaves], f"constants, {code.names([time])}, values"
        self.rest = code.function(states, head + code.unpack(given, "values"), later, result, first)
        self._many: dict[int, Callable[..., list[Tensor]] | None] = {}  # by the number of times

    @classmethod
    def of(cls, code: PythonCode, parts: Parts, kept: Sequence[fx.Node], result: str) -> TimePart | None:
        """Return the part, if it is worth it."""
        return cls(code, parts, kept, result) if len(parts.timed) >= FEWEST_CALLS else None

    def values(self, constants: Values, times: Sequence[float], like: Tensor) -> dict[float, tuple[Tensor, Values]]:
        """Return each time as a tensor, and the values for it; ``like``: a time. Nothing where that gains nothing."""
        many = self._find(len(times), constants, like) if len(times) > 1 else None
        if many is None:
            return {}
        together = send_numbers(times, like)
        rows = zip(together.unbind(0), zip(*(x.unbind(0) for x in many(constants, together)), strict=True), strict=True)
        return dict(zip(times, rows, strict=True))

    def _find(self, count: int, constants: Values, like: Tensor) -> Callable[..., list[Tensor]] | None:
        if count not in self._many:
            self._many[count] = self._make(count, constants, like)
        return self._many[count]

    def _make(self, count: int, constants: Values, like: Tensor) -> Callable[..., list[Tensor]] | None:
        """Return (constants, times) -> the values of all times, each stacked; None where they cannot be batched."""
        from torch.fx.experimental.proxy_tensor import make_fx  # which takes long to import

        def function(times: Tensor, *constants: Tensor) -> Any:
            return torch.vmap(lambda t: self._one(constants, t))(times)

        if sum(x.numel() for x in self._one(constants, like)) > MOST_NUMBERS:
            return None
        try:
            with capturing(), torch.no_grad():
                graph: Any = make_fx(function)(like.expand(count).clone(), *constants).graph
        except RuntimeError:  # of an operation that vmap cannot batch, such as one whose shape depends on values
            return None
        times, *given = (n for n in graph.nodes if n.op == "placeholder")
        nodes, results = [n for n in graph.nodes if n.op == "call_function"], graph.output_node().args[0]
        self._code.name(graph.nodes)
        head = self._code.unpack(given, "constants")
        made: Any = self._code.function([times], head, nodes, self._code.tuple_of(results), "constants")
        return made  # type: ignore[no-any-return]


FEWEST_CALLS = 4  # of the part: fewer gain nothing
MOST_NUMBERS = 2**15  # of the values for a time: with more, calls are not what costs
