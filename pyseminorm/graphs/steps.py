"""Whole steps of a solver as compiled graphs: all stages with f inlined, what they make, and the size of the error.

A step is a function of flat tensors alone, made for one trace, method and layout; torch.compile's inductor compiles it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..methods.tableau import Tableau
from ..methods.tableaus import TABLEAUS
from ..norms import AdjointLayout, Segment
from ..problem.parameters import as_real
from ..problem.state import StateSpec
from ..problem.vector_field import split_products
from .functions import Functions
from .split import Wanted

FlatStep = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Begin:
    """The beginning of an adaptive forward solve: (constants, y, numbers) -> (k_0, sizes, *saved).

    The numbers are the time, the direction, the interval that f may see, atol, rtol, the step to try where there is
    nothing to go by, and the largest one. The sizes are those of y, of k_0 and of its change in a trial step, as the
    norm has them, whether there is no change, and whether y and k_0 are finite. Both are float64.

    Attributes:
        segments: of the norm.
        keeps: whether what the first stage's product reads is given out.
    """

    errors: ClassVar[int | None] = 1
    segments: tuple[Segment, ...]
    keeps: bool

    def make(self, field: Inlined) -> FlatStep:
        def size(z: Tensor) -> Tensor:
            counts = torch.tensor([b - a for a, b in self.segments], dtype=torch.float64, device=z.device)
            sizes = _lengths(z, self.segments).double() / counts.sqrt()
            return torch.where(sizes.isnan(), torch.inf, sizes).amax()

        def begin(*flat: Tensor) -> list[Tensor]:
            constants, (y, numbers) = field.split(flat)
            t, direction, low, high, atol, rtol, small, largest = numbers.unbind(0)

            def derivative(t: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
                return field.value(constants, torch.minimum(torch.maximum(t, low), high).to(y.dtype), y)

            first, saved = derivative(t, y)
            scale = y.abs() * rtol.to(y.dtype) + atol.to(y.dtype)
            d0, d1 = size(y / scale), size(first / scale)
            dt0 = torch.minimum(torch.where((d0 < 1e-5) | (d1 < 1e-5), small, d0 / d1 / 100), largest)
            h = direction * dt0
            other, _ = derivative(t + h, y + h.to(y.dtype) * first)
            same = (first == other).all()
            finite = torch.isfinite(y).all() & torch.isfinite(first).all()
            sizes = torch.stack([d0, d1, size((other - first) / scale), same.double(), finite.double()])
            return [first, sizes, *(saved if self.keeps else ())]

        return begin


@dataclass(frozen=True)
class Forward:
    """An attempt of the forward solve: (constants, y, knobs, [k_0]) -> (y_1, stages, errors, rows, k_last, *saved).

    The knobs are float64: behind those of every step, where in the step its outputs are, which the rows are.

    Attributes:
        method: name of the tableau.
        segments: of the norm, whose parts' sizes ``errors`` holds; None: ``errors`` is the scaled error itself.
        keeps: whether what the products of the stages evaluated read is given out: ``saved``, stage by stage.
        renews: whether the first stage is evaluated; else it is given, as ``k_0``.
        last: whether the last stage is evaluated, of a method whose other ones make the new state.
    """

    errors: ClassVar[int | None] = 2
    method: str
    segments: tuple[Segment, ...] | None
    keeps: bool
    renews: bool
    last: bool

    def make(self, field: Inlined) -> FlatStep:
        tableau = TABLEAUS[self.method]

        def attempt(*flat: Tensor) -> list[Tensor]:
            constants, (y, knobs, *first) = field.split(flat)
            count, saved = tableau.stages + 3, list[Tensor]()
            *times, h, atol, rtol = knobs[:count].to(y.dtype).unbind(0)

            def derivative(i: int, state: Tensor) -> Tensor:
                value, kept = field.value(constants, times[i], state)
                saved.extend(kept)
                return value

            stages = [derivative(0, y)] if self.renews else first
            new, errors = _complete(self, y, (h, atol, rtol), stages, derivative)
            every = torch.stack(stages)
            weights = knobs[tableau.stages] * _output_weights(tableau, knobs[count:])[: len(stages)]
            rows = y + weights.to(y.dtype).T @ every
            return [new, every, errors, rows, every[-1], *(saved if self.keeps else ())]

        return attempt


@dataclass(frozen=True)
class Backward:
    """An attempt of a backward solve: (constants, z, knobs, [ys], [k_0, *q_0], *mu) -> (z_1, stages, errors, *mu,
    *q_last), with mu before and after the step, and q its derivatives at a stage.

    Attributes:
        method, segments, last: as for `Forward`.
        stage: one of its stages; where that makes mu apart, the `_sizes_of_sums` of the step are behind the ``errors``.
        renews: whether the first stage is evaluated; else it is given, as ``k_0`` and ``q_0``.
    """

    errors: ClassVar[int | None] = 2
    method: str
    segments: tuple[Segment, ...] | None
    stage: Stage
    renews: bool
    last: bool

    def make(self, field: Inlined) -> FlatStep:
        tableau, apart = TABLEAUS[self.method], len(field.present) if self.stage.params else 0

        def attempt(*flat: Tensor) -> list[Tensor]:
            constants, (z, knobs, *rest) = field.split(flat)
            *times, h, atol, rtol = knobs.unbind(0)
            ys: Sequence[Tensor | None] = [None] * tableau.stages
            if not self.stage.layout.has_y:
                ys, rest = rest[0].unbind(0), rest[1:]
            given, before = rest[: len(rest) - apart], rest[len(rest) - apart :]
            products: list[Sequence[Tensor]] = [] if self.renews else [given[1:]]

            def derivative(i: int, state: Tensor) -> Tensor:
                value, q = self.stage.derivative(field, constants, times[i], state, ys[i])
                products.append(q)
                return value

            stages = [derivative(0, z) if self.renews else given[0]]
            new, errors = _complete(self, z, (h, atol, rtol), stages, derivative)
            sums = list(zip(*products, strict=True))
            increments = [h * _weigh(tableau.b, column) for column in sums]
            mu = [a + b for a, b in zip(before, increments, strict=True)]
            if apart:
                error = tableau.integral_error
                wrong = [h * _weigh(error, column) for column in sums] if error else []
                errors = torch.cat([errors, _sizes_of_sums(increments, wrong, mu)])
            return [new, torch.stack(stages), errors, *mu, *products[-1]]

        return attempt


@dataclass(frozen=True)
class Stage:
    """A derivative of a backward solve by itself: (constants, z, times, [ys]) -> (k, *q), at the first of the times.

    Attributes:
        layout: of the backward state z.
        params: whether mu' is made, outside of z.
        carried: whether mu is a part of z.
    """

    errors: ClassVar[int | None] = None
    layout: AdjointLayout
    params: bool
    carried: bool

    def make(self, field: Inlined) -> FlatStep:
        def stage(*flat: Tensor) -> list[Tensor]:
            constants, (z, times, *ys) = field.split(flat)
            value, q = self.derivative(field, constants, times[0], z, ys[0][0] if ys else None)
            return [value, *q]

        return stage

    def derivative(
        self, field: Inlined, constants: Sequence[Tensor], t: Tensor, z: Tensor, y: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return d/dt of z = [lambda; y; a_t; mu], for ``y`` where z has none, and mu' where that is outside of z."""
        layout, wanted = self.layout, Wanted(params=self.params or self.carried, time=self.layout.has_time)
        adjoint, y = z[layout.adjoint_slice], z[layout.y_slice] if y is None else y
        f, saved = field.value(constants, t, y)
        state, q, at = field.products(constants, t, y, saved, -adjoint, wanted)
        parts = [state + 0.0 * f]
        if layout.has_y:
            parts.append(f)
        if layout.has_time:
            parts.append(f.new_zeros(1) if at is None else at.reshape(1))
        if self.carried:
            found = dict(zip(field.present, q, strict=True))
            parts += [
                as_real(found[i]).reshape(-1) if i in found else z.new_zeros(size)
                for i, size in enumerate(layout.params)
            ]
        return torch.cat(parts) if len(parts) > 1 else parts[0], [] if self.carried else q


