"""DiscreteAdjoint's sweep in Julia, for functions that are native there."""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any

import torch
from torch import Tensor

from ....errors import AttachLastGoodState, LastGoodState
from ....passes.problems import AdjointResult, DiscreteProblem
from ....passes.sweep_sums import of_all_steps
from ....problem.parameters import as_real
from ....retcode import ReturnCode
from ....stats import PassStats
from ....torch_internals import unflatten
from ..calls.results import translate_error
from ..calls.settings import tableau
from ..session.c_functions import POLL
from ..session.layouts import RETCODES, SweepCall
from ..session.memory import address, array_type, consecutive, doubles, integers, make_room
from ..session.runtime import Runtime
from .forward import StepsHandle
from .vector_field import JuliaVectorField


def native_sweep(julia: Runtime, problem: DiscreteProblem) -> AdjointResult:
    """Sweep back through the steps that Julia recorded."""
    started, field, steps = time.perf_counter(), problem.field, problem.steps
    assert isinstance(field, JuliaVectorField) and isinstance(steps, StepsHandle)
    native, cotangents = field.native, consecutive(problem.cotangents)
    call: _Call | None = native.prepared.get("sweep")
    if call is None or call.of != (steps.settings, field.scatter, problem.times):
        call = native.prepared["sweep"] = _Call(problem, steps, field)
    adjoint, params = call.point_at_gradients(field)
    derivatives, inside = call.point_at_derivatives(problem, cotangents)
    field.load()
    native.prepare_vjp(problem.times[0])
    call.arguments.steps, call.arguments.reached, call.arguments.whole = steps.number, problem.reached, problem.whole
    call.arguments.cotangents = address(cotangents, native.u.dtype)
    retcode, stats, finite = _run(julia, problem, field, call, adjoint)
    stats.seconds = time.perf_counter() - started
    slopes = {} if derivatives is None else {i: derivatives[i] for i, found in enumerate(inside or ()) if found}
    return AdjointResult(adjoint, params, retcode, stats, stats.times[-1], "", slopes, finite=finite)


def _run(
    julia: Runtime, problem: DiscreteProblem, field: JuliaVectorField, call: _Call, adjoint: Tensor
) -> tuple[ReturnCode, PassStats, bool]:
    """Call Julia: the return code, what the sweep cost, and whether lambda, which it writes, is known to be finite."""
    stats = PassStats()

    def last_good_state() -> LastGoodState:
        at = stats.times[-1] if stats.times else problem.times[-1]
        return LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)

    with AttachLastGoodState(last_good_state):
        try:
            result = julia.c_functions.call("sweep", call.arguments)
        except Exception as error:
            raise translate_error(error) from error
        retcode, last, stats.naccept, stats.nvjp = result.retcode, result.last_step, result.naccept, result.nvjp
        stats.times = list(problem.ends[last - stats.naccept : last + 1])[::-1]
        if RETCODES[retcode] in ("CallbackFailure", "Interrupted"):
            raise julia.c_functions.raised or field.native.failure() or KeyboardInterrupt()
        if not math.isnan(result.param_error):
            stats.param_error = of_all_steps(result.param_error, result.seen)
    if retcode == 0:
        problem.look()  # raises what Julia has seen
        raise AssertionError("Julia refused cotangents that are right")
    return ReturnCode[RETCODES[retcode]], stats, result.finite != 0


class _Call:
    """A sweep as Julia reads it. Training makes the same again and again: only addresses of tensors change."""

    def __init__(self, problem: DiscreteProblem, steps: StepsHandle, field: JuliaVectorField) -> None:
        self.of = (steps.settings, field.scatter, problem.times)
        times, weights = doubles(tuple(problem.times)), tableau(problem.options.method)
        lengths, self.parts = integers(field.sizes), array_type(ctypes.c_int64, len(field.sizes))()
        self._kept = times, weights, lengths
        self.arguments = SweepCall(
            field=field.native.address, poll=POLL, tableau=weights.address, times=times.address,
            times_count=times.count, settings=steps.settings.address, parts=ctypes.addressof(self.parts),
            lengths=lengths.address, parts_count=lengths.count, **field.scatter.arguments,
        )  # fmt: skip

    def point_at_gradients(self, field: JuliaVectorField) -> tuple[Tensor, list[Tensor]]:
        """Make room for lambda and for the gradients, which the sweep writes."""
        arguments, u, targets = self.arguments, field.native.u, field.targets
        real = list(map(as_real, targets))
        if [x.shape for x in real] != field.shapes or any(x.dtype is not u.dtype for x in real):
            targets = [u.new_empty(shape) for shape in field.shapes]  # as they were: x.data has changed since
        if field.small:  # gradients that share no memory take less time than views
            (adjoint, *params), (arguments.adjoint, *parts) = make_room([u, *targets])
            self.parts[:] = parts
            arguments.params = 0
            return adjoint, params
        sums = u.new_empty(u.numel() + field.scatter.size)  # lambda, then the parameters
        adjoint, *params = unflatten(sums, [u, *targets])
        arguments.adjoint = address(sums, u.dtype)
        arguments.params = arguments.adjoint + u.numel() * sums.itemsize
        return adjoint, params

    def point_at_derivatives(self, problem: DiscreteProblem, like: Tensor) -> tuple[Tensor | None, Any]:
        """Make room for derivatives of the dense output, and for which outputs they are of, where they are wanted."""
        if not problem.want_derivatives:
            self.arguments.derivatives = self.arguments.inside = 0
            return None, None
        derivatives, inside = torch.zeros_like(like), array_type(ctypes.c_bool, len(problem.times))()
        self.arguments.derivatives, self.arguments.inside = address(derivatives, like.dtype), ctypes.addressof(inside)
        return derivatives, inside
