"""torchdiffeq's `options` and `adjoint_options`, as arguments of `solve` and of an adjoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..stepping import PIController
from .solvers import Solver

# Of the adaptive solvers' step sizes, and what they are called in a PIController.
_FACTORS = {"safety": "gamma", "ifactor": "qmax", "dfactor": "qmin"}
_OURS = ("compile",)  # options that torchdiffeq has not
_ARGUMENTS = (
    "rtol", "atol", "method", "options", "event_fn", "adjoint_rtol", "adjoint_atol", "adjoint_method",
    "adjoint_options", "adjoint_params",
)  # fmt: skip
_PROVIDED = ("norm", "first_step", "step_size", "max_num_steps", "jump_t", "dtype", *_OURS, *_FACTORS)


def check_options(name: str, options: Mapping[str, Any] | None, solver: type[Solver]) -> dict[str, Any]:
    """Return the options that a solver knows; warn, as torchdiffeq does, of others.

    Raises:
        InvalidInputError: an option that is an argument, or stands in the other dict's place.
    """
    given = dict(options or {})
    for key in given:
        if key in _ARGUMENTS:
            raise InvalidInputError(f"{name}: {key!r} is an argument of the function, not an option.")
        if key in _OURS and name != "options":
            raise InvalidInputError(f"{name}: {key!r} holds for both passes: give options={{{key!r}: ...}}.")
    unexpected = {key: given.pop(key) for key in list(given) if key not in (*solver.options, *_OURS, "norm")}
    if unexpected:
        warnings.warn(f"{solver.__name__}: Unexpected arguments {unexpected}", stacklevel=4)
    missing = [key for key in given if key not in _PROVIDED]
    if missing:
        raise InvalidInputError(f"{name}: {', '.join(map(repr, missing))} is not supported here.")
    return given


def most_steps(options: Mapping[str, Any], default: int | None) -> Any:
    """Return the limit of steps; torchdiffeq takes a whole number as a float too (1e4)."""
    given = options.get("max_num_steps")
    if given is None:
        return default
    return int(given) if isinstance(given, float) and given.is_integer() else given


def controller(options: Mapping[str, Any]) -> PIController | None:
    """Return the controller of the factors that are given, None without one."""
    given = {ours: float(options[theirs]) for theirs, ours in _FACTORS.items() if options.get(theirs) is not None}
    return PIController(**given) if given else None
