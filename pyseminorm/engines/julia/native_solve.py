"""Solves of a function written in Julia: what the engine gives to Julia in place of callbacks into Python."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidInputError
from ...state import StateSpec
from ...vector_field import EagerVectorField, Pullback
from ..quadrature import gauss_legendre, nodes_per_call
from .callbacks import SolverCallbacks, address_of
from .native import NativeField

if TYPE_CHECKING:
    from ..interface import AdjointProblem, ForwardProblem

_POLL = ctypes.PYFUNCTYPE(ctypes.c_int)


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

    def load_for_pass(self) -> None:
        """Let Julia read the parameters as they are at the start of a pass."""
        self.native.load(self.tensors)

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
        return list(_unflatten(flat, self.targets)) if self.sizes else []


_unflatten: Any = torch._C._nn.unflatten_dense_tensors  # views, all in one call


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    return list(itertools.accumulate((x.numel() for x in tensors), initial=0))[:-1]


class NativeCallbacks(SolverCallbacks):
    """What a native solve calls: a side in Julia, a user's norm if there is one, and a look at signals.

    Signals are handled by Python, which a native solve does not run; so Julia calls `_look` at most every 50 ms, and
    an exception of a signal handler (KeyboardInterrupt) stops the solve like that of a function.
    """

    def __init__(self, field: JuliaVectorField, norm: Callable[[Tensor], float] | None, **more: Any) -> None:
        super().__init__(field.native.u, _never, norm, **more)
        self._field = field
        self.side: Any = None
        self.steps: Any = None  # Julia's record of accepted steps, where one is kept
        field.load_for_pass()

    def forward(self, problem: ForwardProblem) -> NativeCallbacks:
        """For a forward solve."""
        native = self._field.native
        if problem.options.traits.needs_jacobian:  # its rows are products
            native.prepare(problem.times[0], problem.y0)
        self.side = native.module.native_forward(native.handle, self.poll)
        if records_in_julia(problem):
            assert problem.record is not None
            self.steps = problem.record.foreign = native.module.recorded_steps(native.vector_type)
        return self

    def backward(self, problem: AdjointProblem) -> NativeCallbacks:
        """For a backward solve."""
        native, layout = self._field.native, problem.layout
        native.prepare(problem.times[problem.last], problem.ys[problem.last])
        if layout.has_time:
            native.check_time()
        scatter = Scatter(self._field)
        carried = None if problem.adjoint.quadrature else scatter.described
        self.side = native.module.native_backward(native.handle, self.poll, layout.has_y, layout.has_time, carried)
        return self

    @property
    def functions(self) -> tuple[Any, ...]:
        norm, jacobian, report = self._optional
        return (self.side, 0, norm, jacobian, report if self.steps is None else self.steps)

    @property
    def raised(self) -> BaseException | None:
        return self._error or self._field.native.failure()

    @property
    def jacobians(self) -> int:
        return int(self._field.native.module.jacobians(self.side))

    @property
    def poll(self) -> int:
        """The address of what looks at signals."""
        return _LOOK_ADDRESS

    @contextmanager
    def running(self) -> Iterator[None]:
        _running.append(self)
        try:
            with self.signals:
                yield
        finally:
            _running.pop()

    @staticmethod
    def _look() -> int:
        """Let signals interrupt the solve that runs; 0 stops it."""
        solve = _running[-1]
        try:
            solve.signals.check()
        except BaseException as error:
            solve._error = error
            return 0
        return 1

    @property
    def nodes(self) -> Any:
        return self.side


_running: list[NativeCallbacks] = []  # a user's norm can solve inside a solve
_LOOK = _POLL(NativeCallbacks._look)
_LOOK_ADDRESS = address_of(_LOOK)


def records_in_julia(problem: ForwardProblem) -> bool:
    """Whether Julia keeps the steps of a native solve, all of them: nobody in Python wants to know."""
    record = problem.record
    return record is not None and not record.for_python and problem.options.report is None


class NativeNodes:
    """Gauss nodes that Julia fills and evaluates."""

    def __init__(self, problem: AdjointProblem, field: JuliaVectorField) -> None:
        size = problem.layout.state
        self._field, self._order = field, problem.options.traits.order
        self._times = np.empty(nodes_per_call(size), dtype=np.float64)
        self._y = problem.ys.new_empty(len(self._times), size)
        self._adjoint = torch.empty_like(self._y)
        self._sum = problem.ys.new_zeros(sum(field.sizes))
        self._evaluator: Any = None

    def described(self, side: Any) -> tuple[Any, ...]:
        """What PySeminorm.quadrature takes."""
        points, weights = gauss_legendre(self._order)
        memory = (self._times.ctypes.data, self._y.data_ptr(), self._adjoint.data_ptr())
        scatter = Scatter(self._field)
        self._evaluator = self._field.native.module.native_nodes(side, *memory, scatter.described, self._sum.data_ptr())
        return (tuple(points), tuple(weights), len(self._times), *memory, self._evaluator)

    @property
    def evaluated(self) -> int:
        return int(self._field.native.module.evaluated(self._evaluator))

    @property
    def total(self) -> list[Tensor]:
        return self._field.split(self._sum)


class Scatter:
    """`JuliaVectorField.moves`, in memory that Julia reads while ``described`` is an argument of a call."""

    def __init__(self, field: JuliaVectorField) -> None:
        self._rows = np.array(field.moves, dtype=np.int64).reshape(-1, 3)
        self._size = sum(field.sizes)

    @property
    def described(self) -> tuple[int, int, int]:
        return self._rows.ctypes.data, len(self._rows), self._size


def _never(t: float, z: Tensor, dz: Tensor) -> None:
    raise AssertionError("a native solve calls no Python function")
