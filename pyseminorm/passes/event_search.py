"""Where a solve meets its events: changes of sign in a step, and their roots on its dense output."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..events import Event
from ..host_copies import read
from ..problem.state import StateSpec, all_finite
from ..retcode import ReturnCode
from ..torch_internals import count_writes
from .problems import ForwardProblem, ForwardResult, StepSearch, Wanted

SAMPLES = 10  # places in which a step is looked at, its end among them: SciML's interp_points

Condition = tuple[int, int]  # which event, and which element of what it returns


@dataclass(slots=True)
class Crossing:
    """A condition was zero at ``t``, in the state ``y`` (size,), which dense output moves on by ``slope``."""

    condition: Condition
    t: float
    y: Tensor
    slope: Tensor | None = None
    residual: float = 0.0


class EventSearch:
    """The events of one forward solve, up to the first one that interrupts it.

    Args:
        events: as given to `solve`.
        max_steps: how many steps the solve may still attempt.
        residuals: the conditions whose event has changed the state that the solve starts from, with their values then.

    Attributes:
        crossings: those found, in order of time.
        interrupted: whether the last of them ends the solve.
        output_rows, rows: after `merge`, which rows are those of outputs, and that of every time.
    """

    most_wanted = SAMPLES

    def __init__(
        self, events: Sequence[Event], max_steps: int, residuals: Mapping[Condition, float] | None = None
    ) -> None:
        self.events, self.max_steps = events, max_steps
        self.crossings: list[Crossing] = []
        self.interrupted = False
        self.output_rows: list[int] = []
        self._residuals = residuals or {}
        self._stuck: Condition | None = None  # met again in less time than numbers resolve
        self.rows: dict[float, int] = {}

    def start(self, problem: ForwardProblem) -> None:
        """Look at the conditions in the initial state, before the first step."""
        self._problem, self._end = problem, problem.times[0]
        self._direction = 1.0 if problem.times[-1] > problem.times[0] else -1.0
        found = [self._call(i, self._end, problem.y0) for i in range(len(self.events))]
        self._conditions = [(i, j) for i, values in enumerate(found) for j in range(len(values))]
        self._values = [value for values in found for value in values]
        self._signs = [self._first_sign(*pair) for pair in zip(self._conditions, self._values, strict=True)]

    def step(self, t0: float, t1: float) -> StepSearch:
        """Look at an accepted step."""
        times = [t0 + (t1 - t0) * i / SAMPLES for i in range(1, SAMPLES)] + [t1]
        states, left, self._end = (yield Wanted(times)), t0, t1
        if not all_finite(states):  # the solve has failed, and will say so
            return False
        for t, y in zip(times, states, strict=True):
            values = self._evaluate(t, y)
            signs = list(map(_sign, values))
            changes = enumerate(zip(self._signs, signs, self._conditions, strict=True))
            crossed = [i for i, (a, b, c) in changes if a and a != b and self.events[c[0]].direction in (0, -a)]
            if crossed and (yield from self._take(crossed, left, t, values)):
                return True
            self._values, left = values, t
            self._signs = signs
        return False

    def _take(self, crossed: Sequence[int], left: float, right: float, values: Sequence[float]) -> StepSearch:
        """Take the crossings between two samples, in order of time, up to those at which the solve is interrupted."""
        found = []
        for i in crossed:
            t = yield from self._root(i, left, right, values[i])
            if t is not None and not self._comes_back(i, t):
                found.append((t, i))
        for t, i in sorted(found, key=lambda pair: self._direction * pair[0]):
            if self.interrupted and abs(t - self.crossings[-1].t) > _resolution(t):
                break
            crossing = Crossing(self._conditions[i], t, (yield Wanted([t]))[0].clone())
            dense_output = not self.events[crossing.condition[0]].moves_with_func
            if dense_output and self._problem.differentiates_steps:  # what is differentiated is the dense output
                crossing.slope = (yield Wanted([t], slopes=True))[0].clone()
            self.crossings.append(crossing)
            self.interrupted |= self.events[crossing.condition[0]].interrupts
        return self.interrupted or self._stuck is not None

    def _comes_back(self, i: int, t: float) -> bool:
        """Tell whether a condition that has changed the state at the start is met again at once, and remember it."""
        condition, start = self._conditions[i], self._problem.times[0]
        if condition not in self._residuals or abs(t - start) > _resolution(t):
            return False
        self._stuck = condition
        return True

    def _root(self, i: int, left: float, right: float, value: float) -> Generator[Wanted, Tensor, float | None]:
        """Return where condition ``i`` crosses zero between two samples; None where it never left zero."""
        before = self._values[i]
        if _sign(before) != self._signs[i]:  # zero at the start, its sign is that of its derivative
            left, before, right, value = yield from self._leave_zero(i, left, right, value)
            if left == right:
                self._comes_back(i, left)
                return None
        width = right - left
        search = _find_root(before, value, 2 * math.ulp(max(abs(left), abs(right))) / abs(width))
        try:
            x = next(search)
            while True:
                y = yield Wanted([left + x * width])
                x = search.send(self._evaluate(left + x * width, y[0])[i])
        except StopIteration as stop:
            return right if stop.value == 1.0 else left + stop.value * width

    def _leave_zero(
        self, i: int, start: float, right: float, value: float
    ) -> Generator[Wanted, Tensor, tuple[float, float, float, float]]:
        """Return a place near the start where the condition has left zero, and the next one, where it is back."""
        while True:
            left = start + (right - start) / 2
            if left in (start, right) or abs(left - start) <= math.ulp(start):
                return start, 0.0, start, value
            y = yield Wanted([left])
            before = self._evaluate(left, y[0])[i]
            if _sign(before) == self._signs[i]:
                return left, before, right, value
            right, value = left, before

    def _first_sign(self, condition: Condition, value: float) -> int:
        """Return the sign that a condition has just after the start: that of its derivative, where it is zero there."""
        residual = self._residuals.get(condition)
        if value != 0.0 and residual is None:
            return _sign(value)
        problem, (index, element) = self._problem, condition
        fn, times, spec = self.events[index].fn, problem.times, problem.spec
        rate = crossing_rate(fn, element, times[0], problem.y0, problem.first(), spec) or 0.0
        noise = 100 * torch.finfo(spec.real_dtype).eps * abs(rate) * max(abs(times[0]), abs(times[-1]))
        return _sign(value if abs(value) > 4 * abs(residual or 0.0) + noise else self._direction * rate)

    def _evaluate(self, t: float, y: Tensor) -> list[float]:
        """Return all conditions' values."""
        values = [value for i in range(len(self.events)) for value in self._call(i, t, y)]
        if len(values) != len(self._conditions):
            raise InvalidInputError(
                f"the events' fn returned {len(values)} conditions at t = {t} and {len(self._conditions)} at the first "
                "time: expected the same number in every call."
            )
        return values

    def _call(self, index: int, t: float, y: Tensor) -> list[float]:
        spec, version = self._problem.spec, count_writes(y)
        with torch.no_grad():
            value = self.events[index].fn(spec.time(t), spec.unflatten(y))
        if count_writes(y) != version:
            raise InvalidInputError(
                f"event[{index}].fn changes the state y in place: let it work on a copy (y.clone())."
            )
        check_value(value, f"event[{index}]")
        values: list[float] = read(value.reshape(-1))
        if not all(map(math.isfinite, values)):
            raise InvalidInputError(f"event[{index}].fn returned NaN or infinity at t = {t}: expected finite numbers.")
        return values

    def merge(self, times: Sequence[float], result: ForwardResult) -> tuple[float, ...]:
        """Return the times of all rows, one for every crossing too, in order of time, and none after an interruption.

        A crossing at an output's time, within what steps resolve, is that output.
        """
        self._given = len(times)
        if self._stuck is not None:
            self._fail(times, result)
        way, end = self._direction, self._end
        if self.interrupted:
            last = self.crossings[-1].t
            times = [t for t in times if way * t <= min(way * last + _resolution(last), way * end)]
        states = dict(zip(times, result.ys, strict=False))
        reached = [t for t in times[1:] if way * t <= way * end]
        for crossing in self.crossings:
            near = [t for t in reached if abs(t - crossing.t) <= _resolution(crossing.t)]
            if not near:
                states[crossing.t] = crossing.y.view(result.ys.shape[1:])
                reached.append(crossing.t)
            crossing.t = near[0] if near else crossing.t
        moments = tuple(sorted(states, key=lambda t: way * t))
        result.ys = torch.stack([states[t] for t in moments])
        self.rows = {t: row for row, t in enumerate(moments)}
        self.output_rows = [self.rows[t] for t in times]
        del self._problem  # which has this search
        return moments

    def take_outputs(self, rows: Tensor) -> Tensor:
        """Return the rows of outputs, of a vector of all rows; zero for those after an interruption."""
        taken = rows.new_zeros(self._given)
        taken[: len(self.output_rows)] = rows[self.output_rows]
        return taken

    def residuals(self) -> dict[Condition, float]:
        """Return the conditions at which the solve was interrupted, with what remained of them there."""
        return {c.condition: c.residual for c in self.crossings if self.events[c.condition[0]].interrupts}

    def _fail(self, times: Sequence[float], result: ForwardResult) -> None:
        """Let a solve that cannot leave its start be one that failed."""
        assert self._stuck is not None
        self.crossings, self.interrupted = [], False
        result.retcode, result.t, result.y = ReturnCode.DtLessThanMin, times[0], self._problem.y0
        result.detail = (
            f"event[{self._stuck[0]}] happens again and again in less time than numbers resolve (a ball that comes to "
            "rest): let its reset end that, or add a terminal event before."
        )
        result.ys[1:] = torch.nan


