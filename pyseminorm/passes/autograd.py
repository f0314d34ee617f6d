"""The bridge to torch autograd: one Function whose forward and backward passes are solves."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..adjoints import Adjoint, ContinuousAdjoint, DirectAdjoint, DiscreteAdjoint, GaussAdjoint
from ..errors import LastGoodState, SolveError, UnsupportedError
from ..host_copies import read, read_number
from ..norms import AdjointState
from ..problem.checking_call import FirstValue
from ..problem.finiteness import each_finite, first_not_finite, not_finite
from ..problem.state import StateSpec, all_finite
from ..problem.torch_modes import without_autocast
from ..problem.vector_field import EagerVectorField
from ..retcode import ReturnCode
from ..stats import PassStats, Stats
from ..stepping import MethodTraits, StepCallbacks
from ..torch_internals import batch_level, is_batched, join_batch, pytree, split_batch, unwrap_if_dead
from .cotangents import HandedOver, LateCotangents, MergedOutputs, active_rows, largest_rms
from .event_search import EventSearch
from .failures import check_finite, describe_failure
from .finer_passes import repeat_finer
from .gradient_error import find_drift, is_lost, is_rough
from .problems import (
    AdjointProblem,
    AdjointResult,
    DenseOutput,
    DiscreteProblem,
    Engine,
    ForwardProblem,
    ForwardResult,
    PassOptions,
)
from .recorded_steps import RecordedSteps, StepRecorder
from .refusals import refuse_again, refuse_transforms
from .second_look import Resolve, by_stages, judge, plain_problem
from .step_callbacks import make_announcement, make_report


@dataclass(slots=True)
class SolveContext:
    """One solve: the problem, the engine, and what came out. It holds no tensor that autograd made (no cycles)."""

    engine: Engine
    field: EagerVectorField
    spec: StateSpec
    times: Sequence[float]
    options: PassOptions
    norm: Any
    adjoint: Adjoint
    backward_traits: MethodTraits
    callbacks: StepCallbacks
    first: FirstValue
    keep_dense: bool
    throw: bool
    events: EventSearch | None = None
    stats: Stats = dataclasses.field(init=False)
    retcode: ReturnCode = ReturnCode.Success
    dense: DenseOutput | None = None
    rows: int = 0  # reached rows of ys
    reached: float = 0.0  # the last good time
    steps: object = None  # for DiscreteAdjoint: `RecordedSteps`, or what the engine has recorded
    late: HandedOver | None = None  # where the trajectory is kept for `Solution.interpolate`

    def forward(self, *, recording: bool) -> Tensor:
        """Solve, and return the states (len(times), *shape)."""
        with without_autocast(self.spec.device):
            return self._forward(recording=recording)

    def _forward(self, *, recording: bool) -> Tensor:
        keep_dense, watch = self.keep_dense, self.callbacks
        report = make_report(watch.accept_step, watch.reject_step, self.spec.unflatten)
        recorder = None
        if recording and isinstance(self.adjoint, DiscreteAdjoint):
            recorder = StepRecorder(self.adjoint.keep, watched=self._watches_sweep)
            if recorder.keeps_stages:
                self.field.start_pass(backward=False)
        elif recording:
            keep_dense = keep_dense or not self.adjoint.integrates_y
        options, events = self.options, self.events
        announce = make_announcement(watch.step, self.spec.unflatten)
        if report is not None or announce is not None:
            options = dataclasses.replace(options, report=report, announce=announce)
        if events is not None:
            options = dataclasses.replace(options, max_steps=events.max_steps)
        result = self.engine.integrate(
            ForwardProblem(
                self.field, self.spec, self.first, self.times, options, self.norm, keep_dense, recorder, events
            )
        )
        if events is not None:
            self.times = events.merge(self.times, result)
        if not result.finite:
            check_finite(result, self.times)
        self.stats, self.retcode, self.dense = Stats(result.stats), result.retcode, result.dense
        self._propose("forward", result)
        self.rows, self.reached = len(self.times), self.times[-1]
        if recorder is not None:
            self.steps = recorder.steps if result.steps is None else result.steps
        if result.retcode is not ReturnCode.Success:
            self._fail(result)
        if recording:
            self.field.settle()
        return result.ys

    def _fail(self, result: ForwardResult) -> None:
        self.first()  # bad input is told by name, where it has not been looked for yet
        self.reached, forwards = result.t, self.times[-1] > self.times[0]
        self.rows = sum((t <= result.t) if forwards else (t >= result.t) for t in self.times)
        if self.throw:
            state = LastGoodState(result.t, self.spec.unflatten(result.y.clone()), result.stats)
            raise SolveError(describe_failure("the solve", result, self.times[-1]), result.retcode, state)

    def backward(
        self,
        ys: Tensor | None,
        grad: Tensor,
        late: Sequence[LateCotangents] = (),
        *,
        want_start: bool,
        want_times: bool,
    ) -> tuple[Tensor | None, list[Tensor], Tensor | None]:
        """Return (dL/dy0 or None, [dL/dtarget], dL/dt or None), of the outputs ``ys`` with the cotangents ``grad``.

        Both are states (len(times), *shape), and so is dL/dy0. Where `reads_ys` is not, ``ys`` can be None. ``late``:
        the cotangents of interpolated states.
        """
        self.field.start_pass(backward=True)
        grad = grad.reshape(len(self.times), self.spec.size)
        ys = None if ys is None else ys.detach().view_as(grad)  # func may differentiate by a view of ys
        times: Tensor | None = None
        if late:
            at_start, params, times = self._backward_with_late(ys, grad, late, want_times=want_times)
            start = at_start + grad[0]
        elif self.steps is not None and not isinstance(self.steps, RecordedSteps) and not want_times:
            result = self._sweep(grad, lambda: self._active(grad), want_derivatives=False, whole=True)
            start, params = result.adjoint, result.params
        else:
            active, swept = self._active(grad), self.steps is not None and not want_times
            at_start, params, slopes = self._adjoint(ys, grad, active, want_derivatives=want_times, whole=swept)
            if want_times:
                assert ys is not None
                times = self._time_gradient(ys, grad, active, at_start, slopes)
            start = at_start if swept else at_start + grad[0]
        if times is not None and self.events is not None:
            times = self.events.take_outputs(times)
        return start.view(self.spec.shape) if want_start else None, params, times

    def _backward_with_late(
        self, ys: Tensor | None, grad: Tensor, late: Sequence[LateCotangents], *, want_times: bool
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Return lambda(t0+) with the late cotangents there, mu(t0), and dL/dt or None."""
        active, merged = self._active(grad), MergedOutputs.of(self.times, self.rows, grad, late)
        wider = copy.copy(self)
        wider.times, wider.rows = merged.times, merged.rows
        states = None if ys is None else merged.fill(ys, self.dense if self.adjoint.integrates_y else None)
        among = read((merged.cotangents != 0).any(dim=1))
        at_start, params, derivatives = wider._adjoint(states, merged.cotangents, among, want_derivatives=want_times)
        at_start = at_start + merged.start
        if not want_times:
            return at_start, params, None
        assert ys is not None
        own = {i: derivatives[place] for i, place in enumerate(merged.own) if place in derivatives}
        return at_start, params, self._time_gradient(ys, grad, active, at_start, own)

    def reads_ys(self, *, want_times: bool) -> bool:
        """Tell whether the backward pass needs the outputs: a sweep has steps, which end elsewhere."""
        return want_times or self.steps is None

    def _adjoint(
        self, ys: Tensor | None, grad: Tensor, active: list[bool], *, want_derivatives: bool, whole: bool = False
    ) -> tuple[Tensor, list[Tensor], dict[int, Tensor]]:
        """Return lambda(t0+), or dL/dy0 (a ``whole`` sweep), mu(t0) and output derivatives, in the loss's scale."""
        if not any(active[1:]):
            self.stats.backward = PassStats()
            start = grad[0].clone() if whole else torch.zeros_like(grad[0])
            return start, [torch.zeros_like(x) for x in self.field.targets], {}
        if self.steps is not None:
            result = self._sweep(grad, lambda: active, want_derivatives=want_derivatives, whole=whole)
            return result.adjoint, result.params, result.output_derivatives
        assert ys is not None
        scale = largest_rms(grad) if self.adjoint.scale_invariant else 1.0
        result = self._solve_adjoint(ys, grad / scale, active, scale, want_times=want_derivatives)
        return result.adjoint, result.params, result.output_derivatives

    def _sweep(
        self, grad: Tensor, look: Callable[[], list[bool]], *, want_derivatives: bool, whole: bool
    ) -> AdjointResult:
        """Sweep back through the recorded steps."""
        assert self.steps is not None
        report, ends = self._sweep_report if self._watches_sweep else None, self.stats.forward.times
        result = self.engine.sweep(
            DiscreteProblem(
                self.field, self.spec, self.options, self.steps, ends, self.times, self.rows, grad, look,
                want_derivatives, whole, report,
            )
        )  # fmt: skip
        self._check_result(result, 1.0)
        self._judge(result, lambda adjoint: self._continuous(grad, look(), adjoint), self.stats.forward)
        return result

    def _continuous(self, grad: Tensor, active: Sequence[bool], adjoint: GaussAdjoint) -> tuple[AdjointProblem, float]:
        """Return the continuous problem of a sweep, along the forward solve, which is made again, and its scale."""
        scale, field = largest_rms(grad), by_stages(self.field)
        again = self.engine.integrate(
            ForwardProblem(field, self.spec, self.first, self.times, self.options, self.norm, keep_dense=True)
        )
        assert self.stats.backward is not None
        self.stats.backward.nf += again.stats.nf
        last = -1 if self.events else None  # the step that went on behind an event
        others = again.stats.times[:last] != self.stats.forward.times[:last]
        overwritten = others and not isinstance(self.steps, RecordedSteps)
        if overwritten or not again.retcode.success:  # y0, which Julia read where it is
            raise UnsupportedError("the forward solve cannot be made again.")
        problem = AdjointProblem(
            field, self.spec, self.times, again.ys.view_as(grad), grad / scale, active, adjoint,
            self._backward_options(adjoint, scale), again.dense,
        )  # fmt: skip
        return plain_problem(problem, adjoint), scale

    @property
    def _watches_sweep(self) -> bool:
        return not (self.callbacks.accept_step_adjoint is self.callbacks.step_adjoint is None)

    def _sweep_report(self, accepted: bool, t: float, z: Tensor, dt: float) -> None:
        """Tell the user's callbacks of a step of the sweep, which tries none that it does not take."""
        for callback in (self.callbacks.step_adjoint, self.callbacks.accept_step_adjoint):
            if callback is not None:
                callback(t, self._adjoint_state(z, 1.0), dt)

    def _solve_adjoint(
        self, ys: Tensor, scaled: Tensor, active: Sequence[bool], scale: float, *, want_times: bool
    ) -> AdjointResult:
        adjoint = self.adjoint
        assert not isinstance(adjoint, DiscreteAdjoint | DirectAdjoint)
        problem = AdjointProblem(
            self.field, self.spec, self.times, ys, scaled, active, adjoint, self._backward_options(adjoint, scale),
            self.dense, want_times, is_rough(self.stats.forward),
        )  # fmt: skip
        solved, run = self.stats.forward, functools.partial(self._run_adjoint, scale=scale)
        result = run(problem)
        if adjoint.param_rtol is not None and not self.events and self.retcode.success:
            forward = ForwardProblem(self.field, self.spec, self.first, self.times, self.options, self.norm, False)
            problem, result, solved = repeat_finer(self.engine, run, problem, result, forward, solved)
        result.stats.drift = find_drift(result.y, problem.ys)
        lost = is_lost(result.stats, self.backward_traits)  # then the states of the forward solve are wanted
        self._judge(result, lambda adjoint: (
            self._continuous(scaled * scale, active, adjoint) if lost else (plain_problem(problem, adjoint), scale)
        ), solved, lost=lost)  # fmt: skip
        return result

    def _run_adjoint(self, problem: AdjointProblem, scale: float) -> AdjointResult:
        try:
            result = self.engine.solve_adjoint(problem)
        except BaseException as error:  # the user's own, or an interrupt: what it carries gets the loss's scale back
            good = getattr(error, "last_good_state", None)
            if isinstance(good, LastGoodState):
                unscaled = pytree.tree_map(lambda x: x * scale, good.y)
                error.last_good_state = dataclasses.replace(good, y=unscaled)  # type: ignore[attr-defined]
            raise
        self._check_result(result, scale)
        return result

    def _backward_options(self, adjoint: ContinuousAdjoint, scale: float) -> PassOptions:
        """Return how a backward solve is integrated; its callbacks are told states in the loss's own scale."""
        forward, watch = self.options, self.callbacks
        return dataclasses.replace(
            forward,
            method=forward.method if adjoint.method is None else adjoint.method,
            traits=self.backward_traits,
            rtol=forward.rtol if adjoint.rtol is None else adjoint.rtol,
            atol=self.spec.hold(forward.atol if adjoint.atol is None else adjoint.atol),
            **forward.steps_backward(adjoint.dt, self.backward_traits, self.times),
            max_steps=adjoint.max_steps or forward.max_steps,
            controller=forward.controller if adjoint.controller is None else adjoint.controller,
            report=make_report(
                watch.accept_step_adjoint, watch.reject_step_adjoint, lambda z: self._adjoint_state(z, scale)
            ),
            announce=make_announcement(watch.step_adjoint, lambda z: self._adjoint_state(z, scale)),
        )

    def _check_result(self, result: AdjointResult, scale: float) -> None:
        """Give the result of a backward pass the loss's own scale; refuse one without an end or with no finite one."""
        self.stats.backward = result.stats
        if scale != 1.0:
            result.multiply(scale)
        if not result.finite and result.retcode.success:
            self._check_gradients(result)
        self._propose("backward", result)
        if result.retcode is not ReturnCode.Success:
            state = LastGoodState(result.t, self.spec.unflatten(result.adjoint), result.stats)
            message = describe_failure("the backward solve", result, self.times[0])
            raise SolveError(message + self._backward_advice(), result.retcode, state)

    def _propose(self, name: str, result: ForwardResult | AdjointResult) -> None:
        """Let the same pass of the next solve begin with the step that this one has proposed."""
        if self.options.warm is not None:
            setattr(self.options.warm, name, result.stats.proposed if result.retcode.success else None)

    def _judge(self, result: AdjointResult, resolve: Resolve, forward: PassStats, *, lost: bool = False) -> None:
        """Let the statistics of a pass say how far its parameter gradient may be off, and warn."""
        self.stats.backward = result.stats  # of several passes the one that counts
        judge(self.engine, self.adjoint, self.first.asked.func, result, forward, resolve, lost=lost)

    def _check_gradients(self, result: AdjointResult) -> None:
        """Let a backward pass whose gradients are not finite be one that failed."""
        if not all_finite(result.adjoint):
            result.retcode, result.detail = ReturnCode.Unstable, "dL/dy is not finite."
        elif not each_finite(result.params if result.vector is None else [result.vector]):
            index = next(i for i, x in enumerate(result.params) if not all_finite(x))
            shape = tuple(result.params[index].shape)
            result.retcode = ReturnCode.Unstable
            result.detail = f"The gradient by parameter {index}, of shape {shape}, is not finite."

    def _backward_advice(self) -> str:
        """Return what to do where y, solved backwards too, is likely to be what failed."""
        if not self.adjoint.integrates_y:
            return ""
        return (
            f" {type(self.adjoint).__name__} solves y backwards beside the adjoint, where dynamics that contract "
            "forwards (dissipative or stiff ones) blow up: use InterpolatingAdjoint() or GaussAdjoint(), which read y "
            "from the forward solve."
        )

    def _adjoint_state(self, z: Tensor, scale: float) -> AdjointState:
        """Return lambda and y (None where the adjoint does not integrate it) of a flat backward state."""
        n, unflatten = self.spec.size, self.spec.unflatten
        y = unflatten(z[n : 2 * n]) if self.adjoint.integrates_y else None
        return AdjointState(unflatten(z[:n] * scale), y, ())

    def refuse_unreached(self, grad: Tensor) -> None:
        """Refuse cotangents (len(times), *shape) of outputs that a failed solve did not reach."""
        self._active(grad.detach().reshape(len(self.times), self.spec.size))

    def _active(self, grad: Tensor) -> list[bool]:
        """Return which outputs have a nonzero cotangent."""
        return active_rows(grad, self.times, self.rows, self.retcode, self.stats)

    def _time_gradient(
        self, ys: Tensor, grad: Tensor, active: Sequence[bool], at_start: Tensor, output_derivatives: dict[int, Tensor]
    ) -> Tensor:
        """Return dL/dt_i = g_i . f(t_i, y_i), by the output derivative where given, and dL/dt_0 = -lambda(t_0+) . f."""
        assert self.stats.backward is not None
        gradient = grad.new_zeros(len(self.times))
        f0 = self.first.value
        first, last = self.times[0], self.times[-1]
        seen = self.options.discontinuities_within(first, last, self.spec.real_dtype)
        if f0 is None:
            self.stats.backward.nf += 1
            low, high = seen.intervals[0]
            f0 = self.field.f(min(max(first, low), high), ys[0])
        gradient[0] = -torch.dot(at_start, f0)
        for i in range(1, len(self.times)):
            if i in output_derivatives:
                gradient[i] = torch.dot(grad[i], output_derivatives[i])
            elif active[i]:
                self.stats.backward.nf += 1
                gradient[i] = torch.dot(grad[i], self.field.f(seen.arrive(self.times[i]), ys[i]))
        index = first_not_finite(gradient.unsqueeze(1))
        if index is not None:
            raise not_finite("dL/dt, by what func returned, is", self.times[index])
        return gradient


