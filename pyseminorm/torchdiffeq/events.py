"""Solves that end at an event: `event_fn` of `odeint` and `odeint_adjoint`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInputError, SolveError
from ..events import Event
from ..solution import Solution
from ..torch_internals import pytree

_FAR = 2.0**64


def solve_to_event(
    solve_window: Callable[[Any, Tensor, Event], Solution],
    event_fn: Callable[[Tensor, Any], Tensor],
    y0: Any,
    t: Tensor,
    *,
    adaptive: bool,
) -> tuple[Tensor, Any]:
    r"""Return the time of the first event after t[0], in the direction of t[1], and the states (2, \*shape) at both.

    No end is known: with adaptive steps it is far away. Fixed steps, which may be as long as the solve, go on in
    windows, each twice as long as the one before.
    """
    if len(t) != 2:
        raise InvalidInputError(f"We require len(t) == 2 when in event handling mode, but got len(t)={len(t)}.")
    start, y, event = t[0].double(), y0, _Event(lambda t, y: _flat(event_fn(t, y)))
    span = (t[1] - t[0]).detach().double()
    if adaptive:
        span *= min(_FAR, torch.finfo(_real(y0)).max ** 0.5)
    with torch.no_grad():
        first = event_fn(t[0].to(_real(y0)), y0)
        if isinstance(first, Tensor) and bool((first == 0).any()):
            return t[0], _rows(y0, y0)
    while True:
        window = torch.stack([start, start.detach() + span])
        try:
            solution = solve_window(y, window, event)
        except SolveError as error:
            unmet = "event_fn was not zero until then: a solve to an event goes on until it is, and knows no last time."
            raise SolveError(f"{error} {unmet}", error.retcode, error.last_good_state) from error
        if solution.events:
            found = solution.events[0]
            return found.t.to(t), _rows(y0, found.y)
        start, y, span = window[1], pytree.tree_map(lambda ys: ys[-1], solution.ys), 2 * span


class _Event(Event):
    """An event whose derivatives are torchdiffeq's: of the state's by time, func's own there."""

    moves_with_func = True


def _flat(value: Any) -> Any:
    """Return the conditions of any shape, such as those of a batch, as a vector; `solve` refuses what is no tensor."""
    return value.reshape(-1) if isinstance(value, Tensor) and value.dim() > 1 else value


def _rows(first: Any, last: Any) -> Any:
    return pytree.tree_map(lambda a, b: torch.stack([a, b]), first, last)


def _real(y0: Any) -> torch.dtype:
    first: Tensor = pytree.tree_leaves(y0)[0]
    return first.real.dtype
