"""Which form of a function a solve runs: itself, its captured graph, or the graph lowered to Julia."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import InvalidInputError
from .graphs.field import Maker, Trace, TracedVectorField, captured, recalled, trace
from .passes.engine import Engine
from .problem.state import StateSpec
from .problem.vector_field import EagerVectorField

logger = logging.getLogger("pyseminorm")

COMPILES = (None, "trace", "inductor", "julia", "auto")


def check_compile(compile: Any, engine: Engine) -> None:
    """Refuse a ``compile`` that is not known, or not of this engine, by name."""
    if compile not in COMPILES:
        raise InvalidInputError(f"compile={compile!r} is not known: give one of {', '.join(map(repr, COMPILES))}.")
    if compile == "julia" and engine.name != "julia":
        raise InvalidInputError(
            'compile="julia" runs func inside Julia\'s solver: it needs backend="julia". On the engine "torch" give '
            'compile="trace".'
        )


def compiled(
    field: EagerVectorField, compile: str | None, engine: Engine, t: float, y: Tensor, first: Callable[[], Tensor]
) -> EagerVectorField:
    """A field in the form asked for, or as near to it as func allows; ``first()`` calls func at (t, y).

    It is called, unless what runs in func's place is known to give the same.
    """
    if compile is None or type(field) is not EagerVectorField:
        first()
        return field
    for make in _makers(compile, engine.name):
        try:
            made: EagerVectorField | None = captured(field, t, y, first, make)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.info(f"torch.compile could not compile func's graph, which runs as it is ({reason})")
            found = trace(field, t, y)
            if found is not None:
                found[0].refused.add(make)
            continue
        if made is not None:
            return made
    return field


def compiled_before(
    func: Callable[..., Any], args: Sequence[Any], spec: StateSpec, params: Any, compile: str | None, engine: Engine
) -> EagerVectorField | None:
    """The field of a closed function without arguments, in the form that it had before; None: it must be made."""
    if compile is None or args or not (params is None or isinstance(params, (list, tuple))):
        return None
    return recalled(func, spec, params, _makers(compile, engine.name))


@functools.cache
def _makers(compile: str, backend: str) -> tuple[Maker[Any], ...]:
    """What makes the form asked for, and what is next to it."""
    if compile in ("julia", "auto") and backend == "julia":
        from .engines.julia.native.lowered import lowered

        return lowered, TracedVectorField
    return (_by_inductor, TracedVectorField) if compile == "inductor" else (TracedVectorField,)


def _by_inductor(field: EagerVectorField, found: Trace, sources: list[Tensor]) -> TracedVectorField | None:
    """The field by torch.compile, unless that has failed before."""
    return None if _by_inductor in found.refused else TracedVectorField(field, found, sources, _inductor)


@functools.cache
def _compiler() -> Any:
    return functools.partial(torch.compile, fullgraph=True, dynamic=False)


def _inductor(function: Any) -> Any:
    return _compiler()(function)
