"""Forward solves in Julia of functions that are native there."""

from __future__ import annotations

import time
from typing import Any

from ....passes.problems import ForwardProblem, ForwardResult
from ..calls.callbacks import SolverCallbacks
from ..calls.looks import Looks
from ..calls.results import Pass
from ..calls.settings import ForwardArguments, is_plain, vector_type
from ..session.c_functions import CFunctions, JuliaHandle
from ..session.memory import consecutive
from ..session.runtime import Runtime
from .compiled_function import NativeField
from .vector_field import JuliaVectorField


def native_forward(julia: Runtime, problem: ForwardProblem) -> ForwardResult:
    """Solve forward. Of Python it calls a norm, a report and the search for events only, where there are any."""
    started, field = time.perf_counter(), problem.field
    assert isinstance(field, JuliaVectorField)
    native, keep = field.native, _recorded(problem)
    python = _measure(problem, field, keep)
    call = _find_call(problem, native, keep) if python is None else _make_call(problem, native, keep)
    # Where no Python runs, nobody overwrites y0 meanwhile.
    y0 = consecutive(problem.first.given if python is None and not problem.keep_dense else problem.y0)
    needs_jacobian = problem.options.traits.needs_jacobian
    call.arguments.load = field.load(by_pass=not needs_jacobian)
    if needs_jacobian:  # its rows are products
        native.prepare(problem.times[0], y0)
    solve = Pass(julia, problem.spec.unflatten, y0, problem.times[0], python=python, failure=native.failure)
    ys, checks = solve.run_forward(problem, call), 0 if problem.first.value is None else 1
    result = solve.forward_result(problem, ys, started, checks, solve.result.jacobians)
    if solve.result.steps:
        result.steps = StepsHandle(julia.c_functions, solve.result.steps, call.settings)
    return result


def _recorded(problem: ForwardProblem) -> int:
    """Return 1 where Julia records the steps, 2 with their stages."""
    recorder = problem.recorder
    if recorder is None or recorder.for_python or problem.options.report is not None:
        return 0
    return 2 if recorder.keeps_stages else 1


def _measure(problem: ForwardProblem, field: JuliaVectorField, keep: int) -> SolverCallbacks | None:
    """Return the norm, the report and the search for events that are functions of Python, if there is one."""
    report = None if keep else problem.report
    norm = problem.callable_norm
    if report is None and norm is None and problem.events is None:
        return None
    looks = Looks(problem.events, problem) if problem.events else None
    return SolverCallbacks(field.native.u, None, norm, report=report, looks=looks, restore=field.restore)


def _find_call(problem: ForwardProblem, native: NativeField, keep: int) -> ForwardArguments:
    """Return the arguments of a pass without Python, those of the last one where it was the same."""
    options = problem.options
    if not is_plain(options):  # what is the user's is not kept
        return _make_call(problem, native, keep)
    key = options, problem.times, keep, problem.keep_dense, problem.spec.shape, problem.spec.sizes, problem.norm
    known: tuple[Any, ForwardArguments] | None = native.prepared.get("forward")
    if known is None or known[0] != key:
        known = native.prepared["forward"] = key, _make_call(problem, native, keep)
    return known[1]


def _make_call(problem: ForwardProblem, native: NativeField, keep: int) -> ForwardArguments:
    return ForwardArguments(problem, vector_type("cpu", native.u.dtype), native.address, keep)


class StepsHandle:
    """The steps of a forward solve, for the sweep, which Julia holds by a number as long as this object lives, and the
    settings of that solve.
    """

    __slots__ = ("_c_functions", "number", "settings")

    def __init__(self, c_functions: CFunctions, number: int, settings: JuliaHandle) -> None:
        self._c_functions, self.number, self.settings = c_functions, number, settings

    def __del__(self) -> None:
        self._c_functions.release(self.number)
