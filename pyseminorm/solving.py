"""`solve`: the one entry point, from PyTorch code to an engine and back."""

from __future__ import annotations

import functools
import logging
import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .adjoints import Adjoint, BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint, choose_adjoint
from .arguments import check_bounds, check_callable, check_choice, check_scalar, check_whole
from .compiled import CompiledField, check_compiled, check_mode
from .engines.select import select_engine
from .errors import InvalidInputError
from .events import Event, check_events
from .grids import Grid, check_step
from .methods.tableaus import IMPLICIT_METHODS, METHODS, method_name
from .norms import FORWARD_NORMS
from .passes import refusals
from .passes.autograd import SolveContext, SolveFunction
from .passes.event_records import event_records
from .passes.event_search import EventSearch
from .passes.kept_trajectory import KeptTrajectory, RecordedTrajectory
from .passes.problems import Engine, PassOptions
from .problem.checking_call import FirstValue
from .problem.jacobian import JACOBIANS
from .problem.parameters import check_params, kind_of
from .problem.recorded_field import RecordedField, RecordedStart
from .problem.state import StateSpec
from .problem.times import check_stops, check_times, refuse_gradients
from .problem.tolerances import check_fits, check_tolerance
from .problem.torch_modes import apart_from_modes, autocast_dtype
from .problem.vector_field import FieldArguments, FieldSource
from .segments import solve_segments
from .solution import Solution
from .stepping import MethodTraits, StepCallbacks, WarmStart, check_controller
from .torch_internals import forward_mode_is_active, pytree

logger = logging.getLogger("pyseminorm")

DEFAULT_MAX_STEPS = 100_000


