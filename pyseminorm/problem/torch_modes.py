"""Under which of torch's modes solve and func run: not inside a graph of torch.compile, nor in inference mode.

Func, but never the solver, runs under the autocast setting of the solve's caller.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import torch

from ..errors import UnsupportedError
from ..torch_internals import is_exporting, is_recorded_or_fake

P = ParamSpec("P")
R = TypeVar("R")

_STANCE = threading.RLock()  # it is the process's


@contextlib.contextmanager
def run_uncompiled() -> Iterator[None]:
    """Run functions that torch.compile has compiled as they were written, so that function modes see what they call.

    Under a mode that it has not seen, such a function would be compiled anew.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled yet
        yield
        return
    with _STANCE, torch.compiler.set_stance("force_eager"):
        yield


def apart_from_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Let torch.compile break its graph at a call of ``function``, and inference mode be no_grad in it.

    Tensors made in inference mode cannot be differentiated by, which func may do by itself. What cannot break its graph
    is refused by name.
    """
    disabled: list[Callable[P, R]] = []

    def uncompiled(*args: P.args, **kwargs: P.kwargs) -> R:
        if is_exporting():  # whose graph has no code outside; another thread may be compiling
            raise UnsupportedError(_NO_GRAPH)
        return function(*args, **kwargs)

    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        if not disabled:
            disable: Any = torch.compiler.disable
            disabled.append(disable(uncompiled, reason=_NO_GRAPH) if _GIVES_REASONS else disable(uncompiled))
        return disabled[0](*args, **kwargs)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return outside(*args, **kwargs)
        if is_recorded_or_fake():
            raise UnsupportedError(_NO_GRAPH)
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.no_grad():
                return call(*args, **kwargs)
        return function(*args, **kwargs)

    return call


_NO_GRAPH = (
    "pyseminorm inside one graph (torch.export, torch.jit.trace, make_fx, torch.compile with fullgraph=True) or of "
    "fake tensors is not supported: how many steps a solve takes depends on numbers, which a graph would not and fake "
    "tensors do not have. Export, trace or compile func, and solve with that."
)
_GIVES_REASONS = "reason" in inspect.signature(torch.compiler.disable).parameters  # since torch 2.7


def under_autocast(func: Callable[..., Any], device: str, dtype: torch.dtype | None) -> Callable[..., Any]:
    """Return func, called under the autocast setting of a type of device; ``dtype`` None: as it is.

    Without the cache of cast weights: what was cast without gradient would be used again where a product is made.
    """
    if dtype is None:
        return func

    def call(*args: Any) -> Any:
        with torch.autocast(device, dtype=dtype, cache_enabled=False):
            return func(*args)

    return call


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return what autocast casts to on a type of device; None where it is off."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context that the solver computes in: in the state's own dtype, whatever the caller's setting."""
    if autocast_dtype(device.type) is not None:
        return torch.autocast(device.type, enabled=False)
    return _AS_IT_IS


_AS_IT_IS: AbstractContextManager[Any] = contextlib.nullcontext()
