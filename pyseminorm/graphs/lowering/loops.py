"""Loops over fused elementwise expressions, as Julia text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .memory import Shape, View, broadcast


@dataclass(eq=False)
class Lazy:
    """An elementwise expression that is not in memory: a Julia template with {0}, {1} ... for its operands.

    Attributes:
        operands: values, broadcast against each other; numbers are written into the template.
        boolean: whether it gives true or false.
    """

    template: str
    operands: list[Value]
    shape: Shape
    boolean: bool = False

    @classmethod
    def of(cls, template: str, *operands: Value | float, boolean: bool = False) -> Lazy:
        values = [x if isinstance(x, (View, Lazy)) else cls(number(x), [], ()) for x in operands]
        return cls(template, values, broadcast(*(x.shape for x in values)), boolean)

    @property
    def is_number(self) -> bool:
        """Whether it is the same number everywhere, known when the code is written."""
        return not self.operands


Value = View | Lazy


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
        """The name of a value in the body."""
        if isinstance(x, View):
            at = x.expand(self.shape)
            if at not in self._loads:
                self._loads[at] = f"x{len(self._loads)}"
            return self._loads[at]
        if id(x) not in self._known:
            self._kept.append(x)
            text = x.template.format(*(self.value(operand) for operand in x.operands))
            self._known[id(x)] = f"v{len(self._known)}"
            self._body.append(f"{self._known[id(x)]} = {text}")
        return self._known[id(x)]

    def store(self, to: View, x: Value) -> list[str]:
        """To .= x, for ``to`` of the nest's shape; returns the lines of all loops."""
        return self._write_nest([(to, self.value(x), x.boolean, "store!")])

    def add(self, to: View, x: Value, function: str) -> list[str]:
        """``to`` collects ``x`` where its strides are zero."""
        return self._write_nest([(to, self.value(x), x.boolean, function)])

    def _write_nest(self, stores: Sequence[tuple[View, str, bool, str]]) -> list[str]:
        views = [*self._loads, *(to for to, *_ in stores)]
        axes = _axes(self.shape, views)
        index = {view: _index(view, axes) for view in views}
        body = []
        for view, name in self._loads.items():
            got = f"load({view.buffer.name}, {index[view]})"
            body.append(f"{name} = {got} != 0" if view.boolean else f"{name} = {got}")
        body += self._body
        for to, name, boolean, function in stores:
            body.append(f"{function}({to.buffer.name}, {f'T({name})' if boolean else name}, {index[to]})")
        # Only the last axis is told to be free of dependencies: a sum along it has an accumulator of its own.
        lines = []
        for depth, axis in enumerate(axes):
            simd = "@simd ivdep " if depth == len(axes) - 1 else ""
            lines.append(f"{'    ' * depth}{simd}for i{depth} in 0:{axis.extent - 1}")
        lines += [f"{'    ' * len(axes)}{line}" for line in body]
        lines += [f"{'    ' * depth}end" for depth in reversed(range(len(axes)))]
        return lines


def reduce(to: View, x: Value, dims: Sequence[int], start: str, function: str) -> list[str]:
    """``to`` (in the shape of ``x`` with ones in the reduced dimensions) collects ``x`` by add!, max! or min!."""
    shape = x.shape
    reduced = {d for d in dims if shape[d] != 1}
    lines = Nest(to.shape).store(to, Lazy(start, [], ()))
    last = max((d for d in range(len(shape)) if shape[d] != 1), default=-1)
    target = to.as_strided(shape, [0 if d in reduced else s for d, s in enumerate(to.strides)])
    if last in reduced:
        return lines + _accumulate(Nest(shape), target, x, function)
    return lines + Nest(shape).add(target, x, function)


def _accumulate(nest: Nest, to: View, x: Value, function: str) -> list[str]:
    """As `Nest.add`, with a local accumulator along the last axis, where ``to`` does not move."""
    name = nest.value(x)
    text = f"T({name})" if x.boolean else name
    views = list(nest._loads)
    axes = _axes(nest.shape, [*views, to])
    inner = axes[-1]
    combine = {"add!": "s + {}", "max!": "larger(s, {})", "min!": "smaller(s, {})"}[function].format(text)
    start = {"add!": "zero(T)", "max!": "T(-Inf)", "min!": "T(Inf)"}[function]
    pad = "    " * (len(axes) - 1)
    lines = [f"{'    ' * d}for i{d} in 0:{axis.extent - 1}" for d, axis in enumerate(axes[:-1])]
    lines += [f"{pad}s = {start}", f"{pad}@simd for i{len(axes) - 1} in 0:{inner.extent - 1}"]
    for view, load in nest._loads.items():
        got = f"load({view.buffer.name}, {_index(view, axes)})"
        lines.append(f"{pad}    {load} = {got} != 0" if view.boolean else f"{pad}    {load} = {got}")
    lines += [f"{pad}    {line}" for line in nest._body]
    lines += [f"{pad}    s = {combine}", f"{pad}end"]
    lines.append(f"{pad}{function}({to.buffer.name}, s, {_index(to, axes)})")
    return lines + [f"{'    ' * d}end" for d in reversed(range(len(axes) - 1))]


def _axes(shape: Shape, views: Sequence[View]) -> list[Axis]:
    """Loops from outer to inner; neighbouring dimensions that every view goes through in one stride are one."""
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
    """A number as Julia text in the element type."""
    if isinstance(x, bool):
        return "true" if x else "false"
    if math.isinf(x) or math.isnan(x):
        return f"T({'-' if x < 0 else ''}{'NaN' if math.isnan(x) else 'Inf'})"
    return f"T({x!r})"
