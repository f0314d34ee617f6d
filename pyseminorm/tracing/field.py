"""`TracedVectorField`: a function that runs as a captured graph, and the graphs that are kept for the next solve."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..vector_field import EagerVectorField, Pullback, kind_of
from .capture import CaptureError, Graph, SourceTensors, capture
from .run import Functions
from .split import Parts, Wanted
from .surroundings import described, find, same

logger = logging.getLogger("pyseminorm")

# Of one function and form of the state: traces that are kept (training and evaluation mode are two), and captures
# before it stays eager, since something that it reads changes all the time.
_MOST_KEPT, _MOST_CAPTURES = 4, 16


class Trace:
    """A captured function, with what must not have changed where it is used again.

    Attributes:
        graph: f and its product.
        parts: the graph's parts.
        kept: what an engine has made of it, by name.
    """

    def __init__(self, field: EagerVectorField, t: float, y: Tensor) -> None:
        field.check(t, y, recording=True)  # warns of hidden parameters
        before = _plain_values(field)
        self.graph: Graph = capture(field, t, y)
        after = _plain_values(field)
        # What func itself changed (a counter of calls) is not a reason to capture it again.
        self._guards = {path: value for path, value in after.items() if same(before.get(path), value)}
        self._values = list(self._guards.values())
        self._lookup = SourceTensors(self.graph.sources, list(self._guards))
        self.parts = Parts(self.graph)
        self.kept: dict[str, Any] = {}
        self._functions: dict[Any, Functions] = {}

    def functions(self, compiler: Callable[[Any], Any] | None) -> Functions:
        """The graph as Python functions, each passed through ``compiler``."""
        if compiler not in self._functions:
            self._functions[compiler] = Functions(self.parts, compiler)
        return self._functions[compiler]

    def sources(self, field: EagerVectorField) -> list[Tensor]:
        """The tensors that the graph reads, as they are now.

        Raises:
            LookupError: something that the capture rests on has changed; the message names it.
        """
        try:
            now, found = self._lookup.found(field)
        except (AttributeError, TypeError, ValueError) as error:
            raise LookupError(str(error)) from error
        for i, (value, current) in enumerate(zip(self._values, now, strict=True)):
            if current is not value and not same(current, value):
                raise LookupError(described(list(self._guards)[i]))
        return self._lookup.tensors(field, found)


def _plain_values(field: EagerVectorField) -> dict[Any, Any]:
    leaves = find(field.func, field.args)
    return {path: copy.copy(leaf) for path, leaf in leaves if not isinstance(leaf, Tensor)}


class Traces:
    """The traces of one function, by what they are specialised for; the last used come first."""

    def __init__(self) -> None:
        self.kept: dict[Any, list[Trace]] = {}
        self.captures: dict[Any, int] = {}
        self.refused: set[Any] = set()

    def matching(self, form: Any, field: EagerVectorField) -> tuple[Trace, list[Tensor]] | str:
        """A trace that is right for a field, and the tensors that it reads; or what has changed."""
        changed, kept = "", self.kept.setdefault(form, [])
        for i, found in enumerate(kept):
            try:
                sources = found.sources(field)
            except LookupError as error:
                changed = changed or str(error)
                continue
            if i:
                kept.insert(0, kept.pop(i))
            return found, sources
        return changed

    def keep(self, form: Any, new: Trace) -> None:
        kept = self.kept.setdefault(form, [])
        kept.insert(0, new)
        del kept[_MOST_KEPT:]


_TRACES: weakref.WeakKeyDictionary[Any, Traces] = weakref.WeakKeyDictionary()


def trace(field: EagerVectorField, t: float, y: Tensor, *, anew: bool = False) -> tuple[Trace, list[Tensor]] | None:
    """The trace of a field at hand, and the tensors that it reads; None where there is none, which is logged once."""
    traces = _traces_of(field)
    form = _form(field)
    if form in traces.refused:
        return None
    found = "what it gives" if anew else traces.matching(form, field)
    if not isinstance(found, str):
        return found
    count = traces.captures[form] = traces.captures.get(form, 0) + 1
    try:
        if count > _MOST_CAPTURES:
            raise CaptureError(f"{found} changed again and again")
        new = Trace(field, t, y)
        traces.keep(form, new)
        return new, new.sources(field)
    except CaptureError as error:
        traces.refused.add(form)
        logger.info(f"func stays eager: it cannot be captured as a graph ({error})")
        return None


def _traces_of(field: EagerVectorField) -> Traces:
    kind = kind_of(field.func)
    try:
        return _TRACES.setdefault(kind, Traces())
    except TypeError:  # an object without weak references, or without a hash
        return _TRACES.setdefault(type(kind), Traces())


def _form(field: EagerVectorField) -> Any:
    """What a capture is specialised for."""
    spec = field.spec
    leaves, tree = pytree.tree_flatten(field.args) if field.args else ([], None)
    return (
        getattr(getattr(field.func, "__func__", None), "__code__", None),
        spec.kind,
        tuple([(x.shape, x.dtype) for x in field.targets]),
        (str(tree), tuple(x.shape if isinstance(x, Tensor) else type(x) for x in leaves)) if leaves else None,
    )


class TracedVectorField(EagerVectorField):
    """An eager field whose values and products come from its captured graph.

    Attributes:
        trace: the captured graph.
        sources: the tensors that it reads, as they are in this solve.
    """

    def __init__(
        self,
        eager: EagerVectorField,
        found: Trace,
        sources: list[Tensor],
        compiler: Callable[[Any], Any] | None = None,
    ) -> None:
        self.__dict__.update(eager.__dict__)
        self.trace, self.sources = found, [x.detach() for x in sources]
        self._functions = found.functions(compiler)
        with torch.no_grad():
            self._constants = self._functions.constants(*self.sources)

    def f(self, t: float, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.spec.join(self._functions.primal(self._constants, self.time(t), *self.spec.split(y))[0])

    def agrees(self, t: float, y: Tensor, f0: Tensor) -> bool:
        """Whether the graph gives f0 at (t, y)."""
        return agree(self.f(t, y), f0)

    def pullback(self, t: float, y: Tensor, *, params: bool = True, time: bool = False) -> tuple[Tensor, Pullback]:
        spec, products = self.spec, self._functions.adjoint(Wanted(params=params, time=time))
        leaves, when, n = spec.split(y), self.time(t), len(spec.sizes)
        with torch.no_grad():
            values, saved = self._functions.primal(self._constants, when, *leaves)

        def pull(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            with torch.no_grad():
                grads = products(self._constants, when, leaves, saved, *spec.split(adjoint))
                state = [torch.zeros_like(x) if g is None else g for g, x in zip(grads[:n], leaves, strict=True)]
                rest = grads[n:]
                grad_time = rest.pop() if time else None
                return spec.join(state), rest, grad_time

        return spec.join(values), pull

    def products(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        if not self.spec.is_plain:
            return self.vjp(t, y, adjoint, params=params, time=time)
        products, leaves, when = self._functions.adjoint(Wanted(params=params, time=time)), (y,), self.time(t)
        with torch.no_grad():
            (value,), saved = self._functions.primal(self._constants, when, y)
            state, *rest = products(self._constants, when, leaves, saved, adjoint)
        grad_time = rest.pop() if time else None
        return value, torch.zeros_like(y) if state is None else state, rest, grad_time

    def vjp(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        value, pull = self.pullback(t, y, params=params, time=time)
        return value, *pull(adjoint)


class Checked(Protocol):
    """A vector field made from a trace."""

    def agrees(self, t: float, y: Tensor, f0: Tensor) -> bool: ...


Made = TypeVar("Made", bound=Checked)


def captured(
    field: EagerVectorField,
    t: float,
    y: Tensor,
    f0: Tensor,
    make: Callable[[EagerVectorField, Trace, list[Tensor]], Made | None],
) -> Made | None:
    """What ``make`` makes of the field's trace, which must give ``f0`` at (t, y).

    The function is captured where no trace is kept that does. None: it cannot be, or nothing is made of it.
    """
    for anew in (False, True):
        found = trace(field, t, y, anew=anew)
        made = None if found is None else make(field, *found)
        if made is None or made.agrees(t, y, f0):
            return made
    _traces_of(field).refused.add(_form(field))
    logger.info("func stays eager: its graph gives other values than a call of it (is it random?)")
    return None


TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether two values of one function are equal but for rounding."""
    size = torch.linalg.vector_norm
    return bool(size(a - b) <= TOLERANCES.get(a.dtype, 5e-2) * size(b))
