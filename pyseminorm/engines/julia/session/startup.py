"""What Julia is started with: how many threads, and whether it handles signals."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ....errors import InvalidInputError

_THREADS, _SIGNALS = "PYTHON_JULIACALL_THREADS", "PYTHON_JULIACALL_HANDLE_SIGNALS"


@dataclass(frozen=True)
class StartOptions:
    """``threads`` ("auto", or a number as text) and ``handle_signals``; None leaves one to the environment."""

    threads: str | None = None
    handle_signals: bool | None = None

    def to_environment(self) -> None:
        """Write them where juliacall reads its options; what the user's environment says already stays.

        Several threads need Julia's signal handling: its garbage collector stops them by faults that it must catch.
        """
        environment = os.environ
        if self.threads is not None:
            environment.setdefault(_THREADS, self.threads)
        several = (environment.get(_THREADS) or environment.get("JULIA_NUM_THREADS") or "1") != "1"
        handle_signals = several or None if self.handle_signals is None else self.handle_signals
        if handle_signals is not None:
            environment.setdefault(_SIGNALS, "yes" if handle_signals else "no")

    def check(self, running: StartOptions) -> None:
        """Refuse a Julia that runs otherwise than asked for: with both, and what decides."""
        wanted = {name: value for name, value in vars(self).items() if value is not None}
        if all(vars(running)[name] == value for name, value in wanted.items()):
            return
        raise InvalidInputError(
            f"Julia runs with {_format_options(vars(running))}; asked for was {_format_options(wanted)}. Julia takes "
            "these when it starts: call pyseminorm.start_julia before the first solve and before any import of "
            f"juliacall, in an environment where {_THREADS} and {_SIGNALS} do not say otherwise."
        )


def _format_options(options: dict[str, str | bool | None]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


@contextmanager
def leave_signals_to_python() -> Iterator[None]:
    """Let interrupts and terminations be handled after Julia's start as they were before.

    A Julia that handles signals blocks four of them on the thread that starts it, to wait for them on a thread of its
    own, and replaces the handler of SIGINT. That loses interrupts: a thread that is older than Julia (OpenMP, OpenBLAS)
    may get them, and outside of a solve nobody looks. SIGUSR1, the tick of Julia's profiler, stays blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where Julia handles no such signals
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig  # signal.signal is for the main thread alone
    get.restype, put.restype, put.argtypes = ctypes.c_void_p, ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    handler = get(signal.SIGINT)
    try:
        yield
    finally:
        put(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT} - blocked)