class SolveFunction(torch.autograd.Function):
    """States (len(times), *shape), differentiable by y0, by t (or None) and by the field's inputs.

    Where the trajectory is kept, also the token of `KeptTrajectory`.
    """

    @classmethod
    def apply(cls, context: SolveContext, y0: Tensor, t: Tensor | None, *inputs: Tensor) -> Any:
        """Do as torch's own where no transform of torch.func is active, which `refuse_transforms` has seen to."""
        plain: Any = super(torch.autograd.Function, cls)
        tensors = map(unwrap_if_dead, (y0, *inputs))
        return plain.apply(context, next(tensors), t, *tensors)

    @staticmethod
    def forward(ctx: Any, context: SolveContext, y0: Tensor, t: Tensor | None, *inputs: Tensor) -> Any:
        ys = context.forward(recording=True)
        ctx.context = context
        ctx.t_like = None if t is None else (t.dtype, t.device)
        ctx.saves_ys = not inputs or context.reads_ys(want_times=t is not None)
        # Saved so that an in-place change before backward() gives torch's own version error.
        ctx.save_for_backward(*((ys, *inputs) if ctx.saves_ys else inputs))
        if not context.keep_dense:
            return ys
        context.late = HandedOver()
        return ys, ys.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor, token: Tensor | None = None) -> tuple[Any, ...]:
        late = () if token is None else ctx.context.late.take(int(read_number(token)))
        saved = ctx.saved_tensors
        ys = saved[0] if ctx.saves_ys else None
        if not torch.is_grad_enabled():
            return (None, *_gradients(ctx, ys, grad, late))
        with torch.no_grad():  # create_graph=True: allowed, as long as nothing differentiates again
            gradients = _gradients(ctx, ys, grad, late)
        present = [g for g in gradients if g is not None]
        guarded = iter(refuse_again(len(present), *present, grad, *(part.grad for part in late), *saved))
        return (None, *(g if g is None else next(guarded) for g in gradients))


