"""torchdiffeq's `options` and `adjoint_options`, as arguments of `solve` and of an adjoint."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..arguments import to_number
from ..errors import InvalidInputError
from ..host_copies import read
from ..methods.tableaus import find_tableau
from ..problem.times import refuse_gradients, to_times
from ..stepping import Algorithm, PIController, TorchdiffeqController, WarmStart
from .inputs import InputAssertionError
from .solvers import RKAdaptiveStepsizeODESolver, Solver

# Of the adaptive solvers' step sizes, and what they are called in a PIController.
_FACTORS = {"safety": "gamma", "ifactor": "qmax", "dfactor": "qmin"}
_OURS = ("compile", "controller")  # options that torchdiffeq has not
_ARGUMENTS = (
    "rtol", "atol", "method", "options", "event_fn", "adjoint_rtol", "adjoint_atol", "adjoint_method",
    "adjoint_options", "adjoint_params",
)  # fmt: skip
_MOST_STEPS = 2**31 - 1  # torchdiffeq's default


def check_options(name: str, options: Mapping[str, Any] | None, solver: type[Solver]) -> dict[str, Any]:
    """Return the options that a solver knows; warn of others as torchdiffeq, and refuse what stands elsewhere."""
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInputError(f"{name} is a {type(options).__name__}: expected a dict, such as {name}={{...}}.")
    given = dict(options or {})
    for key in given:
        if key in _ARGUMENTS:
            raise InvalidInputError(f"{name}: {key!r} is an argument of the function, not an option.")
        if key in _OURS and name != "options":
            raise InvalidInputError(f"{name}: {key!r} holds for both passes: give options={{{key!r}: ...}}.")
    unexpected = {key: given.pop(key) for key in list(given) if key not in (*solver.options, *_OURS, "norm")}
    if unexpected:
        warnings.warn(f"{solver.__name__}: Unexpected arguments {unexpected}", stacklevel=4)
    if given.get("step_size") is not None and given.get("grid_constructor") is not None:
        raise InvalidInputError("step_size and grid_constructor are mutually exclusive arguments.")
    return given


def check_both(forward: Mapping[str, Any], backward: Mapping[str, Any]) -> None:
    """Refuse options that hold for both solves and are given to the backward one alone, or otherwise than forward."""
    moved = backward.get("perturb")  # the ends of steps, where no others can be
    for key in (*_OF_BOTH, *(_OF_STEPS if moved or isinstance(backward.get("first_step"), WarmStart) else ())):
        here, there = forward.get(key), backward.get(key)
        numbers = not any(callable(x) or isinstance(x, WarmStart) for x in (here, there))
        if there is None or here is there or (numbers and _times(here) == _times(there)):
            continue
        raise InvalidInputError(
            f"adjoint_options: {key!r} is {there!r}, and options' {here!r}: it holds for both passes. Give the "
            "same in options."
        )


_OF_BOTH = ("step_t", "jump_t", "min_step", "max_step", "perturb")
_OF_STEPS = ("first_step", "step_size", "grid_constructor")  # which a backward solve can have of its own


def solve_settings(
    given: Mapping[str, Any], solver: type[Solver], func: Callable[..., Any], y0: Any, t: Tensor
) -> dict[str, Any]:
    """Return the arguments of `solve` that checked options of a solver are."""
    most = given.get("max_step")
    refuse_gradients("jump_t", given.get("jump_t"))
    jumps = _times(given.get("jump_t"))  # None asks func itself
    return {
        "dtmin": given.get("min_step") or None,
        "dtmax": None if most is None or to_number(most) == math.inf else to_number(most),
        "tstops": _times(given.get("step_t")) or (),
        "discontinuities": _grid(given, func, y0, t) if given.get("perturb") else jumps,
        "norm": given.get("norm", "torchdiffeq"),
        "dt": step_size(given, func, y0, t),
        "max_steps": most_steps(given),
        "controller": controller(given, solver),
        "compile": given.get("compile"),
    }


def choose_method(solver: type[Solver], given: Mapping[str, Any]) -> str | Algorithm:
    """Return what `solve` calls a solver with checked options."""
    interp = given.get("interp", "linear")
    if interp not in ("linear", "cubic"):
        raise InvalidInputError(f"Unknown interpolation method {interp}")
    options = {key: given[key] for key in ("max_order", "max_iters") if key in given}
    if interp == "linear" and not given.keys().isdisjoint(("step_size", "grid_constructor")):
        options["interp"] = interp  # else no output is inside a step
    method = "explicit_adams" if given.get("implicit") is False else solver.method
    return Algorithm(method, **options) if options else method


def most_steps(options: Mapping[str, Any]) -> Any:
    """Return the limit of steps; torchdiffeq takes a whole number as a float too (1e4)."""
    given = options.get("max_num_steps", _MOST_STEPS)
    return int(given) if isinstance(given, float) and given.is_integer() else given


def controller(options: Mapping[str, Any], solver: type[Solver]) -> Any:
    """Return the controller that is asked for: torchdiffeq's by name, and where steps of ``min_step`` must be accepted,
    else an integral one, as torchdiffeq's is, with the factors that are given; None without steps to control.
    """
    given = {key: to_number(options[key]) for key in _FACTORS if options.get(key) is not None}
    named = options.get("controller")
    if named == "torchdiffeq" or (named is None and options.get("min_step")):
        return TorchdiffeqController(**given)
    if named is not None or not issubclass(solver, RKAdaptiveStepsizeODESolver):
        return named
    factors = {_FACTORS[key]: value for key, value in given.items()}
    return PIController(beta1=1 / find_tableau(solver.method).order, beta2=0.0, **factors)


def step_size(given: Mapping[str, Any], func: Callable[..., Any], y0: Any, t: Tensor) -> Any:
    """Return the first step, the size of fixed steps, or what makes their grid."""
    make = given.get("grid_constructor")
    if make is None:
        size = given.get("first_step", given.get("step_size"))
        if size is None or isinstance(size, WarmStart):
            return size
        size = abs(to_number(size))
        several = isinstance(t, Tensor) and t.dim() == 1 and len(t) > 1  # else it is refused later
        if given.get("step_size") is None or not several or _counts_as_usual(t.detach(), size):
            return size
        make = functools.partial(_even_grid, size)

    def grid(outputs: Sequence[float]) -> list[float]:
        times = make(func, y0, torch.tensor(outputs, dtype=t.dtype, device=t.device))
        if not isinstance(times, Tensor) or times.dim() != 1:
            raise InvalidInputError("grid_constructor: expected a function that returns a tensor of times.")
        ends: list[float] = [time for time, _ in itertools.groupby(times.tolist())]  # no step is of length zero
        if ends[:1] != [outputs[0]] or ends[-1:] != [outputs[-1]]:
            raise InputAssertionError(
                f"grid_constructor: the grid goes from {ends[:1]} to {ends[-1:]}: expected times from {outputs[0]} to "
                f"{outputs[-1]}."
            )
        return ends

    return grid


def _counts_as_usual(t: Tensor, size: float) -> bool:
    """Tell whether steps of a size are as many as torchdiffeq counts in the dtype of ``t``, from output to output and
    in all: that of 1.2, in float32, is a little more than three steps of 0.4, and it takes three.
    """
    known = t.double()
    for spans, exact, ends in (
        (t.diff(), known.diff(), known[1:].abs().maximum(known[:-1].abs())),
        (t[-1:] - t[:1], known[-1:] - known[:1], known[-1:].abs().maximum(known[:1].abs())),
    ):
        left = exact.abs() - _count(spans.abs(), size).double() * size
        if bool((left > 100 * torch.finfo(torch.double).eps * ends).any()):  # more than an engine's stops forgive
            return False
    return True


def _count(spans: Tensor, size: float) -> Tensor:
    return torch.ceil(spans / size + 1) - 1


def _even_grid(size: float, func: Callable[..., Any], y0: Any, t: Tensor) -> Tensor:
    """Return torchdiffeq's grid of even steps, computed as there."""
    steps, sign = _count((t[-1] - t[0]).abs(), size), torch.sign(t[-1] - t[0])
    grid: Tensor = torch.arange(0, int(steps) + 1, dtype=t.dtype, device=t.device) * (sign * size) + t[0]
    grid[-1] = t[-1]
    return grid


def backward_steps(given: Mapping[str, Any], func: Callable[..., Any], y0: Any, t: Tensor) -> Any:
    """Return the steps that adjoint_options ask for; those of a `WarmStart` are the forward solve's, too."""
    steps = step_size(given, func, y0, t)
    return None if isinstance(steps, WarmStart) else steps


def _grid(given: Mapping[str, Any], func: Callable[..., Any], y0: Any, t: Tensor) -> tuple[float, ...]:
    """Return the ends of all fixed steps, which ``perturb`` has func see from the inside of a step."""
    outputs, step = read(t), step_size(given, func, y0, t)
    if callable(step):
        return tuple(step(outputs))
    if step is None:
        return tuple(outputs)
    start, end = outputs[0], outputs[-1]
    size = step if end > start else -step
    return (*(start + i * size for i in range(math.ceil((end - start) / size))), end)


def _times(times: Iterable[Any] | None) -> tuple[float, ...] | None:
    return None if times is None else tuple(to_times(times).detach().reshape(-1).tolist())