def crossing_rate(
    fn: Callable[[Tensor, Any], Tensor], element: int, t: float, y: Tensor, slope: Tensor, spec: StateSpec
) -> float | None:
    """Return dg/dt + dg/dy . slope for ``y``, ``slope`` (size,); None where autograd does not reach fn's arguments."""
    with torch.enable_grad():
        when, state = spec.time(t).requires_grad_(), y.detach().reshape(-1).clone().requires_grad_()
        value = fn(when, spec.unflatten(state)).reshape(-1)[element]
    if not value.requires_grad:
        return None
    by_time, by_state = torch.autograd.grad(value, [when, state], allow_unused=True)
    if by_time is None and by_state is None:
        return None
    rate = 0.0 if by_time is None else by_time.item()
    return rate if by_state is None else rate + torch.dot(by_state, slope.to(by_state)).item()


def _find_root(fa: float, fb: float, resolution: float) -> Generator[float, float, float]:
    """Find a root in [0, 1] of a function with the values ``fa`` at 0 and ``fb`` at 1, of different signs.

    A generator: yields places, is sent the values there, and returns the end of the last bracket (no wider than
    ``resolution``) where the value is the smaller. It takes at most one evaluation more than bisection.

    Source: I. F. D. Oliveira, R. H. C. Takahashi, An enhancement of the bisection method average performance preserving
    minmax optimality, ACM Transactions on Mathematical Software 47 (2020): the method ITP.
    """
    a, b = 0.0, 1.0
    left = 1 + max(0, math.ceil(math.log2(1.0 / resolution)))  # evaluations
    while b - a > resolution and fa != 0.0 and fb != 0.0:
        x = _next_place(a, fa, b, fb, resolution / 2 * 2.0**left)
        left -= 1
        if not a < x < b:
            break
        fx = yield x
        if (fx > 0.0) == (fb > 0.0) and fx != 0.0:
            b, fb = x, fx
        else:
            a, fa = x, fx
    return a if abs(fa) < abs(fb) else b


