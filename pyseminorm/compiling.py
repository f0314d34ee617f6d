"""Which form of a function a solve runs: itself, its captured graph, or the graph lowered to Julia."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .engines.interface import Engine
from .errors import InvalidInputError
from .tracing.field import Trace, TracedVectorField, captured, trace
from .vector_field import EagerVectorField

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
    if compile in ("julia", "auto") and engine.name == "julia":
        from .engines.julia.lowered import lowered

        code = captured(field, t, y, first, lowered)
        if code is not None:
            return code
    if compile == "inductor":
        try:
            fused = captured(field, t, y, first, _by_inductor)
            if fused is not None:
                return fused
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.info(f"torch.compile could not compile func's graph, which runs as it is ({reason})")
            found = trace(field, t, y)
            if found is not None:
                found[0].kept["inductor"] = False
    return captured(field, t, y, first, TracedVectorField) or field


def _by_inductor(field: EagerVectorField, found: Trace, sources: list[Tensor]) -> TracedVectorField | None:
    """The field by torch.compile, unless that has failed before."""
    return TracedVectorField(field, found, sources, _inductor) if found.kept.get("inductor", True) else None


@functools.cache
def _compiler() -> Any:
    return functools.partial(torch.compile, fullgraph=True, dynamic=False)


def _inductor(function: Any) -> Any:
    return _compiler()(function)
