"""One call of Julia for a pass: what came of it, its exceptions, and the last good state on whatever leaves it."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ....errors import AttachLastGoodState, BackendUnavailableError, InvalidInputError, LastGoodState, first_line
from ....passes.gradient_error import state_error
from ....passes.problems import ForwardProblem, ForwardResult, PassOptions
from ....retcode import ReturnCode
from ....stats import PassStats
from ..session.c_functions import JuliaHandle
from ..session.layouts import RETCODES, PassResult
from ..session.memory import address
from ..session.runtime import Runtime
from .callbacks import SolverCallbacks
from .settings import ForwardArguments


class Pass:
    """One forward or backward solve by Julia, and its result; ``failure`` says what code in Julia raised in it.

    ``state`` and ``t`` are the last good ones (of a successful solve the state need not be told); ``result`` has
    ``calls`` of the right-hand side, ``jacobians`` that a native field made, ``reached`` rows of a forward solve, jumps
    of a backward one, ``steps``, the number of Julia's record of steps, or of quadrature nodes (0: none), and whether
    all rows are known to be ``finite``; ``outcome``: what Julia keeps of it, where it does.
    """

    def __init__(
        self,
        julia: Runtime,
        unflatten: Callable[[Tensor], Any],
        state: Tensor,
        t: float,
        *,
        python: SolverCallbacks | None = None,
        failure: Callable[[], BaseException | None] | None = None,
    ) -> None:
        self._julia, self._unflatten, self._python, self._failure = julia, unflatten, python, failure
        self.state, self.t, self.stats = state, t, PassStats()
        self.retcode, self.detail = ReturnCode.Success, ""
        self.result = PassResult()
        self.outcome: JuliaHandle | None = None

    def run(self, name: str, arguments: ctypes.Structure) -> None:
        """Call a C function, "forward" or "adjoint", once."""
        try:
            with AttachLastGoodState(self.last_good_state):
                self._take(name, self._call(name, arguments))
        finally:
            if self._python is not None:
                self._python.close()

    def run_forward(self, problem: ForwardProblem, call: ForwardArguments) -> Tensor:
        """Solve forward, and return the states (len(times), *shape)."""
        arguments, y0, python = call.arguments, self.state, self._python
        ys = y0.new_empty((len(problem.times), *problem.spec.shape))
        arguments.y0, arguments.ys = address(y0, y0.dtype), address(ys, y0.dtype)
        arguments.dt = problem.options.step_size
        if python:  # else there are none, in arguments that are kept, too
            for name, at in python.arguments.items():
                setattr(arguments, name, at)
            arguments.look, arguments.look_times, arguments.look_states = python.looking
        self.run("forward", arguments)
        return ys

    def last_good_state(self) -> LastGoodState:
        return LastGoodState(self.t, self._unflatten(self.state.flatten().clone()), self.stats)

    def forward_result(
        self, problem: ForwardProblem, ys: Tensor, started: float, checks: int, jacobians: int
    ) -> ForwardResult:
        """Return the result of a solve that wrote ``ys``; ``checks``: checking calls of func that no callback used."""
        stats, result, rows = self.stats, self.result, len(problem.times)
        if result.reached < rows:
            ys[result.reached :] = torch.nan
        stats.nf, stats.njac = result.calls + checks, jacobians
        self.estimate(problem.options)
        dense = None
        if problem.keep_dense and self.outcome:
            dense = JuliaDenseInterpolation(self._julia, self.outcome, self.state)
        stats.seconds = time.perf_counter() - started
        finite = result.finite != 0 and result.reached == rows
        return ForwardResult(ys, self.retcode, stats, self.t, self.state, dense, self.detail, finite)

    def estimate(self, options: PassOptions) -> None:
        """Write the estimate of the error of the state at the end into the statistics, and the second step's size."""
        stats, result = self.stats, self.result
        if options.traits.adaptive:
            stats.state_error = state_error(result.squares, options.rtol, options.atol, result.rms)
            stats.proposed = result.proposed if stats.naccept else None

    def _call(self, name: str, arguments: ctypes.Structure) -> Any:
        try:
            if self._python is None:
                return self._julia.c_functions.call(name, arguments)
            with self._python.signals:
                return self._julia.c_functions.call(name, arguments)
        except Exception as error:
            raised = self._raised
            if raised is not None:
                raise raised from None
            if not isinstance(error, sys.modules["juliacall"].JuliaError):
                raise  # of a signal's handler
            raise translate_error(error) from error

    def _take(self, name: str, result: Any) -> None:
        self.result = result = PassResult.from_buffer_copy(result)
        stats, retcode, first = self.stats, RETCODES[result.retcode], self.t
        stats.naccept, stats.nreject, self.t = result.naccept, result.nreject, result.t
        accepted = self._julia.c_functions.times(result.times_count)
        if result.outcome:
            outcome = self._julia.module.take_handle_b(result.outcome)  # it has failed, or its trajectory is wanted
            self.outcome = JuliaHandle(self._julia.module, outcome)
            retcode, accepted = retcode or str(self._julia.module.retcode(outcome)), self._copy_results(outcome)
        stats.times = [first, *(accepted or ())]
        if retcode != "Success":
            self._stop(name, retcode)

    def _copy_results(self, outcome: Any) -> list[float]:
        """Return the times of all accepted steps; copies the state that the pass ended with, too."""
        module = self._julia.module
        accepted = torch.empty(module.steps_taken(outcome), dtype=torch.float64)
        self.state = torch.empty_like(self.state, memory_format=torch.contiguous_format)
        module.copy_results_b(outcome, address(accepted, accepted.dtype), address(self.state, self.state.dtype))
        times: list[float] = accepted.tolist()
        return times

    def _stop(self, name: str, retcode: str) -> None:
        """Raise what ended the pass, or keep its return code."""
        if retcode in ("CallbackFailure", "Interrupted"):
            if name == "forward" and self.result.steps:
                self._julia.c_functions.release(self.result.steps)  # no sweep follows
            raised = KeyboardInterrupt() if retcode == "Interrupted" else self._julia.c_functions.raised or self._raised
            if raised is not None:
                raise raised
        try:
            self.retcode = ReturnCode[retcode]
        except KeyError:
            self.retcode, self.detail = ReturnCode.Failure, f"OrdinaryDiffEq's return code: {retcode}."

    @property
    def _raised(self) -> BaseException | None:
        raised = None if self._python is None else self._python.raised
        return raised if raised is not None or self._failure is None else self._failure()


