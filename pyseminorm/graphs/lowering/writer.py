"""`Writer`: goes through the parts of a captured graph and writes Julia code for them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from ..joint_graph import JointGraph
from ..split import Parts, Wanted
from . import ops
from .loops import Lazy, Nest, Statement, Value, as_boolean, number, reduce
from .memory import Buffer, Shape, View, contiguous
from .products import SMALL_PRODUCT, blas_form, blas_product, has_rows, small_product
from .sections import Section, names_in


class LoweringError(Exception):
    """Which operation has no entry in the table of operations."""


class Writer:
    """Lowers one graph, which reads ``sources``; raises a LoweringError that names what the table lacks.

    The code needs memory: ``constants_size`` elements for what stays the same in a solve, ``work_size`` for what
    products read of one evaluation of f, ``scratch_size`` for what nobody reads after a call.
    """

    def __init__(self, graph: JointGraph, sources: list[Tensor]) -> None:
        parts = self._parts = Parts(ops.simplify(graph, sources))
        self._dtype = graph.examples[0].dtype
        self._values: dict[fx.Node, Any] = {}
        self._inputs: dict[str, str] = {}
        self._functions: dict[str, tuple[str, Section]] = {}
        self._hoisted = Section("k")
        self._section = self._hoisted
        self._copies: dict[View, View] = {}  # of constants, in another order
        self._bind_inputs()
        self._stored: dict[int, tuple[Lazy, View]] = {}
        self._run(self._hoisted, parts.constant, {*parts.primal, *parts.adjoint, *parts.constant})
        for node in parts.constant:  # what others read is in memory
            if isinstance(self._values.get(node), Lazy) and not self._values[node].is_number:
                self._values[node] = self.view(self._values[node])
        self._functions["hoist!"] = "s::Ptr{Ptr{T}}, k::Ptr{T}", self._hoisted
        self._write_primal()
        for name, wanted in PRODUCTS.items():
            self._write_adjoint(name, wanted)
        self.constants_size, _ = self._hoisted.place(None, "k")
        primal, products = self._functions["primal!"][1], [self._functions[name][1] for name in PRODUCTS]
        self.work_size, *scratch = primal.place(names_in([x for p in products for x in p.statements]), "w")
        self.scratch_size = max(*scratch, *(p.place((), "w")[1] for p in products))

    @property
    def source(self) -> str:
        """The code: functions hoist!, primal! and one for each of `PRODUCTS`."""
        return "\n\n".join(self._function(name, *what) for name, what in self._functions.items()) + "\n"

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _bind_inputs(self) -> None:
        graph = self._parts.graph
        t, *leaves = self._parts.arguments
        self._values[t] = Lazy("t", [], ())
        for name, nodes in (("u", leaves[: graph.leaves]), ("a", leaves[graph.leaves :])):
            for node, view in zip(nodes, _lay_out(name, [_shape(n) for n in nodes]), strict=True):
                self._values[node] = view
        for i, node in enumerate(self._parts.sources):
            self._check(node)
            shape = _shape(node)
            self._inputs[f"s{i}"] = f"unsafe_load(s, {i + 1})"
            boolean = node.meta["val"].dtype == torch.bool
            self._values[node] = View.whole(Buffer(f"s{i}", math.prod(shape)), shape, boolean=boolean)

    def _write_primal(self) -> None:
        section, parts = Section("w"), self._parts
        saved = set(parts.saved())
        self._run(section, parts.primal, {*parts.primal, *parts.adjoint}, keep=saved)
        outputs = parts.graph.outputs.value
        read_later = {self._values[n].buffer for n in saved if isinstance(self._values[n], View)}
        self._give_out(section, "du", outputs, [_shape(n) for n in outputs], busy=read_later)
        self._functions["primal!"] = (f"{_STATE}, du::Ptr{{T}}, u::Ptr{{T}}, t::T", section)

    def _write_adjoint(self, name: str, wanted: Wanted) -> None:
        parts, graph = self._parts, self._parts.graph
        nodes = parts.adjoint_for(wanted)
        before = dict(self._values)
        section = Section(f"{name[0]}{len(self._functions)}_")
        self._run(section, nodes, set(nodes))
        outputs, leaves = graph.outputs, [_shape(n) for n in parts.arguments[1 : 1 + graph.leaves]]
        if wanted.state:
            self._give_out(section, "da", outputs.state, leaves)
        if wanted.params:
            self._add_out(section, "dp", outputs.params, graph.param_shapes)
        if wanted.time:
            self._give_out(section, "dt", [outputs.time], [()])
        signature = f"{_STATE}, da::Ptr{{T}}, dp::Ptr{{T}}, dt::Ptr{{T}}, a::Ptr{{T}}, u::Ptr{{T}}, t::T"
        self._functions[name] = (signature, section)
        self._values = before

    def _run(
        self, section: Section, nodes: Sequence[fx.Node], readers: Collection[fx.Node], keep: Collection[fx.Node] = ()
    ) -> None:
        self._section = section
        results = set(Wanted(time=True).nodes(self._parts.graph)) | set(self._parts.graph.outputs.value)
        for node in nodes:
            value = self._lower(node)
            uses = sum(user in readers for user in node.users) + (node in results)
            if isinstance(value, Lazy) and not value.is_number and (uses > 1 or node in keep):
                value = self.view(value)
            self._values[node] = value

    def _give_out(
        self,
        section: Section,
        name: str,
        nodes: Sequence[fx.Node | None],
        shapes: Sequence[Shape],
        busy: Collection[Buffer] = (),
    ) -> None:
        """Bring results to memory of the caller: made there in the first place, or copied."""
        self._section = section
        given: set[str] = set()
        for node, to in zip(nodes, _lay_out(name, shapes), strict=True):
            x: Value = Lazy("zero(T)", [], ()) if node is None else self._values[node]
            own = isinstance(x, View) and x.is_whole and x.buffer.name in section.sizes and not x.boolean
            if own and x.buffer not in busy and x.buffer.name not in given:  # type: ignore[union-attr]
                section.given[x.buffer.name] = f"at({name}, {to.offset})"  # type: ignore[union-attr]
                given.add(x.buffer.name)  # type: ignore[union-attr]
            else:
                section.statements.append(Nest(to.shape).write(to, x))

    def _add_out(self, section: Section, name: str, nodes: Sequence[fx.Node | None], shapes: Sequence[Shape]) -> None:
        """Add results to memory of the caller."""
        self._section = section
        places = [(self._values[n], to) for n, to in zip(nodes, _lay_out(name, shapes), strict=True) if n is not None]
        buffers = [x.buffer for x, _ in places if isinstance(x, View)]
        for x, to in places:
            alone = isinstance(x, View) and x.is_whole and not x.boolean and buffers.count(x.buffer) == 1
            if not (alone and section.adds_to(x.buffer.name, f"at({name}, {to.offset})")):
                section.statements.append(Nest(to.shape).write(to, x, "add!"))

    def _function(self, name: str, signature: str, section: Section) -> str:
        places = {**self._inputs, **self._hoisted.places, **self._functions["primal!"][1].places, **section.places}
        used = names_in(section.statements)
        head = [f"{buffer} = {place}" for buffer, place in places.items() if buffer in used]
        body = "".join(f"    {line}\n" for line in [*head, *(line for x in section.statements for line in x.lines)])
        return f"function {name}({signature}) where {{T}}\n{body}    return nothing\nend"

    # -- one node ------------------------------------------------------------------------------------------------------

    def _lower(self, node: fx.Node) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            return self._values[node.args[0]][node.args[1]]  # type: ignore[index]
        self._check(node)
        args, kwargs = self._arguments(node)
        if not _is_boolean(node):
            return self._write(node, target, args, kwargs)
        if target in ops.FILLED:
            return Lazy(number(bool(ops.FILLED[target](*args, **kwargs))), [], _shape(node), boolean=True)
        if target in ops.BOOLEAN:
            return self.check(Lazy.of(ops.BOOLEAN[target], *map(as_boolean, args), boolean=True))
        if target in ops.COMPARISONS:
            return self.check(Lazy.of(ops.COMPARISONS[target], *args, boolean=True))
        if target in ops.ELEMENTWISE or target in ops.FORMED:
            raise LoweringError(f"{target} of truth values")
        made = self._write(node, target, args, kwargs)
        return replace(made, boolean=True) if isinstance(made, View) else made

    def _write(self, node: fx.Node, target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if target in ops.SAME:
            return args[0]
        if target in ops.FILLED:
            return Lazy(number(self.convert(ops.FILLED[target](*args, **kwargs))), [], _shape(node))
        if target in ops.ELEMENTWISE or target in ops.FORMED:
            # In Julia false times anything is zero, and true plus true is two.
            condition = ops.CONDITIONS.get(target)
            args = [as_boolean(x) if i == condition else self.convert(x) for i, x in enumerate(args)]
            if target in ops.FORMED:
                return self.check(ops.FORMED[target](*args, **kwargs))
            return self.check(Lazy.of(ops.ELEMENTWISE[target], *args))
        if target in ops.VIEWS:
            return self._look(node, *args, **kwargs)
        if target in ops.REDUCTIONS:
            return self._reduce(node, *args, **{k: v for k, v in kwargs.items() if k != "dtype"})
        if target in ops.OTHERS:
            return ops.OTHERS[target](self, *args, **kwargs)
        raise LoweringError(str(target))

    def _check(self, node: fx.Node) -> None:
        """Refuse numbers of other kinds than the state's, and rows that are not looked up by `bucketize`."""
        value = node.meta.get("val")
        if node.target in _BY_ROW and not _finds_rows(*node.args[:3]):
            raise LoweringError(f"{node.target} by an index that is not bucketize's")
        for x in value if isinstance(value, (list, tuple)) else (value,):
            counts = node.target is ops.aten.bucketize.Tensor or (
                node.target in ops.REDUCTIONS and node.args[0].meta["val"].dtype == torch.bool  # type: ignore[union-attr]
            )
            if isinstance(x, torch.Tensor) and x.dtype not in (self._dtype, torch.bool) and not counts:
                raise LoweringError(f"{node.target} of {x.dtype} (the state is {self._dtype})")

    def _arguments(self, node: fx.Node) -> tuple[list[Any], dict[str, Any]]:
        def look(x: Any) -> Any:
            if isinstance(x, fx.Node):
                return self._values[x]
            return [look(i) for i in x] if isinstance(x, (list, tuple)) else x

        return [look(x) for x in node.args], {k: look(x) for k, x in node.kwargs.items()}

    def _look(self, node: fx.Node, x: Value, *how: Any, **more: Any) -> Any:
        """Return a view of a value, or several; of a copy where it does not lie so that there is one."""
        if isinstance(x, Lazy) and x.is_number and isinstance(node.meta["val"], torch.Tensor):
            return Lazy(x.template, [], _shape(node), x.boolean)
        operation: Any = node.target
        memory = self.view(x)
        if operation is ops.aten.as_strided.default and not memory.is_whole:
            memory = self.copy(x)
        made = memory.look(operation, *how, **more)
        return self.copy(x).look(operation, *how, **more) if made is None else made

    def _reduce(self, node: fx.Node, x: Value, dims: Any = None, keepdim: bool = False) -> Any:
        rank = len(x.shape)
        dims = range(rank) if not dims and dims != 0 else [dims] if isinstance(dims, int) else dims
        axes = sorted(d % rank for d in dims) if rank else []
        x = self.convert(x)
        to = self._new(tuple(1 if d in axes else n for d, n in enumerate(x.shape)))
        self._section.statements += reduce(to, x, axes, ops.REDUCTIONS[node.target])
        return to if keepdim else to.look(Tensor.squeeze, axes)

    # -- what operations use -------------------------------------------------------------------------------------------

    def check(self, x: Lazy) -> Lazy:
        """Put operands in memory that would be evaluated again for every element of a larger expression."""
        size = math.prod(x.shape)
        for i, operand in enumerate(x.operands):
            if isinstance(operand, Lazy) and not operand.is_number:
                if math.prod(operand.shape) < size:
                    x.operands[i] = self.view(operand)
                elif operand.template != "{0}" and len(operand.operands) > 0:
                    self.check(operand)
        return x

    def view(self, x: Value) -> View:
        """Return a value in memory."""
        if isinstance(x, View):
            return x
        if id(x) not in self._stored or self._stored[id(x)][1].buffer.name not in self._reachable():
            self._stored[id(x)] = (x, self.copy(x))
        return self._stored[id(x)][1]

    def _reachable(self) -> set[str]:
        """Return buffers that the present section may read."""
        primal = self._functions.get("primal!")
        return {*self._hoisted.sizes, *self._section.sizes, *(primal[1].sizes if primal else ())}

    def copy(self, x: Value) -> View:
        """Write the value to row-major memory of its own."""
        to = self._new(x.shape, boolean=x.boolean)
        self._section.statements.append(Nest(x.shape).write(to, x))
        return to

    def _new(self, shape: Shape, *, boolean: bool = False) -> View:
        return View.whole(self._section.buffer(math.prod(shape)), tuple(shape), boolean=boolean)

    def convert(self, x: Any) -> Any:
        """Return truth values as numbers; anything else as it is."""
        if isinstance(x, bool):
            return float(x)
        return Lazy.of("T({0})", x) if isinstance(x, (View, Lazy)) and x.boolean else x

    def add(self, x: View, c: Value, alpha: float, beta: float) -> Lazy:
        scaled = x if alpha == 1 else Lazy.of(f"({number(alpha)} * {{0}})", x)
        return self.check(Lazy.of("({0} + {1})" if beta == 1 else f"({{0}} + {number(beta)} * {{1}})", scaled, c))

    def broadcast_to(self, x: Value, shape: Shape) -> Any:
        return x.look(Tensor.expand, shape) if isinstance(x, View) else self.check(Lazy("{0}", [x], shape, x.boolean))

    def product(self, a: Value, b: Value) -> View:
        """Write a matrix product (..., m, k) by (..., k, n), of one leading dimension at most."""
        left, right = self.view(a), self.view(b)
        *lead, m, k = left.shape
        n = right.shape[-1]
        small = m * n * k <= SMALL_PRODUCT
        if small:
            right = right if has_rows(right) else self._copy_once(right)
        else:
            left, right = (x if blas_form(x) else self._copy_once(x) for x in (left, right))
        to = self._new((*lead, m, n))
        statement = small_product(to, left, right) if small else blas_product(to, left, right)
        if not (lead or small):
            self._section.products[to.buffer.name] = statement
        self._section.statements.append(statement)
        return to

    def _copy_once(self, x: View) -> View:
        """Copy; a parameter once a solve."""
        if x.buffer.name not in self._inputs and x.buffer.name not in self._hoisted.sizes:
            return self.copy(x)
        if x not in self._copies:
            section, self._section = self._section, self._hoisted
            self._copies[x] = self.copy(x)
            self._section = section
        return self._copies[x]

    def count_below(self, x: Value, edges: Value, right: bool) -> Any:
        """Count, for every element, the edges below it (``right``: or at it): where it is among sorted ones."""
        to = self._new((*x.shape, 1))
        below = Lazy.of("T({1} <= {0})" if right else "T({1} < {0})", self.view(x).look(Tensor.unsqueeze, -1), edges)
        self._section.statements += reduce(to, below, [len(x.shape)], "add!")
        return to.look(Tensor.squeeze, -1)

    def select_rows(self, x: Value, dim: int, index: Value) -> Any:
        rows, (number, *_) = self._as_rows(x, dim), (*index.shape, 1)
        to = self._new((number, *rows.shape[1:]), boolean=rows.boolean)
        size = math.prod(rows.shape[1:])
        copy = f"unsafe_copyto!(at({to.buffer.name}, {size}j), at({rows.buffer.name}, {rows.offset} + row), {size})"
        self._for_rows(number, rows, index, [copy], to)
        return to.look(torch.movedim, 0, dim)

    def add_rows(self, x: Value, dim: int, index: Value, part: Value) -> Any:
        to, rows = self.copy(self.view(x).look(torch.movedim, dim, 0)), self._as_rows(part, dim)
        size = math.prod(rows.shape[1:])
        taken = f"load({rows.buffer.name}, {rows.offset} + {rows.strides[0]}j + i)"
        lines = [f"for i in 0:{size - 1}", f"    add!({to.buffer.name}, {taken}, row + i)", "end"]
        self._for_rows(rows.shape[0], to, index, lines, rows)
        return to.look(torch.movedim, 0, dim)

    def _as_rows(self, x: Value, dim: int) -> View:
        """Return a value with an axis first, and the elements beside it together."""
        rows: View = self.view(x).look(torch.movedim, dim, 0)
        return rows if rows.strides[1:] == contiguous(rows.shape)[1:] else self._copy_once(rows)

    def _for_rows(self, number: int, rows: View, index: Value, lines: Sequence[str], other: View) -> None:
        """Do something for every number j of an index, ``row`` being where its row begins."""
        at = self.view(index)
        found = f"load({at.buffer.name}, {at.offset} + {(*at.strides, 0)[0]}j)"
        head = [f"for j in 0:{number - 1}", f"    row = {rows.strides[0]} * unsafe_trunc(Int, {found})"]
        names = [x.buffer.name for x in (rows, at, other)]
        self._section.statements.append(Statement([*head, *(f"    {line}" for line in lines), "end"], others=names))

    def join(self, parts: Sequence[Value], dim: int) -> View:
        parts = [p for p in parts if p.shape != (0,)]
        dim %= len(parts[0].shape)
        shape = list(parts[0].shape)
        shape[dim] = sum(p.shape[dim] for p in parts)
        to = self._new(tuple(shape))
        for part, place in zip(parts, to.look(torch.split, [p.shape[dim] for p in parts], dim), strict=True):
            self._section.statements.append(Nest(part.shape).write(place, part))
        return to

    def scatter(self, x: Value, part: Value, view: Any, *how: Any, **more: Any) -> View:
        """Copy ``x``, with ``part`` where a view of it is."""
        to = self.copy(x)
        region = to.look(view, *how, **more)
        self._section.statements.append(Nest(region.shape).write(region, self.broadcast_to(part, region.shape)))
        return to

    def embed(self, part: Value, shape: Sequence[int], view: Any, *how: Any) -> View:
        """Write zeros with ``part`` where a view is."""
        return self.scatter(Lazy("zero(T)", [], tuple(shape)), part, view, *how)

    def pad(self, x: Value, pad: Sequence[int], value: float) -> View:
        """Put ``value`` around it; negative padding cuts off."""
        inner, shape = self.view(x), list(x.shape)
        starts: list[tuple[int, int]] = []
        for i in range(0, len(pad), 2):
            d, before, after = len(shape) - 1 - i // 2, pad[i], pad[i + 1]
            inner = inner.look(torch.narrow, d, max(-before, 0), inner.shape[d] + min(before, 0) + min(after, 0))
            shape[d] += before + after
            starts.append((d, max(before, 0)))
        to = self.copy(Lazy(number(value), [], tuple(shape)))
        region = to
        for d, start in starts:
            region = region.look(torch.narrow, d, start, inner.shape[d])
        self._section.statements.append(Nest(region.shape).write(region, inner))
        return to


