"""DiscreteAdjoint's sweep in Julia, for functions that need no Python."""

from __future__ import annotations

import time

import numpy as np
import torch

from ...errors import BackendUnavailableError, LastGoodState
from ...retcode import ReturnCode
from ...stats import PassStats
from ..interface import AdjointResult, DiscreteProblem
from .entries import RETCODES
from .native_solve import HeldSteps, JuliaVectorField, NativeCallbacks, Scatter, tableau
from .runtime import Runtime, first_line


def native_sweep(julia: Runtime, problem: DiscreteProblem) -> AdjointResult:
    """The adjoint of the steps that Julia recorded."""
    started, field, steps = time.perf_counter(), problem.field, problem.steps.foreign
    assert isinstance(field, JuliaVectorField) and isinstance(steps, HeldSteps)
    times, active = np.array(problem.times), np.array(problem.active, dtype=np.bool_)
    inside, cotangents = np.zeros(len(times), dtype=np.bool_), problem.cotangents.contiguous()
    size = cotangents.shape[1]
    sums = cotangents.new_zeros(size + sum(field.sizes))
    adjoint, total = sums[:size], sums[size:]
    rates = torch.zeros_like(cotangents) if problem.want_rates else None
    scatter, stats, callbacks = Scatter(field), PassStats(), NativeCallbacks(field, None)
    field.native.prepare_products(problem.times[0])
    words = [
        field.native.address,
        callbacks.poll,
        tableau(problem.method).address,
        steps.held.number,
        *(times.ctypes.data, len(times)),
        active.ctypes.data,
        cotangents.data_ptr(),
        steps.settings.address,
        *scatter.words,
        total.data_ptr(),
        adjoint.data_ptr(),
        0 if rates is None else rates.data_ptr(),
        inside.ctypes.data,
    ]
    try:
        with callbacks.running():
            retcode, last, stats.naccept, stats.nvjp = map(int, julia.entries.call("sweep", words)[:4])
        stats.times = list(problem.ends[last - stats.naccept : last + 1])[::-1]
        if RETCODES[retcode] != "Success":
            raise callbacks.raised or KeyboardInterrupt()
    except BaseException as error:
        at = stats.times[-1] if stats.times else problem.times[-1]
        state = LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)
        error.last_good_state = state  # type: ignore[attr-defined]
        if type(error).__name__ == "JuliaError":
            raise BackendUnavailableError(f"Julia raised: {first_line(error)}.") from error
        raise
    finally:
        callbacks.close()
    stats.seconds = time.perf_counter() - started
    slopes = {} if rates is None else {int(i): rates[i] for i in inside.nonzero()[0]}
    return AdjointResult(adjoint, field.split(total), ReturnCode.Success, stats, problem.times[0], rates=slopes)