# What Julia raises where it is given something that it cannot take, by the start of the first line, and our own.
_INPUT_ERRORS = ("ArgumentError", "DomainError", "TypeError", "MethodError", "UndefKeywordError", "InexactError")
_OUR_INPUT_ERRORS = ("has an algorithm", "is not an OrdinaryDiffEq", "makes its dense output by further calls")


def translate_error(error: Exception) -> BaseException:
    """Return a Julia exception as one of ours, with the first line of its message; an interrupt as Python's own."""
    line = first_line(error)
    if line.startswith("InterruptException"):
        return KeyboardInterrupt()
    if line.startswith(_INPUT_ERRORS) or any(sign in line for sign in _OUR_INPUT_ERRORS):
        return InvalidInputError(f"Julia refused the input: {line}. The full Julia error is the cause of this one.")
    return BackendUnavailableError(f"Julia raised: {line}. The full Julia error is the cause of this one.")


class JuliaDenseInterpolation:
    """A kept forward trajectory: OrdinaryDiffEq's dense solution, alive as long as this object."""

    def __init__(self, julia: Runtime, outcome: JuliaHandle, like: Tensor) -> None:
        self.outcome = outcome
        self._julia, self._like = julia, like

    def __call__(self, t: float) -> Tensor:
        return self.rows([t])[0]

    def rows(self, times: Sequence[float], *, derivative: bool = False) -> Tensor:
        """Return the states at times, or their derivatives by time, (len(times), size)."""
        self._julia.check_caller()
        values, wanted = self._like.new_empty(len(times), self._like.numel()), torch.tensor(times, dtype=torch.float64)
        at = address(wanted, wanted.dtype), len(times), address(values, values.dtype)
        self._julia.module.evaluate_b(self.outcome.object, *at, derivative)
        return values
