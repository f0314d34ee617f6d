"""Every error that pyseminorm raises, under one base class; each message says what was given and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .retcode import ReturnCode
    from .stats import PassStats


class PySeminormError(Exception):
    """Base class of all errors raised by pyseminorm itself."""


class InvalidInputError(PySeminormError, ValueError):
    """An argument was refused, before any work is done, or what a function of the user's returned in a solve."""


class UnsupportedError(PySeminormError, RuntimeError):
    """A combination that pyseminorm does not do; the message names the alternative."""


class BackendUnavailableError(PySeminormError, RuntimeError):
    """The requested engine cannot run here; the message names the command that changes that."""


class WrongThreadError(PySeminormError, RuntimeError):
    """Julia was called from a thread (or a forked process) other than the one that it lives in."""


class JuliaFunctionError(PySeminormError, RuntimeError):
    """The Julia code of a `JuliaFunction` raised; in a solve, ``last_good_state`` is attached to it."""


@dataclass(frozen=True)
class LastGoodState:
    """The end of the last accepted step of a solve that did not finish; of fixed steps, which go on behind what is not
    finite, the last finite output.

    Attributes:
        t: time of that state.
        y: state at ``t``, in the shape(s) of ``y0`` (for a backward pass: the adjoint dL/dy there).
        stats: evaluations and steps spent until then.
    """

    t: float
    y: Any
    stats: PassStats


class AttachLastGoodState:
    """Attach the last good state to whatever exception leaves the block, the user's own ones too."""

    def __init__(self, state: Callable[[], LastGoodState]) -> None:
        self._state = state

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.last_good_state = self._state()  # type: ignore[attr-defined]


def level_of_caller() -> int:
    """Return how far up the stack, from the function that warns, the first line is that is the user's: not of this
    package, nor of PyTorch, which calls it in a backward pass.
    """
    frame, level = sys._getframe(1), 1
    others = (__name__.partition(".")[0], "torch", "contextlib", "functools")
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in others:
        frame, level = frame.f_back, level + 1
    return level


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, which says what happened; its type where there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class SolveError(PySeminormError, RuntimeError, AssertionError):
    """A solve stopped before its last time; an AssertionError too, which torchdiffeq raises there.

    Attributes:
        retcode: why, a `pyseminorm.ReturnCode`.
        last_good_state: a `LastGoodState`: time, state and statistics of the last accepted step.
    """

    def __init__(self, message: str, retcode: ReturnCode, last_good_state: LastGoodState) -> None:
        super().__init__(message)
        self.retcode = retcode
        self.last_good_state = last_good_state

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error arrive whole from another process."""
        return type(self), (str(self), self.retcode, self.last_good_state), self.__dict__


class HiddenParametersWarning(UserWarning):
    """`func` uses tensors that require grad but that `solve` was not told about: they would get no gradient."""


class GradientErrorWarning(UserWarning):
    """The gradient by the parameters is far worse than any tolerance, or cannot have the ``param_rtol`` asked for.

    Steps follow the state (with a seminorm those of the backward solve, too); what only the parameter gradient sees,
    such as a forcing that is faster than the state, may go through between them. What no step of the backward solve
    mends are errors of the states of both solves, where func has kinks.
    """
