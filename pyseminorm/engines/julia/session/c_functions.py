"""The C functions of PySeminorm that every pass calls: words in, numbers out.

Their order of words is that of julia/src/python/c_functions.jl. A call by way of juliacall takes longer for its
arguments than a small model's pass takes; these take a microsecond.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections import deque
from typing import Any

from . import profiling_clock

_MOST_WORDS, _MOST_RELEASED = 96, 32
_TIMES_AT, _TIMES = 16, 4096  # where the times of accepted steps begin, and how many fit: TIMES_OF_STEPS in Julia
_KIND = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def address_of(function: ctypes._FuncPointer) -> int:
    """Where C finds a function. (`ctypes.cast` would tie it, and all that it holds, into a reference cycle.)"""
    return ctypes.c_void_p.from_buffer(function).value or 0


# What Julia calls while it solves without Python, see Poll in julia/src/native/function.jl. What the handler of a
# signal raises arrives where the entry returns: ctypes looks for it there.
_API = [
    getattr(ctypes.pythonapi, f"Py{name}") for name in ("Err_CheckSignals", "Eval_SaveThread", "Eval_RestoreThread")
]
_ADDRESSES = (ctypes.c_void_p * len(_API))(*map(address_of, _API))
POLL = ctypes.addressof(_ADDRESSES)

# Julia's RETCODES, from 1; any other is 0.
RETCODES = ("", "Success", "MaxIters", "DtNaN", "DtLessThanMin", "Unstable", "CallbackFailure", "Interrupted")
SUCCESS = RETCODES.index("Success")


class CFunctions:
    """The C functions, and the memory for their arguments and results; `module` is PySeminorm.

    Attributes:
        raised: what the handler of a signal raised during the last call, which ended the pass.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        addresses = module.c_functions()
        names = ("forward", "adjoint", "sweep", "agrees", "load")
        self._functions = {name: _KIND(int(getattr(addresses, name))) for name in names}
        self._words = (ctypes.c_int64 * _MOST_WORDS)()
        self._numbers = (ctypes.c_double * (_TIMES_AT + _TIMES))()
        self._released = (ctypes.c_int64 * (1 + _MOST_RELEASED))()
        self._at = ctypes.addressof(self._numbers), ctypes.addressof(self._released)
        self._to_release: deque[int] = deque()
        self.raised: BaseException | None = None

    def call(self, name: str, words: list[Any]) -> Any:
        """Call an entry with words, as `call_at`."""
        return self.call_at(name, self.write(words))

    def write(self, words: list[Any]) -> int:
        """Where words are for the next call."""
        _packing(len(words)).pack_into(self._words, 0, *words)
        return ctypes.addressof(self._words)

    def call_at(self, name: str, address: int) -> Any:
        """Call an entry with the words at an address; its results, valid until the next call.

        A handler that raises while Julia looks for signals makes it end the pass, and say so in the results.

        Raises:
            juliacall.JuliaError: what it raised.
        """
        if self._to_release:
            self._write_released()
        numbers, function = self._numbers, self._functions[name]
        numbers[0], self.raised = 0.0, None
        try:
            if profiling_clock.active is None:
                done = function(address, *self._at)
            else:
                done = profiling_clock.clock_calls(profiling_clock.Place.JULIA, function)(address, *self._at)
        except BaseException as error:
            if RETCODES[int(numbers[0])] != "CallbackFailure":
                raise
            self.raised, done = error, 1
        if not done:
            self._module.raise_again()
        return numbers

    def release(self, number: int) -> None:
        """Something held is not needed any more; safe on any thread."""
        self._to_release.append(number)

    def _write_released(self) -> None:
        """What the next call lets go of; Julia sets the count back."""
        count = min(len(self._to_release), _MOST_RELEASED)
        for i in range(1, 1 + count):
            self._released[i] = self._to_release.popleft()
        self._released[0] = count


def accepted_times(numbers: Any, count: int) -> list[float] | None:
    """The times of the accepted steps of a pass; None where there are too many."""
    times: list[float] | None = numbers[_TIMES_AT : _TIMES_AT + count] if count <= _TIMES else None
    return times


@functools.cache
def _packing(count: int) -> struct.Struct:
    return struct.Struct(f"{count}q")


class NumberedHandle:
    """Something that Julia holds by a number as long as this object lives, such as the steps of a forward solve."""

    __slots__ = ("_c_functions", "number")

    def __init__(self, c_functions: CFunctions, number: int) -> None:
        self._c_functions, self.number = c_functions, number

    def __del__(self) -> None:
        self._c_functions.release(self.number)


class JuliaHandle:
    """A mutable Julia object that Python keeps alive, and where it is."""

    __slots__ = ("address", "object")

    def __init__(self, module: Any, julia_object: Any) -> None:
        self.object, self.address = julia_object, int(module.address_of(julia_object))
