"""Forward solves in Julia of functions that are native there."""

from __future__ import annotations

import time
from typing import Any

from ....passes.problems import ForwardProblem, ForwardResult
from ..calls.callbacks import SolverCallbacks
from ..calls.looks import Looks
from ..calls.results import Pass
from ..calls.settings import is_plain, make_settings, tableau, vector_type
from ..session.c_functions import POLL, CFunctions, JuliaHandle, NumberedHandle
from ..session.layouts import ForwardCall
from ..session.memory import address, consecutive, doubles, make_one, offsets_of
from ..session.runtime import Runtime
from .compiled_function import NativeField
from .vector_field import JuliaVectorField, refuse_call


def native_forward(julia: Runtime, problem: ForwardProblem) -> ForwardResult:
    """Solve forward. Of Python it calls a norm, a report and the search for events only, where there are any."""
    started, field = time.perf_counter(), problem.field
    assert isinstance(field, JuliaVectorField)
    native, times, call = field.native, problem.times, _find_call(problem, field.native)
    silent = call.keep and not callable(problem.norm) and problem.events is None
    python = None if silent else _measure(problem, native, call.keep)
    # Where no Python runs, nobody overwrites y0 meanwhile.
    y0 = problem.first.given if python is None and not problem.keep_dense else problem.y0
    y0 = consecutive(y0)
    arguments, (ys, arguments.ys) = call.arguments, make_one(y0, call.shape)
    arguments.norm, arguments.report = (python.address(x) if python else 0 for x in ("norm", "report"))
    if python:
        arguments.look, arguments.look_times, arguments.look_states = python.looking
    arguments.y0, needs_jacobian = address(y0, y0.dtype), problem.options.traits.needs_jacobian
    arguments.load = field.load(by_pass=not needs_jacobian)
    if needs_jacobian:  # its rows are products
        native.prepare(times[0], y0)
    solve = Pass(julia, problem.spec.unflatten, y0, times[0], python=python, failure=native.failure)
    solve.run("forward", arguments)
    checks = 0 if problem.first.value is None else 1
    result = solve.forward_result(problem, ys, started, checks, solve.jacobians)
    if solve.steps:
        result.steps = StepsHandle(julia.c_functions, solve.steps, call.settings)
    return result


def _measure(problem: ForwardProblem, native: NativeField, keep: int) -> SolverCallbacks | None:
    """Return the norm, the report and the search for events that are functions of Python, if there is one."""
    report = None if keep else problem.report
    norm = problem.callable_norm
    if report is None and norm is None and problem.events is None:
        return None
    return SolverCallbacks(native.u, refuse_call, norm, report=report, looks=Looks.of(problem))


def _find_call(problem: ForwardProblem, native: NativeField) -> _Call:
    """Return the arguments of a pass, those of the last one where it was the same."""
    options, recorder, keep = problem.options, problem.recorder, 0
    if recorder is not None and not recorder.for_python and options.report is None:
        keep = 2 if recorder.keeps_stages else 1
    if (
        options.report is not None
        or problem.events is not None
        or not (is_plain(options) and isinstance(problem.norm, str))
    ):
        return _Call(problem, native, keep)  # what is the user's is not kept
    key = options, problem.times, keep, problem.keep_dense, problem.spec.shape, problem.spec.sizes, problem.norm
    known: tuple[Any, _Call] | None = native.prepared.get("forward")
    if known is None or known[0] != key:
        known = native.prepared["forward"] = key, _Call(problem, native, keep)
    return known[1]


class StepsHandle(NumberedHandle):
    """The steps of a forward solve as Julia recorded them, for the sweep, and the settings of that solve."""

    __slots__ = ("settings",)

    def __init__(self, c_functions: CFunctions, number: int, settings: JuliaHandle) -> None:
        super().__init__(c_functions, number)
        self.settings = settings


class _Call:
    """A forward pass as Julia reads it. Training makes the same again and again: only addresses of tensors change."""

    def __init__(self, problem: ForwardProblem, native: NativeField, keep: int) -> None:
        vector = vector_type("cpu", native.u.dtype)
        self.keep, self.settings = keep, make_settings(problem.options, problem.discontinuities, problem.grid)
        size, segments = problem.spec.size, problem.segments or ()
        offsets, times = offsets_of(segments), doubles(tuple(problem.times))
        weights = tableau(problem.options.method) if keep == 2 else None
        self._kept = vector, offsets, times, weights
        self.shape = (len(problem.times), *problem.spec.shape)
        self.arguments = ForwardCall(
            vector=vector.address, field=native.address, poll=POLL, keep=keep, offsets=offsets.address,
            segments=len(segments),
            times=times.address, times_count=times.count, size=size, settings=self.settings.address,
            dense=problem.keep_dense, tableau=0 if weights is None else weights.address,
        )  # fmt: skip