@apart_from_modes
def solve(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor | Sequence[float],
    *,
    args: tuple[Any, ...] = (),
    params: Iterable[Tensor] | None = None,
    method: Any = "tsit5",
    rtol: Any = 1e-3,
    atol: Any = 1e-6,
    norm: str | Callable[[Any], Any] = "rms",
    adjoint: Adjoint | Literal["auto"] = BacksolveAdjoint(),  # noqa: B008 (frozen)
    backend: str = "auto",
    dt: float | Tensor | Sequence[float] | Grid | WarmStart | None = None,
    dense: bool = False,
    max_steps: int = DEFAULT_MAX_STEPS,
    discontinuities: Sequence[float] | None = None,
    controller: Any = None,
    tstops: Sequence[float] = (),
    dtmin: float | None = None,
    dtmax: float | None = None,
    callbacks: StepCallbacks | None = None,
    event: Event | Sequence[Event] | EventSearch | None = None,
    jacobian: str = "reverse",
    compile: str | None = None,
    throw: bool = True,
) -> Solution:
    r"""Solve dy/dt = func(t, y, \*args) and make the result differentiable by the adjoint method.

    Gradients flow to ``y0``, to every parameter that requires grad of ``func`` (or ``params``), to tensors in ``args``
    that require grad, through tensors that were computed before the solve and that ``func`` reads, and to ``t``. What
    may change between the passes, and what a solve cannot see: docs/limits.md.

    Args:
        func: any callable or nn.Module, ``func(t, y, *args) -> dy/dt``; ``t`` is a 0-dim tensor in y's real dtype. Or
            a `JuliaFunction`, which the engine "julia" solves without calling Python.
        y0: initial state, a tensor of any shape or a nested tuple/dict of tensors of one dtype (float16 to float64 or
            complex; the engine "julia" has float32 and float64) and device.
        t: strictly increasing or decreasing times, at least 2; the first is that of ``y0``.
        args: further arguments of ``func``.
        params: the parameters to differentiate by; None takes those of ``func`` if it is an nn.Module.
        method: "tsit5", "dopri5", "bosh3", "vern7", "adaptive_heun" (adaptive), "euler", "midpoint", "rk4", "heun2"
            (fixed steps); on the engine "torch" alone also torchdiffeq's "dopri8", "fehlberg2" (adaptive), "heun3" and
            "rk4_38", the 3/8 rule (fixed steps), and (fixed steps, see `Algorithm`, not for DiscreteAdjoint)
            "explicit_adams", "implicit_adams", "implicit_euler", "implicit_midpoint", "trapezoid", "radauIIA3",
            "radauIIA5", "gl4", "gl6", "sdirk2", "trbdf2"; on the engine "julia" alone also any OrdinaryDiffEq
            algorithm by its own name ("Vern9", "Rodas5P"), with keyword arguments as an `Algorithm`, or an algorithm
            object made in Julia (diffeqpy's ``ode.Tsit5()``).
        rtol, atol: relative and absolute tolerance of a step's error (in units of y): numbers, or (engine "torch") one
            for every element: a tensor that expands to y0, for a nested y0 its structure of tensors and numbers.
        norm: "rms"; "torchdiffeq", the largest rms of a leaf of y0; or a callable that gets the scaled error in the
            structure of ``y0`` and returns a scalar >= 0.
        adjoint: `BacksolveAdjoint`, `InterpolatingAdjoint` or `GaussAdjoint`, with the norm of the backward solve;
            `DiscreteAdjoint`, which differentiates the steps that were taken; `DirectAdjoint`, plain backpropagation
            through them; or "auto": GaussAdjoint() where the method is implicit or the parameters have at least as
            many elements as the state, else BacksolveAdjoint().
        backend: "auto" (Julia where one is configured, else torch), "torch" or "julia".
        dt: first step of an adaptive method, or a `WarmStart`, which has it from the solve before; or the step size of
            a fixed-step one (None: from output to output), or
            the times at which its steps end (as far as they are inside), or a function that makes them, from the first
            to the last, of the times of outputs (forward of all, backward of every two). Outputs inside a step are
            dense output.
        dense: keep the trajectory for `Solution.interpolate`.
        max_steps: limit of attempted steps, for each pass.
        discontinuities: times at which ``func`` jumps, such as a control that switches; steps end there, and the stages
            of a step see its own side only (``t`` is moved beside the jump by a rounding step). None takes those of a
            ``func`` whose class has a property of this name, such as a `CDE`'s.
        controller: a `PIController`, or (engine "julia") a controller object of OrdinaryDiffEq; None: the method's own.
            "torchdiffeq" (engine "torch"): the steps of that package, a `TorchdiffeqController`.
        tstops: times that a step must end at, in both passes.
        dtmin, dtmax: smallest and largest step of an adaptive method, in both passes. As in SciML, a solve fails where
            a step of ``dtmin`` is not accepted, or a shorter one is asked for; with ``controller="torchdiffeq"``
            a step of ``dtmin`` is accepted, as there.
        callbacks: `StepCallbacks` on accepted and rejected steps, forward and backward.
        event: an `Event`, or several: conditions that end the solve where they cross zero, change its state, or are
            recorded in ``solution.events``, with times and states that are differentiable by everything that they
            depend on. (An `EventSearch` is for one segment of such a solve.)
        jacobian: how methods for stiff problems get the Jacobian of ``func``: "reverse" (batched vector-Jacobian
            products through torch), "forward" (batched forward-mode AD) or "finite" (differences). A `JuliaFunction`
            makes its own, from its products.
        compile: what runs in the place of ``func``: None, itself; "trace", its ATen graph and that of its products,
            captured at the first solve and used again while shapes, dtypes and everything else that func reads stay
            the same; "inductor", whole steps of the embedded engine, each one graph compiled by
            torch.compile's inductor; "julia" (engine "julia"), these graphs as Julia code,
            without a call of Python in the solve; "auto": "julia" on that engine for states on the CPU, else "inductor"
            where there is a C++ compiler or the state is on CUDA, else "trace".
            A function that cannot be captured whole (control flow that depends on data, side effects, random numbers)
            stays eager, one with an operation that Julia code lacks stays a graph; one log line says so.
        throw: raise `SolveError` where the solve fails; False returns what was reached, with its `ReturnCode`.

    Returns:
        A `Solution`.

    Raises:
        InvalidInputError: bad input, before any step; or what ``func`` returned at a later call does not look like y0.
        BackendUnavailableError: the engine asked for cannot run here.
        SolveError: the solve (or later the backward solve) did not reach its end.
        UnsupportedError: double backward, torch.func transforms, forward-mode AD, but with `DirectAdjoint`.

    Under ``torch.autocast``, ``func`` runs under it, in both passes, wherever ``backward()`` is called, and what it
    returns in a lower precision is cast to the dtype of ``y0``; the solver itself computes in that dtype throughout:
    states, error estimates and sums of gradients are not rounded, values and products of ``func`` are, to the lower
    precision's 8 (bfloat16) or 11 (float16) bits. An rtol below that makes steps as small as the rounding demands.
    ``compile`` has no effect there.

    The method is that of Chen et al., Neural Ordinary Differential Equations, NeurIPS 2018, with the norm of Kidger,
    Chen, Lyons, "Hey, that's not an ODE": Faster ODE Adjoints via Seminorms, ICML 2021.

    Examples:
        >>> import torch, pyseminorm
        >>> field = torch.nn.Linear(2, 2)
        >>> y0, t = torch.zeros(5, 2), torch.linspace(0, 1, 3)
        >>> solution = pyseminorm.solve(lambda t, y: field(y), y0, t, params=field.parameters())
        >>> solution.ys.shape
        torch.Size([3, 5, 2])
        >>> solution.ys[-1].pow(2).mean().backward()
        >>> field.weight.grad.shape
        torch.Size([2, 2])
    """
    check_callable(func)
    refusals.refuse_vmap() if isinstance(adjoint, DirectAdjoint) else refusals.refuse_transforms()
    spec = StateSpec.of(y0)
    ts, times = check_times(t, spec.real_dtype)
    if not isinstance(args, (tuple, list)):
        raise InvalidInputError(f"args is a {type(args).__name__}: expected a tuple, such as args=(u,).")
    if callbacks is not None and not isinstance(callbacks, StepCallbacks):
        raise InvalidInputError(f"callbacks is a {type(callbacks).__name__}: expected a pyseminorm.StepCallbacks.")
    if not (params is None or isinstance(params, (list, tuple, Tensor))):
        if not isinstance(params, Iterable):
            raise InvalidInputError(f"params is a {type(params).__name__}: expected an iterable of tensors, or None.")
        params = list(params)  # an iterator can be read once
    if event is not None and not isinstance(event, EventSearch):
        events, limit = check_events(event), check_whole("max_steps", max_steps)

        solve_segment = functools.partial(
            solve, func, args=args, params=params, method=method, rtol=rtol, atol=atol, norm=norm, adjoint=adjoint,
            backend=backend, dt=dt, dense=dense, max_steps=max_steps, discontinuities=discontinuities,
            controller=controller, tstops=tstops, dtmin=dtmin, dtmax=dtmax, callbacks=callbacks, jacobian=jacobian,
            compile=compile, throw=throw,
        )  # fmt: skip
        return solve_segments(solve_segment, y0, ts, events, limit)
    compiled = func if isinstance(func, CompiledField) else None
    if compiled is not None:
        backend, compile = check_compiled(compiled, backend, compile)
        func = compiled.func
    embedded: tuple[str, ...] = ()  # what the embedded engine alone does
    if not (type(rtol) is type(atol) is float and 0.0 < rtol < math.inf and 0.0 < atol < math.inf):
        rtol, atol = check_tolerance("rtol", rtol, spec), check_tolerance("atol", atol, spec)
        embedded = ("a tolerance for every element",) if isinstance(rtol, Tensor) or isinstance(atol, Tensor) else ()
    if callbacks is not None and (callbacks.step or callbacks.step_adjoint):
        embedded += ("a callback before every step",)
    if discontinuities is None:
        discontinuities = getattr(func, "discontinuities", ()) if hasattr(type(func), "discontinuities") else ()
    refuse_gradients("discontinuities", discontinuities)
    jumps, stops = check_stops("discontinuities", discontinuities), check_stops("tstops", tstops)
    asked = (
        spec, method, rtol, atol, norm, adjoint, backend, check_step(dt), max_steps, jumps, controller, jacobian,
        compile, embedded, stops, dtmin, dtmax,
    )  # fmt: skip
    kept = compiled is not None and isinstance(rtol, float) and isinstance(atol, float)  # a tensor may change in place
    engine, options, back = compiled.settle(asked, _settle) if compiled and kept else _settle(*asked)
    if throw and event is None:  # which may end it before
        refusals.refuse_many_steps(options, times)
    if options.warm is not None:
        options = options.starting_with(options.warm_step("forward", times))
    watch = callbacks or _NO_CALLBACKS
    if isinstance(adjoint, DirectAdjoint):
        if compile is not None:
            _tell_eager(func, "DirectAdjoint() lets autograd record what func does")
        if params is not None:
            check_params(params)  # of which autograd needs none
        start = RecordedStart.of(RecordedField(func, tuple(args), spec), y0, ts, times, options.discontinuities)
        if start.field.random_from is not None:
            refusals.refuse_random(None, options.traits)
        context = SolveContext(
            engine, start.field, spec, times, options, norm, adjoint, back, watch, start, dense, throw, event
        )
        ys = context.forward(recording=False)
        if context.rows < len(context.times) and ys.requires_grad:
            ys.register_hook(context.refuse_unreached)  # type: ignore[no-untyped-call]
        return _solution(context, ys, ts, None)
    if compile is not None and (spec.size == 0 or _stays_eager(func, spec)):
        compile = compiled = None
    given = [ts, *((y0,) if spec.is_tensor else pytree.tree_leaves(y0))]
    low, high = options.discontinuities_within(times[0], times[-1], spec.real_dtype).intervals[0]
    state, enabled = spec.to_tensor(y0), torch.is_grad_enabled()
    asked_field = FieldArguments(func, tuple(args), spec, params)
    first = FirstValue(asked_field, min(max(times[0], low), high), state, recording=enabled)
    if forward_mode_is_active():
        refusals.refuse_dual_numbers([*given, *first.field.inputs])
    if compiled is not None:
        compiled.capture(first, engine)
    elif compile is not None and not isinstance(func, FieldSource):
        _forms().capture(first, compile, engine)
    else:
        first()
    field = first.field
    if field.rereads:  # func stays itself
        first()
    if isinstance(adjoint, str):
        implicit = options.traits.needs_jacobian or method_name(options.method) in IMPLICIT_METHODS
        adjoint = choose_adjoint(spec.size, sum(field.sizes), implicit=implicit)
    recording = enabled and (bool(field.inputs) or any(x.requires_grad for x in given))
    if recording:
        refusals.refuse_backward_method(adjoint, back)
        refusals.refuse_param_rtol(adjoint, back, engine.name)
    if field.random_from is not None:
        refusals.refuse_random(adjoint if recording else None, options.traits)
    context = SolveContext(engine, field, spec, times, options, norm, adjoint, back, watch, first, dense, throw, event)
    token = None
    if recording:
        moments = ts if ts.requires_grad else None
        ys = SolveFunction.apply(context, state, moments, *field.inputs)
        if dense:
            ys, token = ys
    else:
        ys = context.forward(recording=False)
    return _solution(context, ys, ts, token)


