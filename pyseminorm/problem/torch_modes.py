"""Under which of torch's modes solve and func run: not inside a graph of torch.compile, nor in inference mode."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_STANCE = threading.RLock()  # it is the process's


@contextlib.contextmanager
def run_uncompiled() -> Iterator[None]:
    """Run functions that torch.compile has compiled as they were written, so that function modes see what they call.

    Under a mode that it has not seen, such a function would be compiled anew.
    """
    set_stance: Any = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    if set_stance is None or "torch._dynamo" not in sys.modules:  # nothing is compiled yet
        yield
        return
    with _STANCE, set_stance("force_eager"):
        yield


def apart_from_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Let torch.compile break its graph at a call of ``function``, and inference mode be no_grad in it.

    Tensors made in inference mode cannot be differentiated by, which func may do by itself.
    """
    disabled: list[Callable[P, R]] = []

    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        if not disabled:
            disable: Any = torch.compiler.disable
            disabled.append(disable(function))
        return disabled[0](*args, **kwargs)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return outside(*args, **kwargs)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.no_grad():
                return call(*args, **kwargs)
        return function(*args, **kwargs)

    return call
