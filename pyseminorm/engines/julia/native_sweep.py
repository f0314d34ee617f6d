"""DiscreteAdjoint's sweep in Julia, for functions that need no Python."""

from __future__ import annotations

import ctypes
import functools
import time

import torch
from torch import Tensor

from ...errors import BackendUnavailableError, LastGoodState
from ...retcode import ReturnCode
from ...stats import PassStats
from ..interface import AdjointResult, DiscreteProblem
from .entries import POLL, RETCODES, doubles
from .native_solve import HeldSteps, JuliaVectorField, Scatter, tableau, unflatten
from .runtime import Runtime, first_line


def native_sweep(julia: Runtime, problem: DiscreteProblem) -> AdjointResult:
    """The adjoint of the steps that Julia recorded."""
    started, field, steps = time.perf_counter(), problem.field, problem.steps.foreign
    assert isinstance(field, JuliaVectorField) and isinstance(steps, HeldSteps)
    times, active = doubles(tuple(problem.times)), (ctypes.c_bool * len(problem.active))(*problem.active)
    cotangents = problem.cotangents.contiguous()
    sums = torch.empty(problem.spec.size + sum(field.sizes), dtype=cotangents.dtype)  # lambda, then the parameters
    adjoint, *params = unflatten(sums, _forms(problem.spec.size, tuple(field.shapes)))
    rates = torch.zeros_like(cotangents) if problem.want_rates else None
    inside = (ctypes.c_bool * len(active))() if problem.want_rates else None
    scatter, stats = Scatter(field), PassStats()
    field.load_for_pass()
    field.native.prepare_products(problem.times[0])
    words = [
        field.native.address,
        POLL,
        tableau(problem.method).address,
        steps.held.number,
        *times.words,
        ctypes.addressof(active),
        cotangents.data_ptr(),
        steps.settings.address,
        *scatter.words,
        sums.data_ptr() + problem.spec.size * sums.itemsize,
        sums.data_ptr(),
        0 if rates is None else rates.data_ptr(),
        0 if inside is None else ctypes.addressof(inside),
    ]
    try:
        retcode, last, stats.naccept, stats.nvjp, finite = map(int, julia.entries.call("sweep", words)[:5])
        stats.times = list(problem.ends[last - stats.naccept : last + 1])[::-1]
        if RETCODES[retcode] != "Success":
            raise julia.entries.raised or field.native.failure() or KeyboardInterrupt()
    except BaseException as error:
        at = stats.times[-1] if stats.times else problem.times[-1]
        state = LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)
        error.last_good_state = state  # type: ignore[attr-defined]
        if type(error).__name__ == "JuliaError":
            raise BackendUnavailableError(f"Julia raised: {first_line(error)}.") from error
        raise
    stats.seconds = time.perf_counter() - started
    slopes = {} if rates is None else {i: rates[i] for i, found in enumerate(inside or ()) if found}
    success, at = ReturnCode.Success, problem.times[0]
    return AdjointResult(adjoint, params, success, stats, at, rates=slopes, finite=bool(finite))


@functools.lru_cache(maxsize=64)
def _forms(size: int, shapes: tuple[torch.Size, ...]) -> list[Tensor]:
    """Tensors without memory of their own in the shapes of lambda and of the gradients."""
    return [torch.empty(()).expand(shape) for shape in ((size,), *shapes)]
