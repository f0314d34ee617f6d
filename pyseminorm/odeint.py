"""torchdiffeq's `odeint_adjoint`, by its names and defaults, on our engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .adjoints import BacksolveAdjoint
from .errors import InvalidInputError
from .methods.tableaus import METHODS
from .norms import AdjointState
from .problem.torch_modes import apart_from_modes
from .solving import DEFAULT_MAX_STEPS, solve
from .stepping import PIController, StepCallback, StepCallbacks

# torchdiffeq's factors of a step, and what they are called in a PIController
_FACTORS = {"safety": "gamma", "ifactor": "qmax", "dfactor": "qmin"}
_OPTIONS = ("norm", "first_step", "step_size", "max_num_steps", "jump_t", "compile", *_FACTORS)
_ADJOINT_OPTIONS = ("norm", "max_num_steps", *_FACTORS)


@apart_from_modes
def odeint_adjoint(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    r"""Solve as `torchdiffeq.odeint_adjoint`, with our engines and, where no adjoint norm is given, our seminorm.

    Differences from torchdiffeq 0.2.5: the backward norm defaults to ``"seminorm"`` (there: a norm over everything,
    which is ``adjoint_options={"norm": "torchdiffeq"}`` here); ``"rk4"`` is the classical method, there the 3/8 rule;
    one backward solve serves all output times. As there, ``adjoint_atol`` is in units of the loss's gradients: the
    backward steps depend on the loss's scale (`BacksolveAdjoint` has ``scale_invariant``, which is off here).

    Args:
        func, y0, t: as for `pyseminorm.solve`; ``y0`` may be a tensor or a tuple of tensors.
        rtol, atol: tolerances.
        method: one of `solve`'s methods; None is "dopri5".
        options: "norm" (a callable), "first_step", "step_size" (fixed-step methods), "max_num_steps", "jump_t" (times
            at which func jumps, in both passes), "safety", "ifactor", "dfactor" (of the PI controller, in both passes);
            and, which torchdiffeq has not, "compile" (`solve`'s).
        adjoint_rtol, adjoint_atol, adjoint_method: the same for the backward solve; None takes the forward ones.
        adjoint_options: "max_num_steps", "safety", "ifactor", "dfactor", and "norm": "seminorm", another norm of
            `BacksolveAdjoint` by name, or a callable that takes torchdiffeq's tuple (t, y, adj_y, \*adj_params).
        adjoint_params: parameters to differentiate by; None takes those of ``func``.

    Methods ``callback_step``, ``callback_accept_step``, ``callback_reject_step`` of ``func`` and their ``_adjoint``
    variants are called with (t, y, dt) as there, but after the step; the adjoint ones get an `AdjointState`.

    Returns:
        The state at all times: a tensor (len(t), \*shape), or a tuple of them.

    Raises:
        InvalidInputError: bad input, or an option that is not among the above.

    Examples:
        >>> import torch, pyseminorm
        >>> pyseminorm.odeint_adjoint(lambda t, y: -y, torch.ones(3), torch.tensor([0.0, 1.0])).shape
        torch.Size([2, 3])
    """
    forward = _check(options, _OPTIONS, "options")
    backward = _check(adjoint_options, _ADJOINT_OPTIONS, "adjoint_options")
    norm = forward.get("norm", "rms")
    adjoint_norm = backward.get("norm", "seminorm")
    if callable(adjoint_norm):
        adjoint_norm = _from_tuple(adjoint_norm)
    steps = {k: forward[k] for k in ("first_step", "step_size") if forward.get(k) is not None}
    if len(steps) > 1:
        raise InvalidInputError("options: give first_step (adaptive methods) or step_size (fixed-step ones), not both.")
    solution = solve(
        func,
        y0,
        t,
        params=adjoint_params,
        method=_check_method("method", method or "dopri5"),
        rtol=rtol,
        atol=atol,
        norm=norm,
        adjoint=BacksolveAdjoint(
            norm=adjoint_norm,
            rtol=adjoint_rtol,
            atol=adjoint_atol,
            method=None if adjoint_method is None else _check_method("adjoint_method", adjoint_method),
            max_steps=_most_steps(backward, None),
            controller=_controller(backward),
            scale_invariant=False,
        ),
        dt=next(iter(steps.values()), None),
        max_steps=_most_steps(forward, DEFAULT_MAX_STEPS),
        discontinuities=tuple(float(x) for x in forward.get("jump_t", ())),
        controller=_controller(forward),
        callbacks=_callbacks(func),
        compile=forward.get("compile"),
    )
    return solution.ys


def _most_steps(options: Mapping[str, Any], default: int | None) -> Any:
    """Return the limit of steps; torchdiffeq takes a whole number as a float too (1e4)."""
    given = options.get("max_num_steps")
    if given is None:
        return default
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _controller(options: Mapping[str, Any]) -> PIController | None:
    given = {ours: float(options[theirs]) for theirs, ours in _FACTORS.items() if options.get(theirs) is not None}
    return PIController(**given) if given else None


def _callbacks(func: Callable[..., Any]) -> StepCallbacks:
    """Return the callbacks that torchdiffeq looks for on func: a step's own and those of its outcome."""

    def both(kind: str, adjoint: str) -> StepCallback | None:
        names = (f"callback_step{adjoint}", f"callback_{kind}_step{adjoint}")
        found = [getattr(func, name) for name in names if callable(getattr(func, name, None))]

        def call(t: float, y: Any, dt: float) -> None:
            for callback in found:
                callback(torch.tensor(t, dtype=torch.float64), y, torch.tensor(dt, dtype=torch.float64))

        return call if found else None

    return StepCallbacks(both("accept", ""), both("reject", ""), both("accept", "_adjoint"), both("reject", "_adjoint"))


def _check(options: Mapping[str, Any] | None, known: tuple[str, ...], name: str) -> dict[str, Any]:
    given = dict(options or {})
    unknown = [k for k in given if k not in known]
    if unknown:
        raise InvalidInputError(
            f"{name}: {', '.join(map(repr, unknown))} is not supported here; known are {', '.join(map(repr, known))}. "
            "pyseminorm.solve has further settings."
        )
    return given


def _check_method(name: str, method: str) -> str:
    """Refuse torchdiffeq's methods that we do not have by their names, with the nearest of ours."""
    nearest = {"dopri8": "vern7", "fehlberg2": "bosh3", "adaptive_heun": "bosh3", "heun2": "midpoint", "heun3": "rk4"}
    if method in nearest:
        raise InvalidInputError(f"{name}={method!r} is not provided: use {nearest[method]!r} ({', '.join(METHODS)}).")
    return method


def _from_tuple(norm: Callable[[tuple[Any, ...]], Any]) -> Callable[[AdjointState], Any]:
    def on_state(state: AdjointState) -> Any:
        leaf = state.adjoint if isinstance(state.adjoint, Tensor) else next(iter(state.adjoint))
        return norm((leaf.new_zeros(()), state.y, state.adjoint, *state.params))

    return on_state