def _solution(context: SolveContext, ys: Tensor, ts: Tensor, token: Tensor | None) -> Solution:
    kept = None
    if context.keep_dense and context.dense is not None:  # it came as far as to have a trajectory
        kind = RecordedTrajectory if isinstance(context.first, RecordedStart) else KeptTrajectory
        kept = kind(context.dense, context.spec, (context.times[0], context.reached), token, context.late)
    records, event = event_records(context, ys), context.events
    if event is not None:
        ys, ts = ys[event.output_rows], ts[: len(event.output_rows)]
    ys = context.spec.from_tensor(ys)
    return Solution(ys, ts, context.stats, context.retcode, context.engine.name, kept, records)


@functools.cache
def _forms() -> Any:
    """Return the room of forms, which takes long to import."""
    from .engines import forms

    return forms


def _stays_eager(func: Callable[..., Any], spec: StateSpec) -> bool:
    """Tell whether no function can be captured here, and log why."""
    if autocast_dtype(spec.device.type) is None:
        return not _forms().can_capture()
    _tell_eager(func, "it is called under torch.autocast, which a graph would not see")
    return True


def _tell_eager(func: Callable[..., Any], reason: str) -> None:
    """Log why no form takes the place of func, once for each."""
    told, kind = _TOLD.setdefault(reason, weakref.WeakSet()), kind_of(func)
    if kind not in told:
        told.add(kind)
        logger.info(f"func stays eager: {reason}")


