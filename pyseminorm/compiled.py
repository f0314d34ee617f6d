"""`compile`: a function that is captured once, for solves that look at it no more."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from .arguments import check_callable, check_choice
from .errors import InvalidInputError
from .passes.problems import Engine
from .problem.checking_call import FirstValue
from .problem.parameters import check_params, owner_of
from .problem.solve_tensors import list_inputs, targets_of
from .problem.state import StateSpec
from .problem.vector_field import EagerVectorField, FieldArguments
from .torch_internals import guard_tensors

if TYPE_CHECKING:
    from .graphs.capture import Captured

MODES = ("trace", "inductor", "julia", "auto")


def compile(func: Callable[..., Any], *, backend: str = "auto", mode: str = "auto") -> CompiledField:
    r"""Compile a function once, for solves that look at it no more.

    The contract is that of ``jax.jit`` and ``torch.export``: **func is pure**. The tensors that it reads (parameters,
    buffers, what it closes over, attributes) are looked up at every solve, so that an optimiser step or another tensor
    in the same place counts; **Python values are those of the capture**. New shapes, dtypes, devices and structures of
    y or args, another shape or ``requires_grad`` of a tensor that is read, and another ``training`` flag of func
    capture anew. Nothing else is checked, and func is not called: after a change of anything else, compile again, or
    give ``solve(..., compile="auto")`` func itself, which checks everything that TorchDynamo can see at every solve.
    `CompiledField.check` compares with a call.

    Args:
        func: any callable or nn.Module, ``func(t, y, *args)``, as for `solve`.
        backend: the engine whose solves may use it, "torch" or "julia"; "auto": any.
        mode: "trace", "inductor", "julia" or "auto", as ``compile`` of `solve`.

    Returns:
        A `CompiledField`, for `solve`, `odeint_adjoint` and `crosscheck` in the place of func. The function is captured
        at the first solve. One that cannot be captured stays itself, and a log line says why.

    Raises:
        InvalidInputError: func is no callable, or a name is not known.

    Examples:
        >>> import torch, pyseminorm
        >>> class Field(torch.nn.Linear):
        ...     def forward(self, t, y):
        ...         return torch.tanh(super().forward(y))
        >>> field, y0 = pyseminorm.compile(Field(2, 2), mode="trace"), torch.ones(3, 2)
        >>> pyseminorm.solve(field, y0, [0.0, 1.0], backend="torch").ys.shape
        torch.Size([2, 3, 2])
        >>> field.check(0.5, y0)
    """
    check_callable(func)
    check_choice("backend", backend, ("auto", "torch", "julia"))
    if mode not in MODES or (mode == "julia" and backend == "torch"):
        raise InvalidInputError(
            f"mode={mode!r} with backend={backend!r}: give one of {', '.join(map(repr, MODES))}"
            ', and mode="julia" with backend="julia" or "auto".'
        )
    return CompiledField(func, backend, mode)


class CompiledField:
    """A function that is compiled once: what `compile` returns, and describes.

    Attributes:
        func: the function.
        backend, mode: as given.
    """

    def __init__(self, func: Callable[..., Any], backend: str, mode: str) -> None:
        from .engines import forms

        self.func, self.backend, self.mode = func, backend, mode
        self._forms = forms  # imported late, and looked up once
        self._guards: dict[Any, Any] = {}
        self._known: dict[Any, _Known] = {}
        self._settled: tuple[Any, Any] = ((), None)

    def __call__(self, t: Tensor, y: Any, *args: Any) -> Any:
        """Call func itself, differentiable as it is."""
        return self.func(t, y, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy, or what is unpickled, have captured nothing yet."""
        return CompiledField, (self.func, self.backend, self.mode)

    def parameters(self) -> Iterator[Tensor]:
        """Return the parameters of func, where it is an nn.Module (or a method or partial of one)."""
        owner = owner_of(self.func)[0]
        return iter(()) if owner is None else owner.parameters()

    def check(self, t: float | Tensor, y: Any, *args: Any) -> None:
        """Compare the graph with a call of func at (t, y), values and products with a vector of ones.

        Raises:
            InvalidInputError: they disagree; it names what.
        """
        from .graphs.traced_field import TracedVectorField, find_trace

        forms, spec = self._forms, StateSpec.of(y)
        asked, at, flat = FieldArguments(self.func, args, spec, None), float(t), spec.flatten(y).detach()
        known, eager = self._known.get(forms.form_of(asked)), EagerVectorField(*asked)
        if known is None or known.captured is None:
            raise InvalidInputError("nothing has been captured for this form of y and args: solve with it first.")
        read = known.find(self.func, args)[: known.reads]
        found = find_trace(known.captured, eager.inputs, read, at, lambda: flat)
        graph = TracedVectorField(asked, eager.inputs, found, read)
        names = ["f", "the product with df/dy", *(f"the product with parameter {i}" for i in range(len(eager.inputs)))]
        products = (x.vjp(at, flat, torch.ones_like(flat)) for x in (graph, eager))
        mine, theirs = ((value, state, *params) for value, state, params, _ in products)
        wrong = [name for name, a, b in zip(names, mine, theirs, strict=True) if not forms.agree(a, b)]
        if wrong:
            raise InvalidInputError(
                f"what was captured disagrees with func at t = {at} in {', '.join(wrong)}: something that func reads "
                "has changed since, or func is random. Compile it again."
            )

    def settle(self, asked: tuple[Any, ...], settle: Callable[..., Any]) -> Any:
        """Return what ``settle`` makes of the settings of a solve, asked again where they are others than before."""
        try:
            if asked == self._settled[0]:
                return self._settled[1]
        except (RuntimeError, ValueError):  # an array among them
            return settle(*asked)
        self._settled = asked, settle(*asked)
        return self._settled[1]

    def capture(self, first: FirstValue, engine: Engine) -> None:
        """Let the field of ``first`` be the form asked for, captured where it is new, or func where it cannot be."""
        form = self._forms.form_of(first.asked)
        known = self._known.get(form)
        field = None if known is None else self._known_field(known, first, engine)
        if field is not None:
            first.field = field
            return
        graph, read = self._forms.capture(first, self.mode, engine, self._guards)
        known = _Known.of(graph, self.func, first.asked.args, read)
        if known is not None:
            self._known[form] = known

    def _known_field(self, known: _Known, first: FirstValue, engine: Engine) -> EagerVectorField | None:
        """Return the field of a form that was captured before, without a look at func; None where that has changed."""
        asked = first.asked
        if known.captured is None:
            return EagerVectorField(*asked)
        try:
            found = known.find(self.func, asked.args)
            same = known.holds(*found)
        except (AttributeError, LookupError, TypeError, ValueError):  # not there any more
            same = False
        if not same:
            return None
        read, trace = found[: known.reads], known.trace
        simple = trace is not None and asked.params is None and not asked.args
        if simple and known.last is not None and known.last.engine is engine and known.last.reads(found):
            return known.last.field.again()
        simple = simple and _are_apart(found)
        inputs = [found[i] for i in known.own]
        if not simple:
            own = inputs if asked.params is None else check_params(asked.params)
            inputs = list_inputs(own, read, asked.args)
            trace = known.captured.traces.get(targets_of(inputs, read))
        if trace is None:
            return None
        field = self._forms.make_form(first, inputs, trace, read, self.mode, engine, verify=False)
        known.last = _Last.of(field, found, engine) if simple else None
        return field


