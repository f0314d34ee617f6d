"""Loops over fused elementwise expressions, as Julia text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .memory import Shape, View


@dataclass(eq=False)
class Lazy:
    """An elementwise expression that is not in memory: a Julia template with {0}, {1} ... for its operands.

    These are broadcast against each other, and numbers are in the template; ``boolean``: it gives true or false.
    """

    template: str
    operands: list[Value]
    shape: Shape
    boolean: bool = False

    @classmethod
    def of(cls, template: str, *operands: Value | float, boolean: bool = False) -> Lazy:
        values = [x if isinstance(x, (View, Lazy)) else cls(number(x), [], ()) for x in operands]
        shape: Shape = torch.broadcast_shapes(*(x.shape for x in values))  # type: ignore[no-untyped-call]
        return cls(template, values, tuple(shape), boolean)

    @property
    def is_number(self) -> bool:
        """Whether it is the same number everywhere, known when the code is written."""
        return not self.operands


Value = View | Lazy


def as_boolean(x: Any) -> Any:
    """Return numbers as truth values; anything else as it is."""
    return Lazy.of("({0} != 0)", x, boolean=True) if isinstance(x, (View, Lazy)) and not x.boolean else x


@dataclass
class Statement:
    """Lines of Julia code, a loop or a call, with what they do to buffers.

    ``loads`` and ``stores``: (buffer, index) of the elements that a loop reads, and of those that it writes one by one;
    ``others``: buffers that it uses in another way, collects in, or gives to a function.
    """

    lines: list[str]
    loads: list[tuple[str, str]] = field(default_factory=list)
    stores: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The buffers that it uses."""
        return {name for name, _ in (*self.loads, *self.stores)}.union(self.others)


@dataclass
class Axis:
    """One loop: its extent and, for every view that is accessed, the stride."""

    extent: int
    strides: dict[View, int] = field(default_factory=dict)


class Nest:
    """A loop nest over ``shape``, the last axis innermost; an expression is written once, however often it is used."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._loads: dict[View, str] = {}
        self._known: dict[int, str] = {}
        self._kept: list[Lazy] = []  # ids stay theirs while they are here
        self._body: list[str] = []

    def value(self, x: Value) -> str:
        """Return the name of a value in the body."""
        if isinstance(x, View):
            at: View = x.look(Tensor.expand, self.shape)
            if at not in self._loads:
                self._loads[at] = f"x{len(self._loads)}"
            return self._loads[at]
        if id(x) not in self._known:
            self._kept.append(x)
            text = x.template.format(*(self.value(operand) for operand in x.operands))
            self._known[id(x)] = f"v{len(self._known)}"
            self._body.append(f"{self._known[id(x)]} = {text}")
        return self._known[id(x)]

    def write(self, to: View, x: Value, function: str = "store!") -> Statement:
        """Write to .= x, for ``to`` of the nest's shape, or collect by add!, max! or min! where its strides are 0."""
        name, axes = self._as_number(x), _axes(self.shape, [*self._loads, to])
        index = _index(to, axes)
        # Only the last axis is told to be free of dependencies: a sum along it has an accumulator of its own.
        body = [*self._evaluation(axes), f"{function}({to.buffer.name}, {name}, {index})"]
        stores = [(to.buffer.name, index)] if function == "store!" and not x.boolean else []
        others = [] if stores else [to.buffer.name]
        return Statement(_loops(axes, body, "@simd ivdep "), self._places(axes), stores, others)

    def accumulate(self, to: View, x: Value, function: str) -> Statement:
        """Collect as `write`, with a local accumulator along the last axis, where ``to`` does not move."""
        name, axes = self._as_number(x), _axes(self.shape, [*self._loads, to])
        step = f"s = {_COMBINED[function].format(name)}"
        sum_up = _loops(axes, [*self._evaluation(axes), step], "@simd ", outermost=len(axes) - 1)
        body = [f"s = {_STARTS[function]}", *sum_up, f"{function}({to.buffer.name}, s, {_index(to, axes)})"]
        return Statement(_loops(axes[:-1], body), self._places(axes), [], [to.buffer.name])

    def _as_number(self, x: Value) -> str:
        """Return the name of a value in the body, as a number."""
        name = self.value(x)
        return f"T({name})" if x.boolean else name

    def _evaluation(self, axes: Sequence[Axis]) -> list[str]:
        """Return the lines that load and compute."""
        lines = []
        for view, name in self._loads.items():
            got = f"load({view.buffer.name}, {_index(view, axes)})"
            lines.append(f"{name} = {got} != 0" if view.boolean else f"{name} = {got}")
        return lines + self._body

    def _places(self, axes: Sequence[Axis]) -> list[tuple[str, str]]:
        """Return what is loaded, and where."""
        return [(view.buffer.name, _index(view, axes)) for view in self._loads]


_COMBINED = {"add!": "s + {}", "max!": "larger(s, {})", "min!": "smaller(s, {})"}
_STARTS = {"add!": "zero(T)", "max!": "T(-Inf)", "min!": "T(Inf)"}


def reduce(to: View, x: Value, dims: Sequence[int], function: str) -> list[Statement]:
    """Collect ``x`` in ``to`` (in its shape with ones in the reduced dimensions) by add!, max! or min!."""
    shape = x.shape
    reduced = {d for d in dims if shape[d] != 1}
    statement = Nest(to.shape).write(to, Lazy(_STARTS[function], [], ()))
    last = max((d for d in range(len(shape)) if shape[d] != 1), default=-1)
    target = replace(to, shape=shape, strides=tuple(0 if d in reduced else s for d, s in enumerate(to.strides)))
    if last in reduced:
        return [statement, Nest(shape).accumulate(target, x, function)]
    return [statement, Nest(shape).write(target, x, function)]


def _loops(axes: Sequence[Axis], body: list[str], mark: str = "", outermost: int = 0) -> list[str]:
    """Return loops around a body from the axis ``outermost`` to the last, which gets the ``mark``."""
    for depth in reversed(range(outermost, len(axes))):
        body = [f"{mark}for i{depth} in 0:{axes[depth].extent - 1}", *(f"    {line}" for line in body), "end"]
        mark = ""
    return body


def _axes(shape: Shape, views: Sequence[View]) -> list[Axis]:
    """Return loops from outer to inner; neighbouring dimensions that every view goes through in one stride are one."""
    axes: list[Axis] = []
    for d, n in enumerate(shape):
        if n == 1:
            continue
        strides = {view: view.strides[d] for view in views}
        if axes and all(axes[-1].strides[v] == s * n for v, s in strides.items()):
            axes[-1] = Axis(axes[-1].extent * n, strides)
        else:
            axes.append(Axis(n, strides))
    return axes or [Axis(1, dict.fromkeys(views, 0))]


def _index(view: View, axes: Sequence[Axis]) -> str:
    terms = [
        f"i{d}" if a.strides[view] == 1 else f"{a.strides[view]}i{d}" for d, a in enumerate(axes) if a.strides[view]
    ]
    if view.offset or not terms:
        terms.append(str(view.offset))
    return " + ".join(terms)


def number(x: float | bool) -> str:
    """Return a number as Julia text in the element type."""
    if isinstance(x, bool):
        return "true" if x else "false"
    if math.isinf(x) or math.isnan(x):
        return f"T({'-' if x < 0 else ''}{'NaN' if math.isnan(x) else 'Inf'})"
    return f"T({x!r})"