def _gradients(ctx: Any, ys: Tensor | None, grad: Tensor, late: Sequence[LateCotangents]) -> tuple[Tensor | None, ...]:
    """Return the gradients by y0, t and the inputs; of every row by itself inside batched gradients."""
    refuse_transforms()
    if torch.is_inference_mode_enabled():  # where no graph of func would be made
        with torch.inference_mode(False), torch.no_grad():
            return _gradients(ctx, ys, grad.clone(), [part._replace(grad=part.grad.clone()) for part in late])
    cotangents = [grad, *(part.grad for part in late)]
    if batch_level() == 0 or not any(map(is_batched, cotangents)):
        return _gradients_of_one(ctx, ys, grad, late)
    rows = [
        _gradients_of_one(ctx, ys, own.clone(), [x._replace(grad=g) for x, g in zip(late, others, strict=True)])
        for own, *others in split_batch(*cotangents)
    ]
    return tuple(None if parts[0] is None else join_batch(torch.stack(parts)) for parts in zip(*rows, strict=True))


def _gradients_of_one(
    ctx: Any, ys: Tensor | None, grad: Tensor, late: Sequence[LateCotangents]
) -> tuple[Tensor | None, ...]:
    _, want_start, want_times, *_ = ctx.needs_input_grad
    try:
        with without_autocast(grad.device):
            y0, targets, times = ctx.context.backward(ys, grad, late, want_start=want_start, want_times=want_times)
    except RuntimeError as error:
        if _SECOND_TIME not in str(error):
            raise
        raise UnsupportedError(
            "func reads a tensor that was computed before the solve from tensors that require grad, but did not do so "
            "at the first time, so that solve does not know of it: pass it with params=[...] or args=(...)."
        ) from error
    if times is not None:
        dtype, device = ctx.t_like
        times = times.to(dtype=dtype, device=device)
    return (y0, times, *targets)


_SECOND_TIME = "backward through the graph a second time"