@dataclass(frozen=True)
class Reverse:
    """A step of the discrete sweep: (constants, y, numbers, cotangents, adjoint, *sums, [stages, *saved]) ->
    (adjoint, sizes, *sums), from dL/dy after its end to that at its start, with the sums of the parameters' gradients.
    The sizes are a zero, NaN where the adjoint is not finite, and behind it the `_sizes_of_sums`.

    The numbers, float64, are the times of the stages, its size and that of the step before; for each of the cotangents
    then where in its step its output is, and whether it lies at the end of this step, inside it, inside the one before.

    Attributes:
        method: name of the tableau.
        used: the stages that take part.
        kept: whether the stages' values and what their products read are given; else they are made again.
        summed: whether the cotangents are given as what they sum up to: at the end of the step, at its start, in each
            stage, and, of the step before, in the first stage.
    """

    errors: ClassVar[int | None] = 1
    method: str
    used: tuple[int, ...]
    kept: bool
    summed: bool

    def make(self, field: Inlined) -> FlatStep:
        tableau = TABLEAUS[self.method]
        rows, shares = tableau.a + tableau.extra_a, tableau.relative_integral_error or ()

        def step(*flat: Tensor) -> list[Tensor]:
            constants, (y, numbers, cotangents, adjoint, *rest) = field.split(flat)
            sums, kept = rest[: len(field.present)], rest[len(field.present) :]
            if not self.summed:
                cotangents = _weigh_cotangents(tableau, numbers[len(rows) :]).to(y.dtype) @ cotangents
            times, h = numbers[: len(rows)].to(y.dtype).unbind(0), numbers[len(rows)].to(y.dtype)
            at_end, at_start, *direct, before = cotangents.unbind(0)
            direct[0] = direct[0] + before
            end = adjoint + at_end
            values, saved = field.given(kept, self.used) if self.kept else ({}, {})
            inputs: dict[int, Tensor] = {}
            for i in self.used:
                inputs[i] = y if i == 0 else y + h * _weigh(rows[i], values)
                if not self.kept:
                    values[i], saved[i] = field.value(constants, times[i], inputs[i])
            ybar: dict[int, Tensor] = {}
            gradients: dict[int, list[Tensor]] = {}
            for i in reversed(self.used):
                cotangent = direct[i]
                if i < len(tableau.b) and tableau.b[i]:
                    cotangent = cotangent + h * tableau.b[i] * end
                later = {j: rows[j][i] for j in ybar if i < len(rows[j]) and rows[j][i]}
                if later:
                    cotangent = cotangent + h * _sum(w * ybar[j] for j, w in later.items())
                ybar[i], gradients[i], _ = field.products(constants, times[i], inputs[i], saved[i], cotangent, Wanted())
            increments = [_sum(column) for column in zip(*gradients.values(), strict=True)]
            known = [i for i in self.used if i < len(shares) and shares[i]]
            wrong = [
                _sum(shares[i] * x for i, x in zip(known, column, strict=True))
                for column in zip(*(gradients[i] for i in known), strict=True)
            ]
            sums = [a + b for a, b in zip(sums, increments, strict=True)]
            # A value of func that is not finite makes the sum so too, even where its products are zero.
            start = end + at_start + _sum(ybar[i] + 0.0 * values[i] for i in self.used)
            sizes = (0.0 * start).sum().reshape(1)
            return [start, torch.cat([sizes, _sizes_of_sums(increments, wrong, sums)]) if sums else sizes, *sums]

        return step


