"""`TracedVectorField`: a function that runs as a captured graph, and the graphs that are kept for the next solve."""

from __future__ import annotations

import copy
import logging
import operator
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..problem.checking_call import check_value
from ..problem.parameters import kind_of
from ..problem.state import StateSpec
from ..problem.vector_field import EagerVectorField, VjpFunction
from .capture import CaptureError, Graph, SourceTensors, capture
from .closed import Finder, Proof, plain, proof
from .run import Functions
from .split import Parts, Wanted
from .surroundings import Path, described, find, same

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
        proven: what was made of it and gave func's value, by what made it: of that field all that is not of one solve.
        refused: what cannot be made of it.
        recall: finds what a field is made of, where that needs no look at the function; or None.
    """

    def __init__(self, field: EagerVectorField, t: float, y: Tensor) -> None:
        made_of = proof(field.func, field.args)
        field.check(t, y, recording=True)  # warns of hidden parameters
        before = _plain_values(field)
        self.graph: Graph = capture(field, t, y)
        after = _plain_values(field)
        # What func itself changed (a counter of calls) is not a reason to capture it again.
        self._guards = {path: value for path, value in after.items() if same(before.get(path), value)}
        self._values = list(self._guards.values())
        self._intact: Finder | None = None
        self.recall: Recall | None = None
        if made_of and len(before) == len(self._guards) and plain(lambda: field.f(t, y)):
            intact = made_of.finder()
            if intact(_roots(field)) is not None:
                self._intact = intact
                self.recall = Recall.of(field, self.graph, made_of, self._guards)
        self._lookup = SourceTensors(self.graph.sources, list(self._guards))
        self.parts = Parts(self.graph)
        self.kept: dict[str, Any] = {}
        self.proven: dict[Any, tuple[type[Any], dict[str, Any]]] = {}
        self.refused: set[Any] = set()
        self._functions: dict[Any, Functions] = {}

    def closed(self, field: EagerVectorField) -> bool:
        """Whether a field with the guarded values is known to be the captured one, without a call of its function."""
        return self._intact is not None and self._intact(_roots(field)) is not None

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
        if any(map(operator.is_not, self._values, now)):
            for path, value, current in zip(self._guards, self._values, now, strict=True):
                if not same(current, value):
                    raise LookupError(described(path))
        return self._lookup.tensors(field, found)


class Recall:
    """Finds the parameters and the sources of a closed function without arguments, if it is still the captured one."""

    def __init__(self, find: Finder, *, explicit: bool) -> None:
        self._find, self._explicit = find, explicit

    @classmethod
    def of(cls, field: EagerVectorField, graph: Graph, made_of: Proof, guards: Mapping[Path, Any]) -> Recall | None:
        """None where the function has arguments, or a tensor is not to be found from the function."""
        reachable: dict[int, Path] = {}
        for path, leaf in find(field.func, field.args):
            reachable.setdefault(id(leaf), path)
        params: list[Any] = [reachable.get(id(p)) for p in field.params]
        sources: list[Any] = [
            source.literal if source.literal is not None
            else source.path or (None if source.target is None else params[source.target])
            for source in graph.sources
        ]  # fmt: skip
        if field.args or None in params or any(x is None for x in sources):
            return None
        return cls(made_of.finder(guards, params, sources), explicit=field.explicit_params)

    def __call__(
        self, func: Callable[..., Any], params: Sequence[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]] | None:
        """(parameters, sources); None: func must be looked at more closely."""
        found = self._find((func, ()))
        if found is None or self._explicit is (params is None):
            return None
        known, sources = found
        if len(set(map(id, known))) < len(known):  # tied since then
            return None
        if params is not None and not (len(params) == len(known) and all(map(operator.is_, params, known))):
            return None
        return known, sources


def _roots(field: EagerVectorField) -> tuple[Any, ...]:
    return field.func, field.args


def _plain_values(field: EagerVectorField) -> dict[Any, Any]:
    leaves = find(field.func, field.args)
    return {path: copy.copy(leaf) for path, leaf in leaves if not isinstance(leaf, Tensor)}


class Traces:
    """The traces of one function, by what they are specialised for; the last used come first."""

    def __init__(self) -> None:
        self.kept: dict[Any, list[Trace]] = {}
        self.of_kind: dict[Any, list[Trace]] = {}  # the same, where the targets are not known yet
        self.captures: dict[Any, int] = {}
        self.refused: set[Any] = set()

    def matching(self, form: _Form, field: EagerVectorField) -> tuple[Trace, list[Tensor]] | str:
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

    def keep(self, form: _Form, new: Trace) -> None:
        for kept in (self.kept.setdefault(form, []), self.of_kind.setdefault(form.kind, [])):
            kept.insert(0, new)
            del kept[_MOST_KEPT:]


_TRACES: weakref.WeakKeyDictionary[Any, Traces] = weakref.WeakKeyDictionary()


def trace(field: EagerVectorField, t: float, y: Tensor, *, anew: bool = False) -> tuple[Trace, list[Tensor]] | None:
    """The trace of a field at hand, and the tensors that it reads; None where there is none, which is logged once."""
    traces, form = _traces_of(field.func), _Form.of(field)
    found = "what it gives" if anew else _kept(field, traces, form)
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


def _kept(field: EagerVectorField, traces: Traces, form: _Form) -> tuple[Trace, list[Tensor]] | str | None:
    """The kept trace of a field, with the tensors that it reads; what has changed; None where there will be none."""
    return None if form in traces.refused else traces.matching(form, field)


def _traces_of(func: Callable[..., Any]) -> Traces:
    kind = kind_of(func)
    try:
        return _TRACES.get(kind) or _TRACES.setdefault(kind, Traces())
    except TypeError:  # an object without weak references, or without a hash
        return _TRACES.setdefault(type(kind), Traces())


class _Form(NamedTuple):
    """What a capture is specialised for."""

    kind: Any  # the code of a bound method, and the state
    shapes: Any  # and dtypes of the targets
    args: Any

    @classmethod
    def of(cls, field: EagerVectorField) -> _Form:
        leaves, tree = pytree.tree_flatten(field.args) if field.args else ([], None)
        given = tuple(x.shape if isinstance(x, Tensor) else type(x) for x in leaves)
        shapes = tuple([(x.shape, x.dtype) for x in field.targets])
        return cls(_kind(field.func, field.spec), shapes, (str(tree), given) if leaves else None)


def _kind(func: Callable[..., Any], spec: StateSpec) -> tuple[Any, ...]:
    code = getattr(func.__func__, "__code__", None) if isinstance(func, types.MethodType) else None
    return code, spec.kind


class TracedVectorField(EagerVectorField):
    """An eager field whose values and products come from its captured graph.

    Attributes:
        graph: what was captured.
        sources: the tensors that it reads, as they are in this solve.
    """

    _LASTING = (*EagerVectorField._LASTING, "graph", "_functions")

    rereads = False

    def __init__(
        self,
        eager: EagerVectorField,
        found: Trace,
        sources: list[Tensor],
        compiler: Callable[[Any], Any] | None = None,
    ) -> None:
        self.__dict__.update(eager.__dict__)
        self.graph, self._functions = found.graph, found.functions(compiler)
        self._read(sources)

    def _read(self, sources: list[Tensor]) -> None:
        self.sources = [x.detach() for x in sources]
        with torch.no_grad():
            self._constants = self._functions.constants(*self.sources)

    def renew(self, func: Callable[..., Any], params: list[Tensor], sources: list[Tensor]) -> None:
        super().renew(func, params, sources)
        self._read(sources)

    def f(self, t: float, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.spec.join(self._functions.primal(self._constants, self.time(t), *self.spec.split(y))[0])

    def check(self, t: float, y: Tensor, *, recording: bool) -> Tensor:
        """The value at the start, by the graph: its form was looked at when it was captured."""
        return check_value(self.f(t, y), t)

    def agrees(self, t: float, y: Tensor, f0: Tensor) -> bool:
        """Whether the graph gives f0 at (t, y)."""
        return agree(self.f(t, y), f0)

    def evaluate_with_vjp(
        self, t: float, y: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, VjpFunction]:
        spec, products = self.spec, self._functions.adjoint(Wanted(params=params, time=time))
        leaves, when, n = spec.split(y), self.time(t), len(spec.sizes)
        with torch.no_grad():
            values, saved = self._functions.primal(self._constants, when, *leaves)

        def vjp(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            with torch.no_grad():
                grads = products(self._constants, when, leaves, saved, *spec.split(adjoint))
                state = [torch.zeros_like(x) if g is None else g for g, x in zip(grads[:n], leaves, strict=True)]
                rest = grads[n:]
                grad_time = rest.pop() if time else None
                return spec.join(state), rest, grad_time

        return spec.join(values), vjp

    def vjp_shaped(
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
        value, vjp = self.evaluate_with_vjp(t, y, params=params, time=time)
        return value, *vjp(adjoint)


class Checked(Protocol):
    """A vector field made from a trace."""

    def agrees(self, t: float, y: Tensor, f0: Tensor) -> bool: ...

    def lasting(self) -> dict[str, Any]: ...

    def renew(self, func: Callable[..., Any], params: list[Tensor], sources: list[Tensor]) -> None: ...


Made = TypeVar("Made", bound=Checked)
Maker = Callable[[EagerVectorField, Trace, list[Tensor]], Made | None]


def captured(
    field: EagerVectorField,
    t: float,
    y: Tensor,
    first: Callable[[], Tensor],
    make: Maker[Made],
) -> Made | None:
    """What ``make`` makes of the field's trace, which must give ``first()``, func's value at (t, y).

    Where that was seen once, and all that func's values depend on is known to be the same, func is not called. The
    function is captured where no trace is kept that does. None: it cannot be, or nothing is made of it.
    """
    traces, form = _traces_of(field.func), _Form.of(field)
    found = _kept(field, traces, form)
    if isinstance(found, tuple) and make in found[0].proven and found[0].closed(field):
        return make(field, *found)
    f0 = first()
    for anew in (False, True):
        if anew or isinstance(found, str):
            found = trace(field, t, y, anew=anew)
        if found is None or isinstance(found, str):
            return None
        made = make(field, *found)
        if made is None:
            found[0].refused.add(make)
            return None
        if made.agrees(t, y, f0):
            found[0].proven[make] = type(made), made.lasting()
            return made
    traces.refused.add(form)
    logger.info("func stays eager: its graph gives other values than a call of it (is it random?)")
    return None


def recalled(
    func: Callable[..., Any], spec: StateSpec, params: Sequence[Tensor] | None, makers: Sequence[Maker[Made]]
) -> Made | None:
    """What the first of ``makers``, or the last where that cannot, makes of a closed function without arguments.

    The function is neither called nor captured. None where it is not known that nothing has changed since what was made
    of it was seen to give its values.
    """
    for found in _traces_of(func).of_kind.get(_kind(func, spec), ()):
        make = makers[0] if makers[0] not in found.refused else makers[-1]
        if make in found.proven and found.recall is not None:
            tensors = found.recall(func, params)
            if tensors is not None:
                kind, lasting = found.proven[make]
                made: Made = object.__new__(kind)
                made.__dict__.update(lasting)
                made.renew(func, *tensors)
                return made
    return None


TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether two values of one function are equal but for rounding."""
    size = torch.linalg.vector_norm
    return bool(size(a - b) <= TOLERANCES.get(a.dtype, 5e-2) * size(b))
