"""The one checking call at the start of a solve: what func returns at the first time, and what it reads."""

from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import HiddenParametersWarning, InvalidInputError, level_of_caller
from ..torch_internals import count_writes
from .parameters import has_lazy, hidden_leaves, parameters_of
from .randomness import Generators
from .state import all_finite
from .tensors_read import TensorsRead
from .torch_modes import run_uncompiled
from .vector_field import EagerVectorField, FieldArguments, FieldSource, check_writes, refuse_writes


class NotFiniteError(InvalidInputError, AssertionError):
    """The initial state, or what func returned there, is not finite: torchdiffeq raises an AssertionError."""


class FirstValue:
    """f at the first time: the one checking call, made where somebody asks for its ``value`` (size,), once.

    ``field`` is made of what was ``asked``: func itself, unless another form is set in its place. ``given`` is the
    initial state in `StateSpec.shape`, in the user's memory, and ``y0`` the same as (size,), in memory of its own.
    """

    def __init__(self, asked: FieldArguments, t: float, y0: Tensor, *, recording: bool) -> None:
        self.asked, self.t = asked, t
        self.value: Tensor | None = None
        self.given = y0.detach()
        self._recording = recording

    @functools.cached_property
    def y0(self) -> Tensor:
        return self.given.reshape(-1).clone()

    @functools.cached_property
    def field(self) -> EagerVectorField:
        func, args, spec, params = self.asked
        if isinstance(func, FieldSource):
            return func.vector_field(args, spec, params)
        try:
            return EagerVectorField(func, args, spec, params)
        except (RuntimeError, ValueError):
            if not has_lazy(func):
                raise
        with torch.no_grad():  # its parameters get their shapes
            func(spec.time(0.0), spec.unflatten(self.y0), *args)
        return EagerVectorField(func, args, spec, params)

    def __call__(self) -> Tensor:
        """Return the value; refuse a y0 or a value that is not finite, and what does not look like y0."""
        if self.value is None:
            if not all_finite(self.y0):
                raise NotFiniteError("y0 contains NaN or infinite values: check where it comes from.")
            self.value = self._make()
        return self.value

    def _make(self) -> Tensor:
        if self.field.rereads:
            return check_call(self.field, self.t, self.y0, self._evaluate)
        # Its form was looked at when it was captured, or Julia looks at it.
        return check_value(self.field, self.field.f(self.t, self.y0), self.t)

    def _evaluate(self) -> Tensor:
        """Call func; where a backward pass may follow, take up the tensors that it reads."""
        field, t, y = self.field, self.t, self.y0
        return _observe(field, t, y) if self._recording else field.f(t, y).clone()


def check_call(field: EagerVectorField, t: float, y: Tensor, call: Callable[[], Tensor]) -> Tensor:
    """Return what a ``call`` of func at (t, y) gives, if that is finite and y is left as it was."""
    generators = Generators(field.spec.device)
    version = count_writes(y)
    try:
        value = call()
    except RuntimeError as error:
        refuse_writes(error)
        raise
    except TypeError as error:
        _check_signature(field, error)
        raise
    check_writes(y, version)
    if generators.have_moved() and _draws_again(field, t, y.detach().reshape(-1)):
        field.random_from = generators
    return check_value(field, value, t)


def _check_signature(field: EagerVectorField, error: TypeError) -> None:
    """Let a call that func's signature does not allow be an error by name."""
    func = field.func.forward if isinstance(field.func, nn.Module) else field.func
    try:
        signature = inspect.signature(func)
    except (TypeError, ValueError):  # of a builtin, say
        return
    try:
        signature.bind(None, None, *field.args)
    except TypeError as refusal:
        given = "".join(f", args[{i}]" for i in range(len(field.args)))
        raise InvalidInputError(
            f"func{signature} cannot be called as func(t, y{given}): {refusal}. It must take the time, the state and "
            "every element of args."
        ) from error


def check_value(field: EagerVectorField, value: Tensor, t: float) -> Tensor:
    """Return what func returned at the first time, if it is finite."""
    if not all_finite(value.detach()):
        hint = " (A JuliaFunction must write all of du: what it returns is not read.)"
        raise NotFiniteError(
            f"func gave non-finite values at the first time, t = {t}: check func and y0."
            f"{hint if isinstance(field.func, FieldSource) else ''}"
        )
    return value


def _observe(field: EagerVectorField, t: float, y: Tensor) -> Tensor:
    """Return f(t, y), after a look at what func reads and at its graph.

    What a call computes and keeps (weights that are made once) is read by the next call: that is looked at too.
    """
    value, hidden, keeps = _observe_once(field, t, y)
    if keeps:
        value, hidden, _ = _observe_once(field, t, y)
    warn_about_hidden(hidden)
    return value


def _observe_once(field: EagerVectorField, t: float, y: Tensor) -> tuple[Tensor, list[Tensor], bool]:
    """Return f(t, y), leaves in its graph that solve does not know, and whether func keeps a tensor with a graph."""
    spec, when, seen = field.spec, field.time(t), TensorsRead()
    leaves = [leaf.detach().requires_grad_() for leaf in spec.split(y)]
    with torch.enable_grad(), run_uncompiled(), seen:
        value = field.under_autocast(field.func)(when, spec.build(leaves), *field.args)
    outputs, made = spec.check_output(value), seen.results_with_gradient()
    own = [when, *(x for x in made if x.is_leaf)]  # of this call alone, unless func keeps one
    kept = [weakref.ref(x) for x in made]
    del made
    field.observe(seen, [*leaves, when])
    known = [*field.targets, *leaves, *own, *(parameters_of(field.func) if field.explicit_params else ())]
    hidden = hidden_leaves(outputs, known)
    flat = spec.join([x.detach() for x in outputs]).clone()  # it may be y itself, or a buffer of func's
    del value, outputs, own, known
    return flat, hidden, any(x() is not None for x in kept)


def _draws_again(field: EagerVectorField, t: float, y: Tensor) -> bool:
    """Tell whether func, which has drawn random numbers, does so in every call, instead of once for itself."""
    generators = Generators(field.spec.device)
    field.f(t, y)
    draws = generators.have_moved()
    generators.restore()
    return draws


def warn_about_hidden(hidden: Sequence[Tensor]) -> None:
    """Warn of leaves that func reads and that solve does not know, if there are any."""
    if not hidden:
        return
    shapes = ", ".join(str(tuple(x.shape)) for x in hidden)
    warnings.warn(
        f"func uses {len(hidden)} tensor(s) that require grad but are hidden from solve (shapes {shapes}), "
        "so they get no gradient. Pass them with params=..., or give func as an nn.Module that owns them, "
        "or detach them.",
        HiddenParametersWarning,
        stacklevel=level_of_caller(),
    )
