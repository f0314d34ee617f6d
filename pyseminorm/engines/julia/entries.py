"""The C functions of PySeminorm that every pass calls: words in, numbers out, in the order of julia/src/entries.jl.

A call by way of juliacall takes longer for its arguments than a small model's pass takes; these take a microsecond.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from .callbacks import address_of
from .clock import Place, timed

_MOST_WORDS, _MOST_RELEASED = 96, 32
_NOTHING: list[int] = []
_TIMES_AT, _TIMES = 16, 4096  # where the times of accepted steps begin, and how many fit: TIMES_OF_STEPS in Julia
_KIND = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

# What Julia calls while it solves without Python, see Poll in julia/src/native.jl. What the handler of a signal raises
# arrives where the entry returns: ctypes looks for it there.
_API = [
    getattr(ctypes.pythonapi, f"Py{name}") for name in ("Err_CheckSignals", "Eval_SaveThread", "Eval_RestoreThread")
]
_ADDRESSES = (ctypes.c_void_p * len(_API))(*map(address_of, _API))
POLL = ctypes.addressof(_ADDRESSES)

# Julia's RETCODES, from 1; any other is 0.
RETCODES = ("", "Success", "MaxIters", "DtNaN", "DtLessThanMin", "Unstable", "CallbackFailure", "Interrupted")


@dataclass(slots=True)
class Passed:
    """What a pass came to.

    Attributes:
        retcode: its name, "" where Julia must be asked.
        done: rows that a forward solve reached, or jumps that a backward solve made.
        steps: the number of the record of steps that Julia holds, of quadrature nodes that it evaluated; 0: none.
        finite: whether all rows that it wrote are known to be finite.
        accepted: times of the accepted steps; None where there are too many (`held` has them).
        held: the number under which Julia holds the outcome, or 0.
        raised: what the handler of a signal raised, which ended the pass.
    """

    retcode: str
    t: float
    naccept: int
    nreject: int
    calls: int
    done: int
    steps: int
    jacobians: int
    finite: bool
    accepted: list[float] | None
    held: int
    raised: BaseException | None


class Entries:
    """The C functions, and the memory for their arguments and results; `module` is PySeminorm.

    Attributes:
        raised: what the handler of a signal raised during the last call, which ended the pass.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        addresses = module.entries()
        names = ("forward", "adjoint", "sweep", "agrees", "load")
        self._functions = {name: _KIND(int(getattr(addresses, name))) for name in names}
        self._words = (ctypes.c_int64 * _MOST_WORDS)()
        self._numbers = (ctypes.c_double * (_TIMES_AT + _TIMES))()
        self._at = ctypes.addressof(self._words), ctypes.addressof(self._numbers)
        self._released: deque[int] = deque()
        self.raised: BaseException | None = None

    def call(self, name: str, words: list[Any]) -> Any:
        """Call an entry; its results, valid until the next call.

        A handler that raises while Julia looks for signals makes it end the pass, and say so in the results.

        Raises:
            juliacall.JuliaError: what it raised.
        """
        released = self._take_released() if self._released else _NOTHING
        words = [len(released), *released, *words]
        _packing(len(words)).pack_into(self._words, 0, *words)
        self._numbers[0], self.raised = 0, None
        try:
            done = timed(Place.JULIA, self._functions[name])(*self._at)
        except BaseException as error:
            if RETCODES[int(self._numbers[0])] != "CallbackFailure":
                raise
            self.raised, done = error, 1
        if not done:
            self._module.raise_again()
        return self._numbers

    def solve(self, name: str, words: list[Any]) -> Passed:
        """One pass, "forward" or "adjoint"."""
        results = self.call(name, words)
        retcode, t, *counts = results[:11]
        naccept, nreject, calls, done, steps, jacobians, finite, count, held = map(int, counts)
        accepted = results[_TIMES_AT : _TIMES_AT + count] if count <= _TIMES else None
        name = RETCODES[int(retcode)]
        return Passed(
            name, t, naccept, nreject, calls, done, steps, jacobians, bool(finite), accepted, held, self.raised
        )

    def let_go(self, number: int) -> None:
        """Something held is not needed any more; safe on any thread."""
        self._released.append(number)

    def _take_released(self) -> list[int]:
        """What the next call lets go of."""
        return [self._released.popleft() for _ in range(min(len(self._released), _MOST_RELEASED))]


class Memory:
    """Numbers where Julia finds them; every pass of a training loop gives the same, so that they are kept.

    Attributes:
        address: where they are, as long as this object lives.
        words: the address and how many there are.
    """

    def __init__(self, values: tuple[float, ...], dtype: Any) -> None:
        self._array = np.array(values, dtype=dtype)
        self.address = int(self._array.ctypes.data)
        self.words = (self.address, len(values))


@functools.lru_cache(maxsize=64)
def doubles(values: tuple[float, ...]) -> Memory:
    """Numbers as Float64; held for the pass by who asked."""
    return Memory(values, np.float64)


@functools.lru_cache(maxsize=64)
def integers(values: tuple[int, ...]) -> Memory:
    """Numbers as Int64; held for the pass by who asked."""
    return Memory(values, np.int64)


@functools.cache
def _packing(count: int) -> struct.Struct:
    return struct.Struct(f"{count}q")


class Held:
    """Something that Julia holds by a number as long as this object lives."""

    __slots__ = ("_entries", "number")

    def __init__(self, entries: Entries, number: int) -> None:
        self._entries, self.number = entries, number

    def __del__(self) -> None:
        self._entries.let_go(self.number)


class Kept:
    """A mutable Julia object that Python keeps alive, and where it is."""

    __slots__ = ("address", "object")

    def __init__(self, module: Any, julia_object: Any) -> None:
        self.object, self.address = julia_object, int(module.address_of(julia_object))
