"""Events: conditions on time and state that a solve stops at, changes its state at, or tells of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class Event:
    r"""A moment at which ``fn(t, y)`` crosses zero, for ``solve(event=...)``.

    Args:
        fn: ``fn(t, y) -> g``, a real tensor of shape () or (conditions,): the event happens where one of its elements
            changes its sign. ``t`` is a 0-dim tensor in y's real dtype, ``y`` in the structure of ``y0``.
        terminal: whether the solve ends there; None: it does, unless there is a ``reset``.
        direction: 1 for crossings from below to above zero only (as the solve goes), -1 from above to below, 0 both.
        reset: ``reset(t, y) -> y``, the state that the solve goes on from (a bounce); in the structure of ``y0``.

    A condition that is zero at the first time does not happen there: it must leave zero first. A step is looked at in
    ten places: two crossings of one condition between two of them are not seen (smaller steps: rtol, dt).

    Raises:
        InvalidInputError: an argument is not of its kind, or a terminal event has a reset.

    The names and rules are those of SciML's ContinuousCallback (interp_points=10) and of SciPy's events.

    Examples:
        >>> import torch, pyseminorm
        >>> ball, ground = torch.tensor([10.0, 0.0]), pyseminorm.Event(lambda t, y: y[0])
        >>> fall = lambda t, y: torch.stack([y[1], torch.tensor(-9.81)])
        >>> s = pyseminorm.solve(fall, ball, [0.0, 5.0], event=ground, backend="torch")
        >>> round(s.events[0].t.item(), 4)
        1.4278
    """

    fn: Callable[[Tensor, Any], Tensor]
    terminal: bool | None = None
    direction: int = 0
    reset: Callable[[Tensor, Any], Any] | None = None

    moves_with_func: ClassVar[bool] = (
        False  # with every adjoint; else that of dense output where steps are differentiated
    )

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise InvalidInputError(f"Event(fn=...) is a {type(self.fn).__name__}: expected a function fn(t, y).")
        if self.reset is not None and not callable(self.reset):
            raise InvalidInputError(
                f"Event(reset=...) is a {type(self.reset).__name__}: expected a function reset(t, y) -> y, or None."
            )
        if self.terminal is not None and not isinstance(self.terminal, bool):
            raise InvalidInputError(f"Event(terminal={self.terminal!r}): expected True, False or None.")
        if isinstance(self.direction, bool) or self.direction not in (-1, 0, 1):
            raise InvalidInputError(f"Event(direction={self.direction!r}): expected -1, 0 or 1.")
        if self.terminal and self.reset is not None:
            raise InvalidInputError(
                "Event(terminal=True, reset=...): a solve that ends has no use for a changed state. Leave terminal out."
            )

    @property
    def ends(self) -> bool:
        """Whether the solve ends at the event."""
        return self.reset is None if self.terminal is None else self.terminal

    @property
    def interrupts(self) -> bool:
        """Whether no step goes on from before the event to after it."""
        return self.ends or self.reset is not None


@dataclass(frozen=True, eq=False)
class EventRecord:
    r"""One event of a solve, in ``solution.events``.

    Attributes:
        event: which of the events given to `solve` it was.
        condition: which element of what its ``fn`` returns; 0 for a scalar.
        t: its time, a 0-dim tensor, differentiable: by the implicit function theorem.
        y: the state there, before a reset, in the structure of ``y0``, differentiable, its moment included.
    """

    event: int
    condition: int
    t: Tensor
    y: Any


def check_events(event: Event | Sequence[Event]) -> tuple[Event, ...]:
    """Return the events as a tuple; refuse something else, or none."""
    events = (event,) if isinstance(event, Event) else event
    if not isinstance(events, (list, tuple)):
        hint = " Use event=pyseminorm.Event(fn)." if callable(event) else ""
        raise InvalidInputError(
            f"event is a {type(event).__name__}: expected a pyseminorm.Event or a list of them.{hint}"
        )
    if not events:
        raise InvalidInputError("event is an empty sequence: give None for no events.")
    for index, one in enumerate(events):
        if not isinstance(one, Event):
            raise InvalidInputError(f"event[{index}] is a {type(one).__name__}: expected a pyseminorm.Event.")
    return tuple(events)
