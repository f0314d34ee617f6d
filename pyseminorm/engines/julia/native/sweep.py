"""DiscreteAdjoint's sweep in Julia, for functions that are native there."""

from __future__ import annotations

import ctypes
import functools
import time

import torch

from ....errors import LastGoodState, attach_last_good_state
from ....passes.problems import AdjointResult, DiscreteProblem
from ....retcode import ReturnCode
from ....stats import PassStats
from ....torch_internals import unflatten
from ..calls.results import translate_error
from ..calls.settings import tableau
from ..session.c_functions import POLL
from ..session.layouts import RETCODES, SweepCall
from ..session.memory import address, addresses, consecutive, doubles, integers
from ..session.runtime import Runtime
from .forward import StepsHandle
from .vector_field import JuliaVectorField


def native_sweep(julia: Runtime, problem: DiscreteProblem) -> AdjointResult:
    """Sweep back through the steps that Julia recorded."""
    started, field, steps = time.perf_counter(), problem.field, problem.steps
    assert isinstance(field, JuliaVectorField) and isinstance(steps, StepsHandle)
    native, cotangents, size = field.native, consecutive(problem.cotangents), problem.spec.size
    call: _Call | None = native.prepared.get("sweep")
    if call is None or call.of != (steps.settings, field.scatter, problem.times):
        call = native.prepared["sweep"] = _Call(problem, steps, field)
    arguments, stats = call.arguments, PassStats()
    if field.small:  # gradients that share no memory take less time than views
        adjoint, params = torch.empty_like(native.u), list(map(_room_for, field.targets))
        call.parts[:] = addresses(params, adjoint.dtype)
        arguments.adjoint, arguments.params = address(adjoint, adjoint.dtype), 0
    else:
        sums = torch.empty(size + field.scatter.size, dtype=cotangents.dtype)  # lambda, then the parameters
        adjoint, *params = unflatten(sums, [native.u, *field.targets])
        arguments.adjoint = address(sums, sums.dtype)
        arguments.params = arguments.adjoint + size * sums.itemsize
    derivatives = inside = None
    if problem.want_derivatives:
        derivatives, inside = torch.zeros_like(cotangents), (ctypes.c_bool * len(problem.times))()
    field.load_for_pass()
    native.prepare_vjp(problem.times[0])
    arguments.steps, arguments.reached = steps.number, problem.reached
    arguments.cotangents = address(cotangents, native.u.dtype)
    arguments.derivatives = 0 if derivatives is None else address(derivatives, native.u.dtype)
    arguments.inside = 0 if inside is None else ctypes.addressof(inside)

    def last_good_state() -> LastGoodState:
        at = stats.times[-1] if stats.times else problem.times[-1]
        return LastGoodState(at, problem.spec.unflatten(adjoint.clone()), stats)

    with attach_last_good_state(last_good_state):
        try:
            result = julia.c_functions.call("sweep", arguments)
        except Exception as error:
            raise translate_error(error) from error
        retcode, last, stats.naccept, stats.nvjp = result.retcode, result.last_step, result.naccept, result.nvjp
        stats.times = list(problem.ends[last - stats.naccept : last + 1])[::-1]
        if RETCODES[retcode] in ("CallbackFailure", "Interrupted"):
            raise julia.c_functions.raised or native.failure() or KeyboardInterrupt()
    if retcode == 0:
        problem.look()  # raises what Julia has seen
        raise AssertionError("Julia refused cotangents that are right")
    stats.seconds = time.perf_counter() - started
    slopes = {} if derivatives is None else {i: derivatives[i] for i, found in enumerate(inside or ()) if found}
    code, at = ReturnCode[RETCODES[retcode]], stats.times[-1]
    return AdjointResult(adjoint, params, code, stats, at, "", slopes, finite=result.finite != 0)


_room_for = functools.partial(torch.empty_like, memory_format=torch.contiguous_format)


class _Call:
    """A sweep as Julia reads it. Training makes the same again and again: only addresses of tensors change."""

    def __init__(self, problem: DiscreteProblem, steps: StepsHandle, field: JuliaVectorField) -> None:
        self.of = (steps.settings, field.scatter, problem.times)
        times, weights = doubles(tuple(problem.times)), tableau(problem.options.method)
        lengths, self.parts = integers(field.sizes), (ctypes.c_int64 * len(field.sizes))()
        self._kept = times, weights, lengths
        self.arguments = SweepCall(
            field=field.native.address, poll=POLL, tableau=weights.address, times=times.address,
            times_count=times.count, settings=steps.settings.address, parts=ctypes.addressof(self.parts),
            lengths=lengths.address, parts_count=lengths.count, **field.scatter.arguments,
        )  # fmt: skip
