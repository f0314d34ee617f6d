"""Where the time goes while a profile is active: in Julia, in the callbacks that Julia makes, or outside of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TypeVar

from ....errors import UnsupportedError

F = TypeVar("F", bound=Callable[..., Any] | None)


class Place(IntEnum):
    """Who is at work, as PySeminorm numbers them. Time is counted once: a callback's time is not Julia's."""

    OUTSIDE = 1
    JULIA = 2
    CALLBACK = 3


class Clock:
    """Seconds by `Place` between `start` and `stop`, and the ``position()`` at the moves with the places between."""

    def __init__(self, position: Callable[[], int]) -> None:
        self.seconds = dict.fromkeys(Place, 0.0)
        self.edges: list[int] = []
        self.places: list[Place] = []
        self._position, self._place, self._since = position, Place.OUTSIDE, 0.0

    def start(self) -> None:
        self.edges, self.places = [self._position()], [Place.OUTSIDE]
        self._since = time.perf_counter()

    def move(self, place: Place) -> Place:
        """Count what passed since the last move, and be at ``place`` from now; gives the place before."""
        now, position = time.perf_counter(), self._position()
        self.seconds[self._place] += now - self._since
        self._since = now
        if position != self.edges[-1]:
            self.edges.append(position)
            self.places.append(place)
        self.places[-1] = place
        before, self._place = self._place, place
        return before

    def stop(self) -> None:
        self.move(Place.OUTSIDE)
        self.edges.append(self._position())


active: Clock | None = None


@contextmanager
def active_clock(position: Callable[[], int]) -> Iterator[Clock]:
    """Return the one clock for all that is made `clock_calls` in the block; the caller starts and stops it."""
    global active
    if active is not None:
        raise UnsupportedError("a profile is active already, and profiles do not nest: end that one first.")
    clock = active = Clock(position)
    try:
        yield clock
    finally:
        active = None


def clock_calls(place: Place, function: F) -> F:
    """Return ``function``, its time counted as spent at ``place``; the function itself where no profile is active."""
    clock = active
    if clock is None or function is None:
        return function

    def counted(*args: Any) -> Any:
        before = clock.move(place)
        try:
            return function(*args)
        finally:
            clock.move(before)

    return counted  # type: ignore[return-value]
