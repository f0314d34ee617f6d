"""Solves of a function written in Julia: what the engine gives to Julia in place of callbacks into Python."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidInputError
from ...state import StateSpec
from ...vector_field import EagerVectorField, Pullback
from ..quadrature import gauss_legendre, nodes_per_call
from ..torch.tableaus import TABLEAUS
from .callbacks import SolverCallbacks
from .entries import POLL, Held, Kept, integers
from .native import NativeField
from .runtime import runtime

if TYPE_CHECKING:
    from ..interface import AdjointProblem, ForwardProblem


class JuliaVectorField(EagerVectorField):
    """A `JuliaFunction` on flat vectors. The Julia engine solves it natively; any other calls its methods.

    Attributes:
        native: the function, ready for this state.
        tensors: all its parameters, in its own order; ``targets`` are those that gradients are wanted for.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        native: NativeField,
        tensors: Sequence[Tensor],
        spec: StateSpec,
        params: Iterable[Tensor] | None,
    ) -> None:
        super().__init__(func, (), spec, tensors if params is None else params)
        strangers = [p for p in self.targets if not any(p is x for x in tensors)]
        if strangers:
            raise InvalidInputError(
                f"params contains a tensor of shape {tuple(strangers[0].shape)} that this JuliaFunction does not use: "
                "give tensors among its own params (or leave params out)."
            )
        self.native, self.tensors = native, list(tensors)

    def load_for_pass(self, *, by_pass: bool = False) -> bool:
        """Let Julia read the parameters as they are at the start of a pass.

        Whether the pass itself must do the rest of it, which is possible for a forward one (``by_pass``).
        """
        self.native.load(self.tensors)
        return False

    def f(self, t: float, y: Tensor) -> Tensor:
        self.native.load(self.tensors)
        return self.native.value(t, y.detach())

    def vjp(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        self.native.load(self.tensors)
        value, state, theta, at = self.native.product(t, y, adjoint, value=True, params=params, time=time)
        gradients = self._gradients(theta) if params else []
        return value, state, gradients, torch.full_like(state[:1], at).squeeze() if time else None

    def products(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        form, flat = self.spec.form, (y.reshape(-1), adjoint.reshape(-1))
        value, state, gradients, at = self.vjp(t, *flat, params=params, time=time)
        return value.view(form), state.view(form), gradients, at

    def pullback(self, t: float, y: Tensor, *, params: bool = True, time: bool = False) -> tuple[Tensor, Pullback]:
        def pull(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            return self.vjp(t, y, adjoint, params=params, time=time)[1:]

        return self.f(t, y), pull

    def param_vjp(
        self, times: Sequence[float], y: Tensor, adjoint: Tensor, *, batched_time: bool = False
    ) -> list[Tensor | None]:
        """The sum over rows, one by one in Julia; ``batched_time`` is about calls of Python and means nothing here."""
        self.native.load(self.tensors)
        total = torch.zeros(self.native.params_size, dtype=self.spec.dtype)
        for t, row, weight in zip(times, y, adjoint, strict=True):
            total += self.native.product(t, row, weight, value=False, params=True, time=False)[2]
        return self._gradients(total)

    def check(self, t: float, y: Tensor, *, recording: bool) -> Tensor:
        flat = self.f(t, y)
        if not bool(torch.isfinite(flat).all()):
            raise InvalidInputError(
                f"the Julia function gave non-finite values at the first time, t = {t}: check it and y0. (It must "
                "write every element of du; what it returns is not read.)"
            )
        return flat

    @property
    def moves(self) -> list[tuple[int, int, int]]:
        """(from, to, length): what of the gradient by all parameters adds to which of the targets, laid end to end."""
        starts = _starts(self.tensors)
        return [
            (starts[i], to, x.numel())
            for target, to in zip(self.targets, _starts(self.targets), strict=True)
            for i, x in enumerate(self.tensors)
            if x is target
        ]

    def _gradients(self, theta: Tensor) -> list[Tensor | None]:
        flat = theta.new_zeros(sum(self.sizes))
        for start, to, length in self.moves:
            flat[to : to + length] += theta[start : start + length]
        return self.split(flat)

    def split(self, flat: Tensor) -> list[Any]:
        """Gradients laid end to end as tensors in the shapes of the targets."""
        return list(unflatten(flat, self.targets)) if self.sizes else []


unflatten: Any = torch._C._nn.unflatten_dense_tensors  # views, all in one call


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    return list(itertools.accumulate((x.numel() for x in tensors), initial=0))[:-1]


class NativeCallbacks:
    """What a native solve calls: a side in Julia, and functions of Python where there are any: a norm, a report."""

    nodes = 0  # a native solve evaluates them itself

    def __init__(
        self,
        field: JuliaVectorField,
        norm: Callable[[Tensor], float] | None = None,
        report: Callable[[bool, float, Tensor, float], None] | None = None,
    ) -> None:
        self._field = field
        self._python = SolverCallbacks(field.native.u, _never, norm, report=report) if norm or report else None
        self._side: tuple[int, ...] = ()
        self._scatter: Scatter | None = None

    def forward(self, problem: ForwardProblem) -> NativeCallbacks:
        """For a forward solve."""
        native = self._field.native
        load = self._field.load_for_pass(by_pass=not problem.options.traits.needs_jacobian)
        if problem.options.traits.needs_jacobian:  # its rows are products
            native.prepare(problem.times[0], problem.y0)
        keep, kept = 0, None
        if records_in_julia(problem):
            assert problem.record is not None
            keep = 2 if problem.record.stages else 1
            kept = tableau(problem.options.method) if keep == 2 else None
        self._side = (keep, kept.address if kept else 0, load)
        return self

    def take_steps(self, problem: ForwardProblem, number: int, settings: Kept) -> None:
        """Keep what Julia recorded of a forward solve, for the sweep."""
        if number:
            assert problem.record is not None
            problem.record.foreign = HeldSteps(Held(self._field.native.entries, number), settings)

    def backward(self, problem: AdjointProblem, apart: Tensor | None) -> NativeCallbacks:
        """For a backward solve; ``apart`` is mu where it is not a part of the state."""
        native, layout = self._field.native, problem.layout
        self._field.load_for_pass()
        native.prepare(problem.times[problem.last], problem.ys[problem.last])
        if layout.has_time:
            native.check_time()
        self._scatter = scatter = Scatter(self._field)
        moves, count, size = scatter.words
        size = -1 if problem.adjoint.quadrature else size
        integral = (0, 0) if apart is None else (tableau(problem.options.method).address, apart.data_ptr())
        self._side = (layout.has_y, layout.has_time, moves, count, size, *integral)
        return self

    @property
    def words(self) -> list[int]:
        """What Julia's entries read of them, as `SolverCallbacks.words`: 1 for functions of Julia, then a side."""
        norm, report = self._python.measuring if self._python else (0, 0)
        return [1, self._field.native.address, POLL, norm, report, *self._side]

    @property
    def raised(self) -> BaseException | None:
        return (self._python and self._python.raised) or self._field.native.failure()

    def running(self) -> AbstractContextManager[Any]:
        """The context of the call into Julia."""
        return self._python.running() if self._python else _NOTHING

    def close(self) -> None:
        if self._python:
            self._python.close()


_NOTHING = contextlib.nullcontext()


@dataclass(frozen=True)
class HeldSteps:
    """The steps of a forward solve as Julia recorded them, and the settings of that solve."""

    held: Held
    settings: Kept


def records_in_julia(problem: ForwardProblem) -> bool:
    """Whether Julia keeps the steps of a native solve, all of them: nobody in Python wants to know."""
    record = problem.record
    return record is not None and not record.for_python and problem.options.report is None


@functools.cache
def tableau(method: str) -> Kept:
    """PySeminorm's Tableau of a method."""
    known = TABLEAUS[method]
    rows = known.a + known.extra_a
    stages, degree = len(rows), len(known.dense[0])
    a = np.array([[*row, *(0.0,) * (stages - len(row))] for row in rows])
    b = np.array([*known.b, *(0.0,) * len(known.extra_c)])
    c, dense = np.array(known.c + known.extra_c), np.array(known.dense)
    memory = (x.ctypes.data for x in (c, a, b, dense))
    module = runtime().module
    return Kept(module, module.tableau(stages, degree, *memory, known.stages, known.fsal))


class NativeNodes:
    """Gauss nodes that Julia fills and evaluates."""

    def __init__(self, problem: AdjointProblem, field: JuliaVectorField) -> None:
        size = problem.layout.state
        self._field, self._order = field, problem.options.traits.order
        self._times = np.empty(nodes_per_call(size), dtype=np.float64)
        self._y = problem.ys.new_empty(len(self._times), size)
        self._adjoint = torch.empty_like(self._y)
        self._sum = problem.ys.new_zeros(sum(field.sizes))
        self._scatter = Scatter(field)
        self.evaluated = 0  # Julia counts them

    def words(self, callbacks: object) -> list[int]:
        """What Julia's entry reads of them."""
        self._rule = [np.array(x) for x in gauss_legendre(self._order)]
        rule = (x.ctypes.data for x in self._rule)
        memory = (self._times.ctypes.data, self._y.data_ptr(), self._adjoint.data_ptr())
        counts = (len(self._rule[0]), len(self._times))
        return [1, *rule, *counts, *memory, *self._scatter.words, self._sum.data_ptr()]

    @property
    def total(self) -> list[Tensor]:
        return self._field.split(self._sum)


class Scatter:
    """`JuliaVectorField.moves`, in memory that Julia reads as long as this object lives."""

    def __init__(self, field: JuliaVectorField) -> None:
        moves = field.moves
        self._rows, self._count = integers(tuple(itertools.chain.from_iterable(moves))), len(moves)
        self._size = sum(field.sizes)

    @property
    def words(self) -> tuple[int, int, int]:
        """The address of the moves, their number, and the number of elements that they lead to."""
        return self._rows.address, self._count, self._size


def _never(t: float, z: Tensor, dz: Tensor) -> None:
    raise AssertionError("a native solve calls no Python function")