_STATE = "s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}"

# The functions for products with the Jacobian, by what they give; products by the parameters are added to `dp`.
PRODUCTS = {
    "vjp_state!": Wanted(state=True, params=False),
    "vjp_params!": Wanted(state=False, params=True),
    "vjp!": Wanted(state=True, params=True),
    "vjp_time!": Wanted(state=False, params=False, time=True),
}


_BY_ROW = (ops.aten.index_select.default, ops.aten.index_add.default)


def _finds_rows(x: Any, dim: Any, index: Any) -> bool:
    """Tell whether an index counts edges, of which there are fewer than rows: no row outside can be asked for."""
    if index.target is not ops.aten.bucketize.Tensor:
        return False
    edges: Shape = index.args[1].meta["val"].shape
    return bool(edges[0] < _shape(x)[dim])


def _is_boolean(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _shape(node: fx.Node | None) -> Shape:
    assert node is not None
    return tuple(node.meta["val"].shape)


def _lay_out(name: str, shapes: Sequence[Shape]) -> list[View]:
    """Return arrays one after the other in the memory of a pointer."""
    ends = list(itertools.accumulate(map(math.prod, shapes), initial=0))
    buffer = Buffer(name, ends[-1])
    return [View(buffer, tuple(s), contiguous(s), start) for s, start in zip(shapes, ends, strict=False)]