class _Last(NamedTuple):
    """The field of the last solve, which later ones by the same ``tensors`` need not make again, while these are where
    they were: there lie ``twins``, which stay there.
    """

    field: EagerVectorField
    tensors: list[Tensor]
    twins: list[Tensor]
    engine: Engine

    @classmethod
    def of(cls, field: EagerVectorField, tensors: list[Tensor], engine: Engine) -> _Last | None:
        """Return it of a field of leaves; None where that has something of its values, or none of its memory."""
        return cls(field, tensors, [x.detach() for x in tensors], engine) if field.is_lasting else None

    def reads(self, tensors: list[Tensor]) -> bool:
        """Tell whether these tensors are those of the field, in the same memory and laid out as they were."""
        same = all(map(operator.is_, tensors, self.tensors)) and all(map(Tensor.is_set_to, tensors, self.twins))
        return same and all(map(_is_leaf, tensors))


@dataclass
class _Known:
    """A form of y and args that was captured; without a graph, one for which func stays itself.

    Attributes:
        find: returns the tensors that func reads, then those of its parameters that it does not; ``holds`` tells
            whether they are of the forms that they had.
        reads, own: how many func reads; where its parameters are among them.
        trace: what was made of the graph for solves by these alone, of tensors that are leaves and all different ones.
        last: the field of the last such solve.
    """

    captured: Captured | None
    find: Callable[[Callable[..., Any], tuple[Any, ...]], list[Tensor]]
    holds: Callable[..., bool]
    reads: int
    own: list[int]
    trace: Any
    last: _Last | None = None

    @classmethod
    def of(
        cls, captured: Captured | None, func: Callable[..., Any], args: tuple[Any, ...], read: Sequence[Tensor]
    ) -> _Known | None:
        """Return what finds the tensors again without TorchDynamo; None where there is no way (arrays of NumPy)."""
        from .graphs.capture import define

        names = [] if captured is None else captured.names
        owner, path = owner_of(func)
        named = [] if owner is None else owner.named_parameters()
        own = [f"L['func']{path}{_path(name)}" for name, p in named if p.requires_grad]
        every = list(dict.fromkeys([*names, *own]))
        scope: dict[str, Any] = {"G": {} if captured is None else captured.scope}
        try:
            define(_FIND.format(_ties(owner, path), ", ".join(every)), scope)
            found = scope["find"](func, args)
            holds = guard_tensors(found)
        except (SyntaxError, NameError, AttributeError, LookupError, TypeError, ValueError, RuntimeError):
            return None
        if not all(a is b for a, b in zip(found, read, strict=False)):
            return None
        places = list(map(every.index, own))
        trace = None
        if captured is not None and _are_apart(found):
            trace = captured.traces.get(targets_of([found[i] for i in places], read))
        return cls(captured, scope["find"], holds, len(names), places, trace)


