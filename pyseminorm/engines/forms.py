"""Which form of a function a solve runs: itself, its captured graph, or the graph as Julia code."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import first_line
from ..graphs.capture import (
    Captured,
    CaptureError,
    GuardedFunction,
    drop_failed_capture,
    without_saved_tensors_hooks,
)
from ..graphs.traced_field import FormError, Trace, TracedVectorField, find_trace
from ..passes.problems import Engine
from ..problem.checking_call import FirstValue, warn_about_hidden
from ..problem.parameters import choose_params, kind_of, parameters_of
from ..problem.solve_tensors import list_inputs
from ..problem.vector_field import EagerVectorField, FieldArguments
from ..torch_internals import dynamo_refuses_side_effects, flatten_tree

logger = logging.getLogger("pyseminorm")


@functools.cache
def can_capture() -> bool:
    """Tell whether this PyTorch can capture a function soundly; a log line says once why not."""
    sound = dynamo_refuses_side_effects()
    if not sound:
        logger.info(f"func stays eager: torch {torch.__version__} cannot refuse functions that do more than compute")
    return sound


Guards = dict[Any, GuardedFunction]  # what has been captured of each form of a function

_GUARDED: weakref.WeakKeyDictionary[Any, Guards] = weakref.WeakKeyDictionary()


def capture(
    first: FirstValue, mode: str, engine: Engine, guards: Guards | None = None
) -> tuple[Captured | None, list[Tensor]]:
    """Put a captured form in the place of the field of ``first``; None where func stays eager, which is logged.

    TorchDynamo says whether what it captured before still holds, and captures func (again) where it does not.
    """
    asked, form = first.asked, form_of(first.asked, values=False)
    guards = _GUARDED.setdefault(kind_of(asked.func), {}) if guards is None else guards
    guarded = guards.get(form) or guards.setdefault(form, GuardedFunction(asked.spec))  # each has a limit of captures
    own = choose_params(asked.func, asked.params) if guarded.has_captured else first.field.params
    if guarded.refused:
        first()
        return None, []
    try:
        captured, read = guarded(asked.func, asked.args)
        inputs = list_inputs(own, read, asked.args)
        found = find_trace(captured, inputs, read, first.t, lambda: first.y0)
        first.field = make_form(first, inputs, found, read, mode, engine, verify=True)
        if first.value is None and torch.is_grad_enabled():  # else the checking call has warned
            warn_about_hidden(_hidden(asked, inputs, read))
        return captured, read
    except CaptureError as error:
        reason = str(error)
    drop_failed_capture()
    first()  # an error of func's own comes first
    guarded.refuse()
    logger.info(f"func stays eager: it cannot be captured as a graph ({reason})")
    return None, []


def make_form(
    first: FirstValue, inputs: list[Tensor], found: Trace, read: list[Tensor], mode: str, engine: Engine, verify: bool
) -> EagerVectorField:
    """Return the form asked for, or the next one that can be made; ``verify``: it is seen to give func's value."""
    asked = first.asked
    for name in _forms(mode, engine.name, asked.spec.device.type):
        if name in found.refused:
            continue
        try:
            made = _make(name, asked, inputs, found, read, engine.name)
            if verify and name not in found.verified:
                with without_saved_tensors_hooks():  # made once: a difference, for checkpoints
                    expected = first()
                if not agree(made.f(first.t, first.y0), expected):
                    raise CaptureError("its graph gives other values than a call of it: is it random?")
                found.verified.add(name)
            return made
        except FormError as error:
            found.refused.add(name)
            logger.info(str(error))
    raise CaptureError("nothing can be made of its graph")


def _make(
    name: str, asked: FieldArguments, inputs: list[Tensor], found: Trace, read: list[Tensor], engine: str
) -> EagerVectorField:
    if name == "julia":
        lowered: EagerVectorField = _lowered()(inputs, found, read)
        return lowered
    if name == "inductor" and engine == "torch":  # which has no complex numbers
        few = sum(x.numel() for x in inputs) <= MOST_PARAMETERS
        return TracedVectorField(asked, inputs, found, read, whole_steps=few and not asked.spec.is_complex)
    return TracedVectorField(asked, inputs, found, read, _inductor if name == "inductor" else None)


MOST_PARAMETERS = 2**22  # of whole steps, which hold the products of all stages at once


@functools.cache
def _lowered() -> Any:
    from .julia.native.lowered import LoweredVectorField

    return LoweredVectorField


def _inductor(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function by torch.compile, at its first call; where that cannot be, it runs as it is."""
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        try:
            return compiled(*arguments)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            logger.info(f"torch.compile could not compile func's graph, which runs as it is ({first_line(error)})")
            compiled = function
            return function(*arguments)

    return call


def _forms(mode: str, engine: str, device: str) -> tuple[str, ...]:
    """Return the form asked for, and what comes next where it cannot be made."""
    if mode in ("julia", "auto") and engine == "julia":
        return "julia", "trace"
    compiles = mode == "inductor" or (mode == "auto" and (device == "cuda" or _finds_compiler()))
    return ("inductor", "trace") if compiles else ("trace",)


@functools.cache
def _finds_compiler() -> bool:
    """Tell whether there is a C++ compiler, as inductor looks for one."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl"))


def _hidden(asked: FieldArguments, inputs: list[Tensor], read: list[Tensor]) -> list[Tensor]:
    """Return the leaves that func reads, that require grad, and that solve does not know."""
    rest = set(map(id, read)).difference(map(id, inputs))
    if rest and asked.params is not None:
        rest.difference_update(map(id, parameters_of(asked.func)))
    return [x for x in read if x.requires_grad and x.is_leaf and id(x) in rest] if rest else []


TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}


def agree(a: Tensor | None, b: Tensor | None) -> bool:
    """Return whether two values of one function are equal but for rounding; None is a zero."""
    if a is None or b is None:
        return all(x is None or not bool(x.any()) for x in (a, b))
    size = torch.linalg.vector_norm
    return bool(size(a - b) <= TOLERANCES.get(a.dtype, 5e-2) * size(b))


def form_of(asked: FieldArguments, *, values: bool = True) -> Any:
    """Return what a function is captured anew for; ``values``: with those of the numbers and texts among ``args``."""
    training, kind = getattr(asked.func, "training", None), asked.spec.kind
    if not asked.args:
        return kind, training
    leaves, tree = flatten_tree(asked.args)
    forms = [
        (x.shape, x.stride(), x.dtype, x.device, x.requires_grad) if isinstance(x, Tensor)
        else (type(x), x if values and isinstance(x, _VALUES) else None)
        for x in leaves
    ]  # fmt: skip
    each = [id(x) for x in leaves if isinstance(x, Tensor)]
    return kind, training, str(tree), tuple(forms), tuple(map(each.index, each))  # which are one tensor


_VALUES = (bool, int, float, complex, str)
