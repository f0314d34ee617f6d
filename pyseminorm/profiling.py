"""`profile`: what Julia and torch did with the time of a block of code."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .engines.julia.session.memory import Memory
from .engines.julia.session.profiling_clock import Clock, Place, active_clock
from .engines.julia.session.runtime import Runtime, runtime
from .engines.julia.session.startup import StartOptions
from .errors import InvalidInputError


class ProfiledFunction(NamedTuple):
    """A Julia function, and in how many samples it was running, with what is inlined into it."""

    name: str
    file: str
    line: int
    samples: int


@dataclass
class Profile:
    """What `profile` found, complete when its block has ended; ``str()`` of it is a table.

    Attributes:
        seconds: wall time of the block.
        julia_seconds: of it in Julia's solves, without their callbacks; measured, not sampled.
        callback_seconds: in the callbacks, which are torch and Python; measured.
        outside_seconds: the rest, which is torch and Python too; measured.
        gc_seconds: in Julia's garbage collection; measured.
        collections: how many there were.
        allocated_bytes, allocations: what Julia allocated, and in how many pieces.
        samples: how many samples there are of each kind: "solver", "callback", "field" (a vector field in Julia), "gc",
            "compilation", "other" and "outside".
        functions: the Julia functions that were running in samples, the most first.
    """

    seconds: float = 0.0
    julia_seconds: float = 0.0
    callback_seconds: float = 0.0
    outside_seconds: float = 0.0
    gc_seconds: float = 0.0
    collections: int = 0
    allocated_bytes: int = 0
    allocations: int = 0
    samples: dict[str, int] = field(default_factory=dict)
    functions: list[ProfiledFunction] = field(default_factory=list)
    _table: str = "The profiled block has not ended."
    _julia: Runtime | None = None
    _found: Any = None

    @property
    def torch_share(self) -> float:
        """The share of the time in torch and Python: in callbacks, and outside of Julia."""
        return (self.callback_seconds + self.outside_seconds) / self.seconds

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the samples for https://www.speedscope.app, which draws a flame graph (and uploads nothing).

        Raises:
            InvalidInputError: the block has not ended.
            WrongThreadError: on another thread than Julia's.
        """
        if self._julia is None:
            raise InvalidInputError("there is nothing to save yet: the profiled block has not ended.")
        self._julia.check_caller()
        self._julia.module.save_speedscope(os.fspath(path), self._found)
        return Path(path)

    def __str__(self) -> str:
        return self._table

    def _fill(self, julia: Runtime, clock: Clock, recording: Any) -> None:
        self.julia_seconds, self.callback_seconds, self.outside_seconds = (
            clock.seconds[place] for place in (Place.JULIA, Place.CALLBACK, Place.OUTSIDE)
        )
        measured = (
            ("Julia's solves, less callbacks", self.julia_seconds),
            ("callbacks (torch, Python)", self.callback_seconds),
            ("outside Julia (torch, Python)", self.outside_seconds),
        )
        log = [Memory(torch.tensor(x, dtype=torch.int64)) for x in (clock.edges, clock.places)]
        addresses = ((x.address, x.count) for x in log)
        self._julia, self._found = julia, julia.module.analyse(recording, *addresses, measured)
        self.seconds = sum(seconds for _, seconds in measured)
        self.gc_seconds, self.collections, self.allocated_bytes, self.allocations, samples, functions, self._table = (
            julia.module.python_view(self._found)
        )
        self.samples = {str(kind): int(count) for kind, count in samples}
        self.functions = [ProfiledFunction(*row) for row in functions]


@contextmanager
def profile(*, interval: float = 0.01) -> Iterator[Profile]:
    """Sample what happens inside the block, in Julia's solver and in its callbacks into Python and torch.

    Julia must handle signals for this: it is started so if it is not running yet.

    Args:
        interval: seconds between two samples. Each stops the program for a moment: for some milliseconds where Python's
            stack is deep, and the measured times include that.

    Yields:
        A `Profile`, complete when the block has ended.

    Raises:
        InvalidInputError: Julia is running and does not handle signals, or a wrong interval.
        UnsupportedError: inside of another profile.
        BackendUnavailableError: Julia cannot be started.

    Examples:
        >>> import torch, pyseminorm
        >>> with pyseminorm.profile() as p:  # doctest: +SKIP
        ...     s = pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], backend="julia")
        >>> print(p)  # doctest: +SKIP
        >>> p.save("solve.speedscope.json")  # doctest: +SKIP
    """
    if not 0 < interval < math.inf:
        raise InvalidInputError(f"interval={interval!r}: expected seconds, more than 0.")
    try:
        julia = runtime(StartOptions(handle_signals=True))
    except InvalidInputError:
        raise InvalidInputError(
            "Julia was started without signal handling, which its profiler needs: call "
            "pyseminorm.start_julia(handle_signals=True) before the first solve (and any import of juliacall), or "
            "run `pyseminorm profile script.py`."
        ) from None
    start, halt = julia.module.start_profile, julia.module.halt_profile
    found = Profile()
    with active_clock(ctypes.PYFUNCTYPE(ctypes.c_size_t)(julia.module.position_address())) as clock:
        julia.module.block_ticks()
        halt(start(interval))  # compiles both
        recording = start(interval)
        clock.start()
        try:
            yield found
        finally:
            clock.stop()
            halt(recording)
            found._fill(julia, clock, recording)
