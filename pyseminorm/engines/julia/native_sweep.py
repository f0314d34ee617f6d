"""DiscreteAdjoint's sweep in Julia, for functions that need no Python."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import torch

from ...errors import BackendUnavailableError, LastGoodState
from ...retcode import ReturnCode
from ...stats import PassStats
from ..interface import AdjointResult, DiscreteProblem
from ..torch.tableaus import TABLEAUS
from .clock import Place, timed
from .native_solve import JuliaVectorField, NativeCallbacks, Scatter
from .runtime import Runtime, first_line, runtime


def native_sweep(julia: Runtime, problem: DiscreteProblem) -> AdjointResult:
    """The adjoint of the steps that Julia recorded."""
    started, field = time.perf_counter(), problem.field
    assert isinstance(field, JuliaVectorField)
    ends, times = np.array(problem.ends), np.array(problem.times)
    active, cotangents = np.array(problem.active, dtype=np.bool_), problem.cotangents.contiguous()
    size = cotangents.shape[1]
    sums = cotangents.new_zeros(size + sum(field.sizes))
    adjoint, total = sums[:size], sums[size:]
    rates = torch.zeros_like(cotangents) if problem.want_rates else None
    scatter, stats, callbacks = Scatter(field), PassStats(), NativeCallbacks(field, None)
    field.native.prepare_products(problem.times[0])
    function = timed(Place.JULIA, julia.module.native_sweep_b)
    try:
        with callbacks.running():
            result = function(
                field.native.handle,
                callbacks.poll,
                _tableau(problem.method),
                problem.steps.foreign,
                (ends.ctypes.data, len(ends)),
                (times.ctypes.data, len(times)),
                active.ctypes.data,
                cotangents.data_ptr(),
                problem.pieces.breaks,
                tuple(t for piece in problem.pieces.bounds for t in piece),
                scatter.described,
                total.data_ptr(),
                adjoint.data_ptr(),
                None if rates is None else rates.data_ptr(),
            )
        retcode, last, stats.naccept, stats.nvjp, inner = result
        stats.times = list(problem.ends[last - stats.naccept : last + 1])[::-1]
        if retcode != "Success":
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
    slopes = {} if rates is None else {i - 1: rates[i - 1] for i in inner}
    return AdjointResult(adjoint, field.split(total), ReturnCode.Success, stats, problem.times[0], rates=slopes)


@functools.cache
def _tableau(method: str) -> Any:
    tableau = TABLEAUS[method]
    rows = tableau.a + tableau.extra_a
    stages, degree = len(rows), len(tableau.dense[0])
    a = np.array([[*row, *(0.0,) * (stages - len(row))] for row in rows])
    b = np.array([*tableau.b, *(0.0,) * len(tableau.extra_c)])
    c, dense = np.array(tableau.c + tableau.extra_c), np.array(tableau.dense)
    memory = (x.ctypes.data for x in (c, a, b, dense))
    return runtime().module.tableau(stages, degree, *memory, tableau.stages, tableau.fsal)