_is_leaf = operator.attrgetter("is_leaf")


def _are_apart(tensors: list[Tensor]) -> bool:
    """Tell whether tensors are leaves, and no one is there twice."""
    return len(set(map(id, tensors))) == len(tensors) and all(map(_is_leaf, tensors))


_FIND = """
def find(func, args):
    L = dict(func=func, args=args)
    if not ({}):
        raise LookupError("weights that were tied when func was captured are apart: solve with it first.")
    return [{}]
"""


def _ties(owner: Any, path: str) -> str:
    """Return an expression that tells whether every parameter that a module has under two names still is one."""
    first: dict[int, str] = {}
    pairs = []
    for name, p in () if owner is None else owner.named_parameters(remove_duplicate=False):
        place = f"L['func']{path}{_path(name)}"
        if (other := first.setdefault(id(p), place)) != place:
            pairs.append(f"{place} is {other}")
    return " and ".join(pairs) or "True"


def _path(name: str) -> str:
    """Return how a parameter is reached from its module, by its name."""
    *modules, last = name.split(".")
    return "".join(f"._modules[{m!r}]" for m in modules) + f"._parameters[{last!r}]"


def check_mode(mode: Any, engine: Engine) -> None:
    """Refuse a ``compile`` that is not known, or not of this engine, by name."""
    check_choice("compile", mode, (None, *MODES))
    if mode == "julia" and engine.name != "julia":
        raise InvalidInputError(
            'compile="julia" runs func inside Julia\'s solver: it needs backend="julia". On the engine "torch" give '
            'compile="trace".'
        )


def check_compiled(field: CompiledField, backend: str, compile: str | None) -> tuple[str, str]:
    """Return the engine and the mode of a compiled field, if a solve asks for no other."""
    if compile not in (None, field.mode):
        raise InvalidInputError(
            f"compile={compile!r}, but func was compiled with mode={field.mode!r}: leave compile out."
        )
    if field.backend not in ("auto", backend) and backend != "auto":
        raise InvalidInputError(f"backend={backend!r}, but func was compiled with backend={field.backend!r}.")
    return (backend if field.backend == "auto" else field.backend), field.mode