@dataclass(frozen=True)
class Nodes:
    """Quadrature nodes of one step: (constants, times, ys, adjoints) -> the sum of their gradients, (count) of them."""

    errors: ClassVar[int | None] = None
    count: int

    def make(self, field: Inlined) -> FlatStep:
        def nodes(*flat: Tensor) -> list[Tensor]:
            constants, (times, ys, adjoints) = field.split(flat)
            total: list[Tensor] = []
            for t, y, adjoint in zip(times.unbind(0), ys.unbind(0), adjoints.unbind(0), strict=True):
                _, saved = field.value(constants, t, y)
                _, new, _ = field.products(constants, t, y, saved, adjoint, Wanted())
                total = [a + b for a, b in zip(total, new, strict=True)] if total else new
            return total

        return nodes


class Inlined:
    """f and its products, of flat tensors, for a step to call.

    Attributes:
        present: which targets f depends on: gradients are made of these alone.
    """

    def __init__(self, functions: Functions, spec: StateSpec, places: tuple[int, ...]) -> None:
        self._places = places
        self._functions, self._spec = functions, spec
        wanted = Wanted(state=False).nodes(functions.graph)
        self.present = [i for i, node in enumerate(wanted) if node is not None]

    def split(self, flat: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Return the constants, each of which ``flat`` begins with once, and the rest."""
        count = max(self._places, default=-1) + 1
        return [flat[i] for i in self._places], flat[count:]

    def value(self, constants: Sequence[Tensor], t: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        values, saved = self._functions.primal(tuple(constants), t, *self._spec.split(y))
        return self._spec.join(values), list(saved)

    def products(
        self,
        constants: Sequence[Tensor],
        t: Tensor,
        y: Tensor,
        saved: Sequence[Tensor],
        adjoint: Tensor,
        wanted: Wanted,
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Return adj df/dy, those of adj df/dtheta_i that are present, and adj df/dt."""
        spec, leaves = self._spec, self._spec.split(y)
        grads = self._functions.adjoint(wanted)(tuple(constants), t, leaves, tuple(saved), *spec.split(adjoint))
        state, gradients, at = split_products(grads, leaves, time=wanted.time)
        return spec.join(state), [g for g in gradients if g is not None], at

    def given(
        self, flat: Sequence[Tensor], used: Sequence[int]
    ) -> tuple[dict[int, Tensor], dict[int, Sequence[Tensor]]]:
        """Return the stages' values, and what was saved of them."""
        values, each = flat[0].unbind(0), (len(flat) - 1) // len(used)
        chunks = {i: flat[1 + n * each : 1 + (n + 1) * each] for n, i in enumerate(used)}
        return {i: values[i] for i in used}, chunks


StepKind = Begin | Forward | Backward | Stage | Reverse | Nodes


def _output_weights(tableau: Tableau, thetas: Tensor) -> Tensor:
    """Return b_i(theta) of the dense output, (stages, thetas), as `interpolant_weights`."""
    dense = torch.tensor(tableau.dense, dtype=thetas.dtype, device=thetas.device)
    return dense @ torch.stack([thetas**k for k in range(1, dense.shape[1] + 1)])


def _weigh_cotangents(tableau: Tableau, numbers: Tensor) -> Tensor:
    """Return the weights of cotangents in the sums that a `Reverse` step takes, (sums, cotangents)."""
    h, before = numbers[:2].unbind(0)
    thetas, ended, inside, earlier = numbers[2:].reshape(4, -1).unbind(0)
    weights = _output_weights(tableau, thetas)
    last = before * earlier * weights[tableau.stages - 1]
    return torch.cat([torch.stack([ended, inside]), h * inside * weights, last[None]])


def _complete(
    attempt: Forward | Backward,
    z: Tensor,
    numbers: tuple[Tensor, Tensor, Tensor],
    stages: list[Tensor],
    evaluate: Callable[[int, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Evaluate the stages of a step behind the first one, and return the new state with the norms of the segments of
    the scaled error, or all of it; nothing of a method without an estimate.
    """
    tableau, (h, atol, rtol), new = TABLEAUS[attempt.method], numbers, z
    for i in range(1, tableau.stages):
        new = z + h * _weigh(tableau.a[i], stages)
        if attempt.last or i < tableau.stages - 1:
            stages.append(evaluate(i, new))
    if not tableau.ends_at_state:
        new = z + h * _weigh(tableau.b, stages)
    if tableau.b_error is None:
        return new, z.new_empty(0)
    scaled = h * _weigh(tableau.b_error, stages) / (atol + rtol * torch.maximum(z.abs(), new.abs()))
    return new, scaled if attempt.segments is None else _lengths(scaled, attempt.segments)


def _lengths(z: Tensor, segments: tuple[Segment, ...]) -> Tensor:
    """Return the Euclidean lengths of segments of a vector."""
    return torch.stack([torch.linalg.vector_norm(z[a:b]) for a, b in segments])


def _sizes_of_sums(increments: list[Tensor], errors: list[Tensor], sums: list[Tensor]) -> Tensor:
    """Return the 2-norms of what a step adds to sums, of its embedded errors (none: zero), and of the sums."""
    squares = [[as_real(x).square().sum() for x in tensors] for tensors in (increments, errors, sums)]
    return torch.stack([_sum(found) if found else sums[0].new_zeros(()) for found in squares]).sqrt()


def _weigh(weights: Sequence[float], stages: Sequence[Tensor] | dict[int, Tensor]) -> Tensor:
    return _sum(w * stages[i] for i, w in enumerate(weights) if w)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)
