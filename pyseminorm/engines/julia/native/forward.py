"""Forward solves in Julia of functions that are native there."""

from __future__ import annotations

import time

from ....norms import CallableNorm
from ....passes.problems import ForwardProblem, ForwardResult
from ..calls.callbacks import SolverCallbacks
from ..calls.results import Pass
from ..calls.settings import is_plain, make_settings, tableau
from ..session.c_functions import POLL, CFunctions, JuliaHandle, NumberedHandle
from ..session.layouts import ForwardCall
from ..session.memory import address, consecutive, doubles, offsets_of
from ..session.runtime import Runtime
from .vector_field import JuliaVectorField, refuse_call


def native_forward(julia: Runtime, problem: ForwardProblem, vector: JuliaHandle) -> ForwardResult:
    """Solve forward on vectors of a type. It calls no function of Python but a norm and a report, where there are
    any.
    """
    started, field, y0, recorder = time.perf_counter(), problem.field, consecutive(problem.y0), problem.recorder
    assert isinstance(field, JuliaVectorField)
    native, options, times = field.native, problem.options, problem.times
    keep = 0
    if recorder is not None and not recorder.for_python and options.report is None:
        keep = 2 if recorder.keeps_stages else 1
    call: _Call | None = native.prepared.get("forward")
    if (
        call is None
        or call.options is not options
        or call.rest != (times, keep, problem.keep_dense, problem.spec.shape, problem.spec.sizes, problem.norm)
    ):
        call = _Call(problem, native.address, vector, keep)
        if is_plain(options) and options.report is None and isinstance(problem.norm, str):
            native.prepared["forward"] = call
    ys, arguments, python = y0.new_empty(call.shape), call.arguments, None
    report = None if keep else problem.report
    if report is not None or callable(problem.norm):
        norm = CallableNorm(problem.norm, problem.spec.unflatten) if callable(problem.norm) else None
        python = SolverCallbacks(native.u, refuse_call, norm, report=report)
    arguments.norm, arguments.report = (python.address(x) if python else 0 for x in ("norm", "report"))
    arguments.load = field.load_for_pass(by_pass=not options.traits.needs_jacobian)
    if options.traits.needs_jacobian:  # its rows are products
        native.prepare(times[0], y0)
    arguments.y0, arguments.ys = address(y0, y0.dtype), address(ys, y0.dtype)
    solve = Pass(julia, problem.spec.unflatten, y0, times[0], python=python, failure=native.failure)
    solve.run("forward", arguments)
    checks = 0 if problem.first.value is None else 1
    result = solve.forward_result(problem, ys, started, checks, solve.jacobians)
    if solve.steps:
        result.steps = StepsHandle(julia.c_functions, solve.steps, call.settings)
    return result


class StepsHandle(NumberedHandle):
    """The steps of a forward solve as Julia recorded them, for the sweep, and the settings of that solve."""

    __slots__ = ("settings",)

    def __init__(self, c_functions: CFunctions, number: int, settings: JuliaHandle) -> None:
        super().__init__(c_functions, number)
        self.settings = settings


class _Call:
    """A forward pass as Julia reads it. Training makes the same again and again: only addresses of tensors change."""

    def __init__(self, problem: ForwardProblem, native: int, vector: JuliaHandle, keep: int) -> None:
        self.options = problem.options
        self.rest = (problem.times, keep, problem.keep_dense, problem.spec.shape, problem.spec.sizes, problem.norm)
        self.settings, size = make_settings(problem.options, problem.discontinuities, problem.grid), problem.spec.size
        segments = problem.segments or ()
        offsets, times = offsets_of(segments), doubles(tuple(problem.times))
        weights = tableau(problem.options.method) if keep == 2 else None
        self._kept = vector, offsets, times, weights
        self.shape = (len(problem.times), *problem.spec.shape)
        self.arguments = ForwardCall(
            vector=vector.address, field=native, poll=POLL, keep=keep, offsets=offsets.address, segments=len(segments),
            times=times.address, times_count=times.count, size=size, settings=self.settings.address,
            dense=problem.keep_dense, tableau=0 if weights is None else weights.address,
        )  # fmt: skip