def _next_place(a: float, fa: float, b: float, fb: float, widest: float) -> float:
    """Return the secant's root, moved towards the middle of the bracket, and to within ``widest`` - width / 2 of it."""
    middle, width = (a + b) / 2, b - a
    secant = a + width * (abs(fa) / (abs(fa) + abs(fb)))
    side = math.copysign(1.0, middle - secant)
    moved = 0.2 * width**2
    x = secant + side * moved if moved <= abs(middle - secant) else middle
    radius = max(widest - width / 2, 0.0)
    return x if abs(x - middle) <= radius else middle - side * radius


def check_value(value: object, name: str) -> None:
    """Refuse what is no condition: a real tensor of one dimension at most, and not empty."""
    expected = "expected a real tensor of shape () or (conditions,)"
    if not isinstance(value, Tensor):
        raise InvalidInputError(f"{name}.fn returned a {type(value).__name__}: {expected}.")
    if not value.is_floating_point():
        raise InvalidInputError(f"{name}.fn returned dtype {value.dtype}: {expected}.")
    if value.dim() > 1 or value.numel() == 0:
        raise InvalidInputError(f"{name}.fn returned shape {tuple(value.shape)}: {expected}.")


def _sign(value: float) -> int:
    return (value > 0.0) - (value < 0.0)


def _resolution(t: float) -> float:
    """Return within what times are taken for one, as steps that end at stops take them."""
    return 100 * math.ulp(t)
