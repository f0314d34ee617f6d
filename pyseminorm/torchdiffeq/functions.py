"""torchdiffeq's `odeint` and `odeint_adjoint`, by their names and defaults, on our engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..adjoints import Adjoint, BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint
from ..compiled import CompiledField
from ..errors import InvalidInputError
from ..events import Event
from ..problem.parameters import parameters_of
from ..problem.state import UnlikeStateError
from ..problem.torch_modes import apart_from_modes
from ..problem.vector_field import FieldSource
from ..solution import Solution
from ..solving import solve
from ..torch_internals import pytree
from .adjoint_norms import adjoint_norm, show_adjoint_options
from .callbacks import find_callbacks
from .events import solve_to_event
from .inputs import (
    InputAssertionError,
    InputTypeError,
    check_adjoint_tolerance,
    check_state,
    check_times,
    check_tolerance,
)
from .scipy_solver import solve_by_scipy
from .settings import backward_steps, check_both, check_options, choose_method, controller, most_steps, solve_settings
from .solvers import Method, RKAdaptiveStepsizeODESolver, ScipyWrapperODESolver


@apart_from_modes
def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Any] | None = None,
) -> Any:
    r"""Solve as `torchdiffeq.odeint`: the gradients are those of the computed numbers.

    Args:
        func, y0, t: as for `pyseminorm.solve`; ``y0`` may be a tensor or a tuple of tensors.
        rtol, atol: tolerances: numbers, tensors that expand to y0, or a tuple of these for a tuple y0.
        method: one of torchdiffeq's, where "rk4" is the 3/8 rule; None is "dopri5".
        options: as for `odeint_adjoint`.
        event_fn: the solve ends where this function of (t, y) crosses zero; all but the first of two times, and the
            direction of the second, are left aside.

    Returns:
        The state at all times: a tensor (len(t), \*shape), or a tuple of them; with ``event_fn`` the event's time, and
        the states at the first time and there.

    Raises:
        InvalidInputError: bad input; also an AssertionError or a TypeError where torchdiffeq's is one.

    Examples:
        >>> import torch, pyseminorm
        >>> pyseminorm.odeint(lambda t, y: -y, torch.ones(3), torch.tensor([0.0, 1.0])).shape
        torch.Size([2, 3])
    """
    there = Method.of(method)
    given = check_options("options", options, there.solver)
    return _solve(func, y0, t, None, there, None, rtol, atol, *_through_steps(func, given, there), event_fn)


def odeint_event(
    func: Callable[..., Any],
    y0: Any,
    t0: Tensor,
    *,
    event_fn: Callable[[Tensor, Any], Tensor],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    r"""Solve from ``t0`` until an event, as `torchdiffeq.odeint_event`; the event's time and state are differentiable.

    Args:
        func, y0: as for `odeint`.
        t0: the first time, a tensor of one element.
        event_fn: ``event_fn(t, y)``, a tensor: the event is where one of its elements changes its sign.
        reverse_time: whether times decrease.
        odeint_interface: `odeint` or `odeint_adjoint`.
        kwargs: arguments of that function.

    Returns:
        The event's time, and the states (2, \*shape) at ``t0`` and there, of a tuple y0 a tuple of them.

    Examples:
        >>> import torch, pyseminorm
        >>> y0, t0 = torch.tensor([1.0]), torch.tensor(0.0)
        >>> half = lambda t, y: y - 0.5
        >>> t, y = pyseminorm.odeint_event(lambda t, y: -y, y0, t0, event_fn=half)
        >>> round(t.item(), 4), y.shape
        (0.6931, torch.Size([2, 1]))
    """
    if not isinstance(t0, Tensor):
        raise InputAssertionError(f"t0 must be a torch.Tensor of one element, not a {type(t0).__name__}.")
    start = t0.reshape(-1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    found: tuple[Tensor, Any] = odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)
    return found


@apart_from_modes
def odeint_dense(
    func: Callable[..., Any],
    y0: Tensor,
    t0: Tensor | float,
    t1: Tensor | float,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Tensor | float], Tensor]:
    r"""Solve from ``t0`` to ``t1`` as `torchdiffeq.odeint_dense`, and return what gives the state at any time between.

    Args:
        func, rtol, atol, options: as for `odeint`.
        y0: a tensor.
        t0, t1: two times; ``t1`` may be the earlier one.
        method: "dopri5", or None, which is the same.

    Returns:
        A function of a time, or of a vector of m times in any order: the state \*shape, or (m, \*shape). Gradients flow
        to these times, and to all that those of `odeint` flow to (`Solution.interpolate`).

    Raises:
        InvalidInputError: bad input; also an AssertionError or a TypeError where torchdiffeq's is one; the function
            raises it for a time outside.

    Examples:
        >>> import torch, pyseminorm
        >>> y = pyseminorm.odeint_dense(lambda t, y: -y, torch.ones(3), torch.tensor(0.0), torch.tensor(1.0))
        >>> y(torch.tensor([0.5, 0.25])).shape
        torch.Size([2, 3])
    """
    there = Method.of(method)
    if not isinstance(y0, Tensor) or there.name != "dopri5":
        raise InputAssertionError(
            f'odeint_dense with y0 a {type(y0).__name__} and method={method!r}: expected a tensor and "dopri5", as '
            "torchdiffeq's takes no other. pyseminorm.solve(..., dense=True) takes any."
        )
    t = torch.stack([torch.as_tensor(x, dtype=torch.float64, device=y0.device) for x in (t0, t1)])
    given = check_options("options", options, there.solver)
    settings, adjoint = _through_steps(func, given, there)
    state_at: Callable[[Tensor | float], Tensor] = _solve(
        func, y0, t, None, there, None, rtol, atol, settings, adjoint, dense=True
    )
    return state_at


@apart_from_modes
def odeint_adjoint(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Any] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    r"""Solve as `torchdiffeq.odeint_adjoint`, with our engines and, where no adjoint norm is given, our seminorm.

    What differs from torchdiffeq 0.2.5 stands in docs/migrating.md, with the way to get theirs. As there,
    ``adjoint_atol`` is in units of the loss's gradients: the backward steps depend on the loss's scale
    (`BacksolveAdjoint` has ``scale_invariant``, which is off here).

    Args:
        func: an nn.Module, or any function with ``adjoint_params``.
        y0, t: as for `pyseminorm.solve`; ``y0`` may be a tensor or a tuple of tensors.
        rtol, atol: tolerances: numbers, tensors that expand to y0, or a tuple of these for a tuple y0.
        method: one of torchdiffeq's, where "rk4" is the 3/8 rule; None is "dopri5".
        options: "norm" (a callable), "first_step", "step_size" (fixed-step methods), "max_num_steps", "jump_t" (times
            at which func jumps, in both passes), "safety", "ifactor", "dfactor" (of the integral controller); and,
            which torchdiffeq has not, "compile" and "controller" (`solve`'s).
        adjoint_rtol, adjoint_atol, adjoint_method: the same for the backward solve; None takes the forward ones.
        adjoint_options: the same for the backward solve, with "norm": "seminorm", another norm of `BacksolveAdjoint`
            by name, or a callable that takes torchdiffeq's tuple (t, y, adj_y, \*adj_params). None: ``options``,
            without the norm.
        adjoint_params: parameters to differentiate by; None takes those of ``func``.

    Methods ``callback_step``, ``callback_accept_step``, ``callback_reject_step`` of ``func`` and their ``_adjoint``
    variants are called with (t, y, dt) as there; the adjoint ones get (a_t, y, adj_y), without the parameters.

    Returns:
        The state at all times: a tensor (len(t), \*shape), or a tuple of them; with ``event_fn`` the event's time, and
        the states at the first time and there.

    Raises:
        InvalidInputError: bad input; also an AssertionError or a TypeError where torchdiffeq's is one.

    Examples:
        >>> import torch, pyseminorm
        >>> field = lambda t, y: -y
        >>> pyseminorm.odeint_adjoint(field, torch.ones(3), torch.tensor([0.0, 1.0]), adjoint_params=()).shape
        torch.Size([2, 3])
    """
    if adjoint_params is None and not isinstance(func, (nn.Module, CompiledField, FieldSource)):
        raise InvalidInputError(
            "func must be an instance of nn.Module to specify the adjoint parameters; alternatively they can be "
            "specified explicitly via the `adjoint_params` argument. If there are no parameters then it is allowable "
            "to set `adjoint_params=()`."
        )
    back_method = method if adjoint_method is None else adjoint_method
    if back_method != method and options is not None and adjoint_options is None:
        raise InvalidInputError(
            "If `adjoint_method != method` then we cannot infer `adjoint_options` from `options`. So as `options` has "
            "been passed then `adjoint_options` must be passed as well."
        )
    there, back = Method.of(method), Method.of(back_method)
    forward = check_options("options", options, there.solver)
    if adjoint_options is None:
        backward = {key: value for key, value in forward.items() if key not in ("norm", "compile")}
    else:
        backward = check_options("adjoint_options", adjoint_options, back.solver)
        check_both(forward, backward)
    steps: dict[str, Any] = {key: forward[key] for key in ("controller", "min_step") if key in forward}
    adjoint = BacksolveAdjoint(
        norm=adjoint_norm(backward.get("norm"), forward.get("norm")),
        rtol=check_adjoint_tolerance("adjoint_rtol", adjoint_rtol),
        atol=check_adjoint_tolerance("adjoint_atol", adjoint_atol),
        method=None if back.solver is there.solver or back.solver is ScipyWrapperODESolver else back.solver.method,
        max_steps=most_steps(backward),
        controller=controller({**steps, **backward}, back.solver),
        scale_invariant=False,
        dt=None if adjoint_options is None else backward_steps(backward, func, y0, t),
    )
    ys = _solve(func, y0, t, adjoint_params, there, back, rtol, atol, forward, adjoint, event_fn)
    if event_fn is None:
        show_adjoint_options(ys, backward)
    return ys


def _solve(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    params: Iterable[Tensor] | None,
    method: Method,
    back: Method | None,
    rtol: Any,
    atol: Any,
    given: Mapping[str, Any],
    adjoint: Adjoint,
    event_fn: Callable[..., Any] | None = None,
    *,
    dense: bool = False,
) -> Any:
    """Return the states that `solve` gives to checked options, or the function that interpolates them."""
    y0, device = check_state(y0)
    check_times(t, device)
    rtol, atol = check_tolerance("rtol", rtol, y0), check_tolerance("atol", atol, y0)
    callbacks = find_callbacks(func, method, back)
    if isinstance(params, nn.Module):
        raise InputTypeError("adjoint_params is a module: give its parameters, adjoint_params=tuple(net.parameters()).")
    params = None if params is None else list(params)
    by_scipy = method.solver is ScipyWrapperODESolver
    if event_fn is not None and by_scipy:
        raise InvalidInputError('method="scipy_solver" looks for no events: give another one, such as "dopri5".')
    if event_fn is None and len(t) == 1:
        return pytree.tree_map(lambda y: y[None], y0)
    values = solve_by_scipy(func, y0, t, rtol, atol, given) if by_scipy else None
    if by_scipy and (back is None or not torch.is_grad_enabled()):
        return values  # without gradients, as there

    solver, settings = (Method.of(None).solver, {}) if by_scipy else (method.solver, given)
    adaptive = issubclass(method.solver, RKAdaptiveStepsizeODESolver) or by_scipy

    def solve_between(start: Any, times: Tensor, event: Event | None = None) -> Solution:
        arguments = solve_settings(settings, solver, func, y0, times) | {
            "method": choose_method(solver, settings), "rtol": rtol, "atol": atol, "adjoint": adjoint,
            "callbacks": callbacks, "dense": dense, "event": event,
        }  # fmt: skip
        try:
            return solve(func, start, times, params=params, **arguments)
        except UnlikeStateError:
            if isinstance(func, (CompiledField, FieldSource)):
                raise
        own = parameters_of(func) if params is None else params
        return solve(AdaptedField(func, broadcasts=not adaptive), start, times, params=own, **arguments)

    if event_fn is not None:
        return solve_to_event(solve_between, event_fn, y0, t, adaptive=adaptive)
    solution = solve_between(y0, t)
    if by_scipy:  # its values, with the gradients of ours
        return pytree.tree_map(lambda value, y: value + (y - y.detach()), values, solution.ys)
    return solution.interpolate if dense else solution.ys


class AdaptedField:
    """A function whose results are made to look like the state, as far as torchdiffeq does.

    Of a tensor state, axes of length one may be too many or too few, and where the result ``broadcasts`` (fixed steps)
    there may be fewer elements, too; of a tuple, the elements of all results, in order, are those of the state's
    tensors. Both are cast to the state's dtype.
    """

    def __init__(self, func: Callable[..., Any], *, broadcasts: bool) -> None:
        self.func, self._broadcasts = func, broadcasts

    def __call__(self, t: Tensor, y: Any) -> Any:
        value = self.func(t, y)
        try:
            return _fit(value, y, broadcasts=self._broadcasts)
        except (RuntimeError, TypeError, ValueError):
            return value  # which solve refuses by name


def _fit(value: Any, y: Any, *, broadcasts: bool) -> Any:
    """Return a result in the form of the state; raise torch's errors where it has none."""
    if isinstance(y, Tensor):
        fitting = _as_tensor(value, y).to(y.dtype)
        while fitting.dim() > y.dim() and fitting.shape[0] == 1:
            fitting = fitting[0]
        if fitting.numel() == y.numel() == torch.broadcast_tensors(fitting, y)[0].numel():  # type: ignore[no-untyped-call]
            return fitting.reshape(y.shape)
        return fitting.expand(y.shape) if broadcasts else value
    flat = torch.cat([_as_tensor(x, y[0]).reshape(-1) for x in value]).to(y[0].dtype)
    parts = torch.split(flat, [x.numel() for x in y])
    return tuple(part.view(x.shape) for part, x in zip(parts, y, strict=True))


def _as_tensor(value: Any, like: Tensor) -> Tensor:
    """Return a tensor or a number as a tensor; refuse a list, whose tensors would lose their gradients."""
    if isinstance(value, (list, tuple)):
        raise TypeError
    return torch.as_tensor(value, device=like.device)


def _through_steps(
    func: Callable[..., Any], options: Mapping[str, Any], method: Method
) -> tuple[Mapping[str, Any], Adjoint]:
    """Return options, and backpropagation through the steps, which are torchdiffeq's: it gets by with fewer of them
    where its default tolerances are below what the state's dtype resolves.

    A function that runs in another form is known to read nothing but its parameters.
    """
    if options.get("compile") is not None or isinstance(func, (CompiledField, FieldSource)):
        return options, DiscreteAdjoint(keep="stages")
    adaptive = issubclass(method.solver, RKAdaptiveStepsizeODESolver)
    ours = {"controller": "torchdiffeq"} if adaptive else {}
    return {**ours, **options}, DirectAdjoint()
