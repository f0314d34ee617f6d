"""What every engine takes and gives back. All vectors are flat and real; times are floats (float64)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..adjoints import Adjoint, BacksolveAdjoint
from ..grids import Grid, grid_points
from ..methods.tableau import Tableau
from ..methods.tableaus import Iteration, find_iteration, find_tableau
from ..norms import AdjointLayout, AdjointState, CallableNorm, Segment, adjoint_segments, forward_segments
from ..problem.checking_call import FirstValue
from ..problem.discontinuities import Discontinuities
from ..problem.parameters import as_like
from ..problem.recorded_field import RecordedStart
from ..problem.state import StateSpec
from ..problem.tolerances import Tolerance
from ..problem.vector_field import EagerVectorField
from ..retcode import ReturnCode
from ..stats import PassStats
from ..stepping import Algorithm, MethodTraits, TorchdiffeqController, WarmStart
from ..torch_internals import multiply_all
from .recorded_steps import StepRecorder, StepReport


@dataclass(frozen=True)
class PassOptions:
    """How one pass is integrated.

    Attributes:
        method: a name, or what only the Julia engine takes: an `Algorithm`, an algorithm object of Julia.
        traits: what the engine says of the method.
        rtol, atol: numbers, or vectors (size,) of one for every element of the state (the embedded engine's alone).
        fixed_step: the size of steps of a method without error control; None: along the grid, or from output to output.
        grid: where such steps end.
        first_step: the size of the first step of an adaptive method; None: chosen by a look at func. (What is kept by
            options does not depend on it.)
        warm: what has the first steps of a solve, and is told what they may be in the next one.
        discontinuities: times at which func jumps.
        controller: a `PIController`, `TorchdiffeqController` or controller of Julia, or None for the method's own.
        jacobian: how methods that need it get df/dy, one of `JACOBIANS`.
        report: told of every attempted step: (accepted, t, flat state at t, dt).
        announce: told of every step before it is tried: (t, flat state at t, dt); the embedded engine alone does that.
        tstops: times that a step must end at.
        dtmin, dtmax: the smallest and the largest step of an adaptive method; 0, and infinity: the whole interval.
    """

    method: Any
    traits: MethodTraits
    rtol: Tolerance
    atol: Tolerance
    max_steps: int
    fixed_step: float | None = None
    first_step: float | None = dataclasses.field(default=None, compare=False)
    discontinuities: tuple[float, ...] = ()
    controller: Any = None
    jacobian: str = "reverse"
    report: StepReport | None = None
    announce: Callable[[float, Tensor, float], None] | None = None
    grid: Grid | None = None
    tstops: tuple[float, ...] = ()
    dtmin: float = 0.0
    dtmax: float = math.inf
    warm: WarmStart | None = None

    def starting_with(self, first_step: float | None) -> PassOptions:
        """Return these options with another first step (`dataclasses.replace` takes as long as a small pass)."""
        made = object.__new__(PassOptions)
        made.__dict__.update(self.__dict__, first_step=first_step)
        return made

    @property
    def step_size(self) -> float:
        """The size of fixed steps or of the first step; 0: chosen by the method."""
        return abs((self.first_step if self.traits.adaptive else self.fixed_step) or 0.0)

    def warm_step(self, name: str, times: Sequence[float]) -> float | None:
        """Return the first step that the `WarmStart` has for a pass, which is no longer than the time between the first
        and the last; None where it is shorter than steps may be there.
        """
        size: float | None = None if self.warm is None else getattr(self.warm, name)
        shortest = max(self.dtmin, math.ulp(times[0]), math.ulp(times[-1]))
        return None if size is None or size <= shortest else min(size, abs(times[-1] - times[0]))

    def steps_backward(self, dt: float | Grid | None, traits: MethodTraits, times: Sequence[float]) -> dict[str, Any]:
        """Return which steps a backward solve takes: those of the adjoint's ``dt``, or else of this forward solve."""
        fixed, grid, first = self.fixed_step, self.grid, self.first_step if self.as_torchdiffeq else None
        if dt is not None:
            fixed, grid, first = (None, dt, None) if callable(dt) else (dt, None, dt)
        if traits.adaptive:
            fixed, grid, first = None, None, first if self.warm is None else self.warm_step("backward", times) or first
        return {"fixed_step": fixed, "grid": grid, "first_step": first}

    @property
    def as_torchdiffeq(self) -> bool:
        """Whether steps are those of torchdiffeq."""
        return isinstance(self.controller, TorchdiffeqController) and self.traits.adaptive

    @property
    def tableau(self) -> Tableau:
        """The tableau of a method that is one of `METHODS`."""
        return find_tableau(self.method, torchdiffeq=self.as_torchdiffeq)

    @property
    def iteration(self) -> Iteration | None:
        """The settings of an Adams or an implicit method."""
        return find_iteration(self.method) if isinstance(self.method, (str, Algorithm)) else None

    def discontinuities_within(
        self, start: float, end: float, dtype: torch.dtype, *, beyond: bool = True
    ) -> Discontinuities:
        """Return those from ``start`` to ``end``, or further, where steps may end ``beyond`` it."""
        if beyond and self.as_torchdiffeq:
            end = math.copysign(math.inf, end - start)
        return Discontinuities.of(start, end, self.discontinuities, dtype)

    @property
    def output_to_output(self) -> bool:
        """Whether steps go from output to output: fixed steps of no given size or grid."""
        return not (self.traits.adaptive or self.fixed_step or self.grid)

    def grid_through(self, outputs: Sequence[float]) -> tuple[float, ...]:
        """Return the ends of the steps of the grid between outputs, or nothing where there is none."""
        return () if self.grid is None else grid_points(self.grid, outputs)


class Wanted(NamedTuple):
    """Times at which the states (times, size) of a step's dense output are wanted, or their derivatives by time."""

    times: list[float]
    slopes: bool = False


# Is sent what each `Wanted` asks for, and returns whether the solve ends.
StepSearch = Generator[Wanted, Tensor, bool]


class EventWatch(Protocol):
    """What looks for events in the steps of a forward solve, and wants so many states of a step at once, at most."""

    most_wanted: int

    def start(self, problem: ForwardProblem, /) -> None:
        """Look at the initial state, before the first step."""

    def step(self, t0: float, t1: float, /) -> StepSearch:
        """Look at an accepted step."""


@dataclass
class ForwardProblem:
    """y' = f(t, y) from ``y0`` at times[0], with values wanted at all ``times``.

    ``first`` has y0, and ``first()`` is f(times[0], y0) by the checking call, and counts as the first evaluation; an
    engine whose evaluations say as much need not make that call. ``recorder`` records the accepted steps, where
    DiscreteAdjoint wants them.
    """

    field: EagerVectorField
    spec: StateSpec
    first: FirstValue
    times: Sequence[float]
    options: PassOptions
    norm: str | Callable[[Any], Any]
    keep_dense: bool
    recorder: StepRecorder | None = None
    events: EventWatch | None = None

    @property
    def y0(self) -> Tensor:
        return self.first.y0

    @property
    def differentiates_steps(self) -> bool:
        """Whether gradients are those of the steps that are taken, and of their dense output."""
        return self.recorder is not None or isinstance(self.first, RecordedStart)

    @property
    def report(self) -> StepReport | None:
        """Who is told of attempted steps, the recorder included."""
        report = self.options.report
        return report if self.recorder is None else self.recorder.record_steps(report)

    @functools.cached_property
    def f(self) -> Callable[[float, Tensor], Tensor]:
        """The field's f, as the solver must call it: the recorder may keep more of a call than its value."""
        recorder = self.recorder
        return self.field.f if recorder is None else recorder.record_calls(self.field, self.options.tableau)

    def first_derivative(self) -> Tensor:
        """Return f(times[0], y0), from the checking call."""
        f0, generators = self.first(), self.field.random_from
        if generators is None or self.recorder is None or not self.recorder.keeps_stages:
            return f0
        generators.restore()  # this call is kept, too: it is made again with the same numbers
        return self.f(self.first.t, self.y0)

    @property
    def segments(self) -> tuple[Segment, ...] | None:
        """Segments of a named norm; None for a callable one."""
        return forward_segments(self.norm, self.spec.sizes) if isinstance(self.norm, str) else None

    @property
    def callable_norm(self) -> CallableNorm | None:
        """The norm of flat states, where it is the user's."""
        return CallableNorm(self.norm, self.spec.unflatten) if callable(self.norm) else None

    @property
    def grid(self) -> tuple[float, ...]:
        """The ends of the steps of a fixed grid."""
        return self.options.grid_through(self.times)

    @property
    def discontinuities(self) -> Discontinuities:
        """Those of the interval."""
        return self.options.discontinuities_within(self.times[0], self.times[-1], self.spec.real_dtype)


class DenseOutput(Protocol):
    """A kept trajectory: the state (size,) at any time of the solve, and at one time or more also dy/dt."""

    def __call__(self, t: float, /) -> Tensor: ...

    def rows(self, times: Sequence[float], /, *, derivative: bool = False) -> Tensor:
        """Return the states at times, or their derivatives by time, (len(times), size)."""


@dataclass(slots=True)
class ForwardResult:
    """``ys``: states (len(times), *shape), NaN in rows not reached; ``t``, ``y`` (size,): the last good ones.

    A successful solve need not tell ``y``, which is the last row; one that an event ends is successful. ``finite``: all
    of ``ys`` is known to be finite.
    ``steps``: what the engine has recorded for its own sweep, in the place of the problem's recorder.
    """

    ys: Tensor
    retcode: ReturnCode
    stats: PassStats
    t: float
    y: Tensor
    dense: DenseOutput | None = None
    detail: str = ""
    finite: bool = False
    steps: object = None


@dataclass
class AdjointProblem:
    """The backward pass from the last output with a nonzero cotangent, ``times[last]``, to ``times[0]``.

    ``ys``: forward values (len(times), size); ``cotangents``: dL/dys, scaled, and ``active``, where they are nonzero;
    ``dense``: the forward trajectory, for InterpolatingAdjoint; ``want_times``: the gradient by the times is asked for;
    ``rough``: many attempts of the forward solve were rejected.
    """

    field: EagerVectorField
    spec: StateSpec
    times: Sequence[float]
    ys: Tensor
    cotangents: Tensor
    active: Sequence[bool]
    adjoint: Adjoint
    options: PassOptions
    dense: DenseOutput | None = None
    want_times: bool = False
    rough: bool = False
    layout: AdjointLayout = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.layout = AdjointLayout(
            leaves=self.spec.sizes,
            params=() if self.adjoint.quadrature else self.field.sizes,
            has_y=self.adjoint.integrates_y,
            has_time=self.adjoint.norm in ("torchdiffeq", "torchdiffeq_seminorm"),
        )

    @functools.cached_property
    def discontinuities(self) -> Discontinuities:
        """Those of the interval, backwards."""
        start, end, dtype = self.times[self.last], self.times[0], self.spec.real_dtype
        return self.options.discontinuities_within(start, end, dtype, beyond=self.restarts)

    @functools.cached_property
    def grid(self) -> tuple[float, ...]:
        """The ends of the steps of a fixed grid, which is made for every pair of outputs."""
        times = self.times[self.last :: -1]
        return tuple(t for pair in itertools.pairwise(times) for t in self.options.grid_through(pair))

    @property
    def restarts(self) -> bool:
        """Whether the solve begins anew at every output, as torchdiffeq's."""
        return self.options.as_torchdiffeq and isinstance(self.adjoint, BacksolveAdjoint)

    @property
    def last(self) -> int:
        return max(i for i, active in enumerate(self.active) if active)

    @property
    def stops(self) -> list[int]:
        """Indices of outputs, backwards, that a step must end at: jumps, and where y is set back; the last is 0."""
        every = self.layout.has_y or self.options.output_to_output
        return [i for i in range(self.last - 1, 0, -1) if every or self.active[i]] + [0]

    @property
    def segments(self) -> tuple[Segment, ...] | None:
        """Segments of a named norm; None for a callable one."""
        return adjoint_segments(self.adjoint.norm, self.layout) if isinstance(self.adjoint.norm, str) else None

    @property
    def callable_norm(self) -> CallableNorm | None:
        """The norm of flat backward states, where it is the user's."""
        return CallableNorm(self.adjoint.norm, self.unflatten) if callable(self.adjoint.norm) else None

    @property
    def measures_params(self) -> bool:
        """Whether the norm sees mu; else mu is a plain integral, which an engine may keep out of the state."""
        return self.segments is None or max(stop for _, stop in self.segments) > self.layout.params_start

    def y_at(self, t: float) -> Tensor:
        """Return y from the forward pass's dense output, where the backward state does not hold it."""
        assert self.dense is not None
        return self.dense(t)

    def spread(self, tolerance: Tolerance) -> Tolerance:
        """Return a tolerance of the state as one of the flat backward state: of lambda and y alike, else its least."""
        if not isinstance(tolerance, Tensor):
            return tolerance
        layout, least = self.layout, tolerance.min()
        size = layout.size if self.measures_params or self.restarts else layout.params_start
        whole = least.expand(size).clone()
        whole[layout.adjoint_slice] = tolerance
        if layout.has_y:
            whole[layout.y_slice] = tolerance
        return whole

    @property
    def spread_options(self) -> PassOptions:
        """The options, with tolerances of the flat backward state."""
        options = self.options
        if isinstance(options.rtol, float) and isinstance(options.atol, float):
            return options
        return dataclasses.replace(options, rtol=self.spread(options.rtol), atol=self.spread(options.atol))

    def unflatten(self, z: Tensor) -> AdjointState:
        """Return the flat backward state (or a residual like it) in the user's own shapes."""
        layout, spec = self.layout, self.spec
        return AdjointState(
            spec.unflatten(z[layout.adjoint_slice]),
            spec.unflatten(z[layout.y_slice]) if layout.has_y else None,
            tuple(self.split_params(z)) if layout.params else (),
        )

    def split_params(self, z: Tensor) -> list[Tensor]:
        """Return mu of the flat backward state, in the user's own shapes."""
        parts = self.layout.split_params(z, self.field.shapes)
        return [as_like(part, x) for part, x in zip(parts, self.field.targets, strict=bool(self.layout.params))]

    def unflatten_adjoint(self, z: Tensor) -> Any:
        """Return only lambda of the flat backward state, in the user's own shapes."""
        return self.spec.unflatten(z[self.layout.adjoint_slice])


@dataclass(slots=True)
class AdjointResult:
    """``adjoint`` = lambda(t0+) (size,), before the cotangent of the first output is added; ``params`` = mu(t0).

    ``output_derivatives``: dy/dt at outputs (by index) where it is not f, but the derivative of a step's dense output.
    ``finite``: whether both are known to be finite. ``vector``: all of mu as one vector, which ``params`` are views of.
    ``y``: at t0, where it was solved backwards too.
    """

    adjoint: Tensor
    params: list[Tensor]
    retcode: ReturnCode
    stats: PassStats
    t: float
    detail: str = ""
    output_derivatives: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    finite: bool = False
    vector: Tensor | None = None
    y: Tensor | None = None

    def multiply(self, scale: float) -> None:
        """Multiply both by a number."""
        self.adjoint = self.adjoint * scale
        if found := self.params if self.vector is None else [self.vector]:
            multiply_all(found, scale)


@dataclass(slots=True)
class DiscreteProblem:
    """The backward sweep from the step of the last output with a nonzero cotangent to the first step.

    Attributes:
        options: of the forward solve, whose method is one of `METHODS`.
        steps: as recorded there: `RecordedSteps`, or what the engine has recorded itself.
        ends: start of the solve and the end of every step.
        times: of the outputs, the first is that of y0.
        reached: how many of them the forward solve has reached.
        cotangents: dL/dys (len(times), size).
        look: whether the cotangent of every output is nonzero; raises where one is not finite, or of an output that was
            not reached. An engine that sees that by itself need not ask.
        want_derivatives: whether derivatives of the dense output are asked for.
        whole: whether the cotangent of the first output is added to lambda.
        report: told of every step, backwards: (True, t, lambda, -h).
    """

    field: EagerVectorField
    spec: StateSpec
    options: PassOptions
    steps: object
    ends: Sequence[float]
    times: Sequence[float]
    reached: int
    cotangents: Tensor
    look: Callable[[], Sequence[bool]]
    want_derivatives: bool
    whole: bool
    report: StepReport | None

    @property
    def discontinuities(self) -> Discontinuities:
        """Those of the forward solve, whose last step may have gone beyond the event that ended it."""
        return self.options.discontinuities_within(self.ends[0], self.ends[-1], self.spec.real_dtype)


class Engine(Protocol):
    """An integrator of forward and adjoint problems."""

    name: str

    def traits(self, method: Any) -> MethodTraits:
        """Return what is known of a method; refuse one that the engine has not."""

    def integrate(self, problem: ForwardProblem) -> ForwardResult: ...

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult: ...

    def sweep(self, problem: DiscreteProblem) -> AdjointResult: ...
