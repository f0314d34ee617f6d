"""Signals that arrive while Julia runs: their handlers raise where a callback can keep the exception."""

from __future__ import annotations

# The module signal makes an enumeration member of every number, which takes longer than the work.
import _signal  # type: ignore[import-not-found]
import signal
import sys
import threading
from types import CodeType, FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGALRM", "SIGUSR1", "SIGUSR2")
_NUMBERS = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]


class DeferredSignals:
    """Holds Python's signal handlers back at the entry of callbacks, while it is entered as a context.

    Python runs a handler where a frame is entered. Raised at the entry of a callback, its exception leaves before any
    ``try`` of the callback: ctypes prints it, and C reads a result that nobody set. So a handler waits there until the
    callback calls `check` inside its ``try``; everywhere else, as in the user's func, it runs at once.

    Args:
        entry: the code that C enters in every callback.
    """

    def __init__(self, entry: CodeType) -> None:
        self._entry = entry
        self._handlers: dict[int, Any] = {}
        self._waiting: list[int] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # handlers run on the main thread only
        for number in _NUMBERS:
            handler = _signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                _signal.signal(number, self._hold)

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._handlers.items():
            if _signal.getsignal(number) == self._hold:
                _signal.signal(number, handler)
        self.check()

    def check(self) -> None:
        """Run the handlers that wait; what they raise is raised here."""
        while self._waiting:
            number = self._waiting.pop()
            self._handlers[number](number, sys._getframe())

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code is self._entry:
            self._waiting.append(number)
        else:
            self._handlers[number](number, frame)
