"""Numbers among the arguments, checked before any work: what is not as expected is refused by name."""

from __future__ import annotations

import math
import operator
from typing import Any

from torch import Tensor

from .errors import InvalidInputError

LARGEST_WHOLE = 2**63 - 1  # what the engines count by
_LONG = ...  # stands for hundreds of digits


def check_scalar(name: str, value: Any, *, positive: bool = True, owner: str = "") -> float:
    """Return a finite (and positive) number as a float; ``owner`` is the object that has the argument.

    Raises:
        InvalidInputError: it is no number, or none of these.
    """
    try:
        if isinstance(value, (str, bytes, bool)):
            raise TypeError
        number = to_number(value)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInputError(f"{_describe(name, value, owner)}: expected a number.") from None
    except OverflowError:
        raise InvalidInputError(f"{_describe(name, _LONG, owner)} is too large: expected a finite number.") from None
    if not math.isfinite(number) or (positive and number <= 0):
        kind = "positive finite" if positive else "finite"
        raise InvalidInputError(f"{_describe(name, value, owner)}: expected a {kind} number.")
    return number


def to_number(value: Any) -> float:
    """Return a number, or the only element of a tensor, as a float: steps are held as they are, without gradient."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def check_whole(name: str, value: Any, *, owner: str = "") -> int:
    """Return a positive whole number as an int.

    Raises:
        InvalidInputError: it is none, or larger than any engine counts.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidInputError(f"{_describe(name, value, owner)}: expected a positive whole number.") from None
    if number < 1:
        raise InvalidInputError(f"{_describe(name, value, owner)}: expected a positive whole number, at least 1.")
    if number > LARGEST_WHOLE:
        raise InvalidInputError(f"{_describe(name, _LONG, owner)} is too large: expected at most 2**63 - 1.")
    return number


def check_choice(name: str, value: Any, choices: tuple[Any, ...], *, owner: str = "") -> None:
    """Refuse what is none of some names."""
    if value not in choices:
        raise InvalidInputError(
            f"{_describe(name, value, owner)} is not known: give one of {', '.join(map(repr, choices))}."
        )


def check_callable(func: Any) -> None:
    """Refuse a vector field that cannot be called."""
    if not callable(func):
        raise InvalidInputError(f"func is a {type(func).__name__}: expected a callable func(t, y, *args).")


def check_bounds(dtmin: float | None, dtmax: float | None) -> tuple[float, float]:
    """Return the smallest and the largest size of a step."""
    low = 0.0 if dtmin is None or _is(dtmin, 0.0) else check_scalar("dtmin", dtmin)
    high = math.inf if dtmax is None or _is(dtmax, math.inf) else check_scalar("dtmax", dtmax)
    if low > high:
        raise InvalidInputError(f"dtmin={dtmin!r} is larger than dtmax={dtmax!r}.")
    return low, high


def _is(value: Any, number: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == number


def _describe(name: str, value: Any, owner: str) -> str:
    """Return the argument as the caller wrote it."""
    shown = "..." if value is _LONG else repr(value)
    return f"{owner}({name}={shown})" if owner else f"{name}={shown}"
