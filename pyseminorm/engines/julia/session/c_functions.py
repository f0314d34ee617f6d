"""The C functions of PySeminorm that every pass calls: a struct of arguments in, a struct of results out.

A call by way of juliacall takes longer for its arguments than a small model's pass takes; these take a microsecond.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

from . import profiling_clock
from .layouts import C_FUNCTIONS, MOST_RELEASED, MOST_TIMES, RETCODES, TIMES_AT

_KIND = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def address_of(function: ctypes._FuncPointer) -> int:
    """Return where C finds a function. (`ctypes.cast` would tie it, and all that it holds, into a reference cycle.)"""
    return ctypes.c_void_p.from_buffer(function).value or 0


# What Julia calls while it solves without Python, see Poll in julia/src/python/poll.jl. What the handler of a
# signal raises arrives where the C function returns: ctypes looks for it there.
_API = [
    getattr(ctypes.pythonapi, f"Py{name}") for name in ("Err_CheckSignals", "Eval_SaveThread", "Eval_RestoreThread")
]
_ADDRESSES = (ctypes.c_void_p * len(_API))(*map(address_of, _API))
POLL = ctypes.addressof(_ADDRESSES)


class CFunctions:
    """The C functions of PySeminorm (`module`), memory for results, what a signal's handler ``raised`` in a call."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._functions = {
            name: _KIND(int(address)) for name, address in zip(C_FUNCTIONS, module.c_functions(), strict=True)
        }
        self._memory = (ctypes.c_char * (TIMES_AT + MOST_TIMES * ctypes.sizeof(ctypes.c_double)))()
        self._results: dict[str, Any] = {name: kind.from_buffer(self._memory) for name, kind in C_FUNCTIONS.items()}
        self._retcode = ctypes.c_int64.from_buffer(self._memory)  # the first field of what can be interrupted
        self._times = (ctypes.c_double * MOST_TIMES).from_buffer(self._memory, TIMES_AT)
        self._released = (ctypes.c_int64 * (1 + MOST_RELEASED))()
        self._at = ctypes.addressof(self._memory), ctypes.addressof(self._released)
        self._to_release: deque[int] = deque()
        self.raised: BaseException | None = None

    def call(self, name: str, arguments: ctypes.Structure) -> Any:
        """Call a C function by name; its result, valid until the next call, or what it raised.

        A handler that raises while Julia looks for signals makes it end the pass, and say so in the result.
        """
        if self._to_release:
            self._write_released()
        function, retcode = self._functions[name], self._retcode
        retcode.value, self.raised = 0, None
        if profiling_clock.active is not None:
            function = profiling_clock.clock_calls(profiling_clock.Place.JULIA, function)
        try:
            done = function(ctypes.addressof(arguments), *self._at)
        except BaseException as error:
            if RETCODES[retcode.value] != "CallbackFailure":
                raise
            self.raised, done = error, 1
        if not done:
            self._module.raise_again()
        return self._results[name]

    def times(self, count: int) -> list[float] | None:
        """Return the times of the accepted steps of the last pass; None where there are too many."""
        return self._times[:count] if count <= MOST_TIMES else None

    def release(self, number: int) -> None:
        """Let go of something held, which is not needed any more; safe on any thread."""
        self._to_release.append(number)

    def _write_released(self) -> None:
        """Write what the next call lets go of; Julia sets the count back."""
        count = min(len(self._to_release), MOST_RELEASED)
        for i in range(1, 1 + count):
            self._released[i] = self._to_release.popleft()
        self._released[0] = count


class JuliaHandle:
    """A mutable Julia object that Python keeps alive, and where it is."""

    __slots__ = ("address", "object")

    def __init__(self, module: Any, julia_object: Any) -> None:
        self.object, self.address = julia_object, int(module.address_of(julia_object))