_TOLD: dict[str, weakref.WeakSet[Any]] = {}


_NO_CALLBACKS = StepCallbacks()


def _settle(
    spec: StateSpec,
    method: Any,
    rtol: Any,
    atol: Any,
    norm: Any,
    adjoint: Any,
    backend: str,
    dt: Any,
    max_steps: int,
    discontinuities: tuple[float, ...],
    controller: Any,
    jacobian: str,
    compile: str | None,
    embedded: tuple[str, ...],
    tstops: tuple[float, ...],
    dtmin: float | None,
    dtmax: float | None,
) -> tuple[Engine, PassOptions, MethodTraits]:
    backwards = {f"{type(adjoint).__name__}({k})": getattr(adjoint, k, None) for k in ("rtol", "atol")}
    check_fits(spec.real_dtype, {"rtol": rtol, "atol": atol, **backwards})
    if not (callable(norm) or (isinstance(norm, str) and norm in FORWARD_NORMS)):
        raise InvalidInputError(
            f"norm={norm!r} is not known for the forward solve: give {', '.join(map(repr, FORWARD_NORMS))} or a "
            "callable. (The backward norm belongs to the adjoint: adjoint=BacksolveAdjoint(norm=...).)"
        )
    if not isinstance(adjoint, Adjoint) and adjoint != "auto":
        raise InvalidInputError(
            f"adjoint={adjoint!r}: expected an object, BacksolveAdjoint(...), InterpolatingAdjoint(...), "
            'GaussAdjoint(...), DiscreteAdjoint(...) or DirectAdjoint(), or "auto".'
        )
    if isinstance(adjoint, DiscreteAdjoint) and method_name(method) not in METHODS:
        raise InvalidInputError(
            f"DiscreteAdjoint does not know the steps of method={method!r}: give one of {', '.join(METHODS)}, or "
            "another adjoint, such as GaussAdjoint()."
        )
    max_steps = check_whole("max_steps", max_steps)
    bounds = check_bounds(dtmin, dtmax)
    warm, dt = (dt, None) if isinstance(dt, WarmStart) else (None, dt)
    grid, dt = (dt, None) if callable(dt) else (None, dt if dt is None else check_scalar("dt", dt))
    check_choice("jacobian", jacobian, JACOBIANS)
    own = (None, None) if adjoint == "auto" else (adjoint.method, adjoint.controller)
    controller = check_controller(controller, "solve")
    if getattr(adjoint, "batched_time", False) and not (spec.is_tensor and spec.shapes[0]):
        kind = "has no batch axis" if spec.is_tensor else "is nested"
        raise InvalidInputError(
            f"GaussAdjoint(batched_time=True) is for a single-tensor state whose first axis is a batch: y0 {kind}."
        )
    if isinstance(adjoint, DirectAdjoint):
        if backend == "julia":
            raise InvalidInputError(
                'backend="julia" computes without autograd, which DirectAdjoint() needs: give backend="auto" or '
                '"torch", or DiscreteAdjoint(), whose gradients are the same where func hides no tensor.'
            )
        backend = "torch" if backend == "auto" else backend
    methods = (method,) if own[0] is None else (method, own[0])
    engine = select_engine(backend, spec, methods, (controller, own[1]), embedded)
    check_mode(compile, engine)
    traits = engine.traits(method)
    back = traits if own[0] is None else engine.traits(own[0])
    fixed_step, first_step = (None, dt) if traits.adaptive else (dt, None)
    options = PassOptions(
        method, traits, rtol, spec.hold(atol), max_steps, fixed_step, first_step, discontinuities, controller, jacobian,
        grid=grid, tstops=tstops, dtmin=bounds[0], dtmax=bounds[1], warm=warm,
    )  # fmt: skip
    refusals.refuse_steps(options, adjoint)
    return engine, options, back
