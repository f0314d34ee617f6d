"""Vector fields that are native in Julia, and what Julia is told of them in place of callbacks into Python."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....adjoints import BacksolveAdjoint, InterpolatingAdjoint
from ....errors import InvalidInputError
from ....passes.embedded_errors import sample_of
from ....passes.gradient_error import SAFETY
from ....problem.parameters import as_real
from ....problem.solve_tensors import check_unchanged
from ....problem.state import StateSpec
from ....problem.vector_field import EagerVectorField, VjpFunction
from ....torch_internals import count_all_writes, unflatten
from ..calls.callbacks import SolverCallbacks
from ..calls.nodes import NodeMemory
from ..calls.settings import tableau
from ..session.c_functions import POLL
from ..session.memory import Memory, address, integers
from .compiled_function import NativeField

if TYPE_CHECKING:
    from ....passes.problems import AdjointProblem


class JuliaVectorField(EagerVectorField):
    """A `JuliaFunction` on flat vectors. The Julia engine solves it natively; any other calls its methods.

    ``native`` is the function, ready for this state, and ``tensors`` are all its parameters, of which gradients are
    wanted for ``targets``. ``moves`` (from, to, length) say what of the gradient by all adds to which targets, laid end
    to end, and ``scatter`` is the same for Julia; ``small``: few numbers, of the state's dtype and without gaps.
    """

    rereads = False

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
        self._values = [x.detach() for x in tensors]  # both passes read these, whatever becomes of p.data
        self._loads = 0
        starts, ends = _starts(self.tensors), _starts(self.targets)
        self.moves = [
            (starts[i], to, x.numel())
            for target, to in zip(self.targets, ends, strict=True)
            for i, x in enumerate(self.tensors)
            if x is target
        ]
        self.scatter, self.small = plan_gradients(self.moves, self.targets, spec.dtype)

    def load(self, *, by_pass: bool = False) -> bool:
        """Let Julia read the parameters.

        Whether the pass itself must do the rest of it, which is possible for a forward one (``by_pass``).
        """
        self.native.load(self._values)
        self._loads = self.native.loads
        return False

    def restore(self) -> None:
        """Load again in the middle of a solve, where something else has been loaded meanwhile."""
        if self.native.loads != self._loads:
            self.load()

    def settle(self) -> None:
        self._counts = count_all_writes(self.tensors)

    def start_pass(self, *, backward: bool) -> None:
        if backward:
            check_unchanged(self.tensors, self._counts)

    def f(self, t: float, y: Tensor) -> Tensor:
        self.load()
        return self.native.value(t, y.detach())

    def vjp(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        self.load()
        value, state, theta, at = self.native.vjp(t, y, adjoint, value=True, params=params, time=time)
        gradients, by_time = self._gradients(theta) if params else [], torch.full_like(state[0], at) if time else None
        return value.view_as(y), state.view_as(y), gradients, by_time

    vjp_shaped = vjp  # Julia reads any shape

    def evaluate_with_vjp(
        self, t: float, y: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, VjpFunction]:
        def vjp(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            return self.vjp(t, y, adjoint, params=params, time=time)[1:]

        return self.f(t, y), vjp

    def vjp_params(
        self, times: Sequence[float], y: Tensor, adjoint: Tensor, *, batched_time: bool = False
    ) -> list[Tensor | None]:
        """Return the sum over rows, one by one in Julia, for which ``batched_time`` means nothing."""
        self.load()
        total = torch.zeros(self.native.params_size, dtype=self.spec.dtype)
        for t, row, weight in zip(times, y, adjoint, strict=True):
            total += self.native.vjp(t, row, weight, value=False, params=True, time=False)[2]
        return self._gradients(total)

    def _gradients(self, theta: Tensor) -> list[Tensor | None]:
        flat = theta.new_zeros(sum(self.sizes))
        for start, to, length in self.moves:
            flat[to : to + length] += theta[start : start + length]
        return self.split(flat)

    def split(self, flat: Tensor) -> list[Any]:
        """Return gradients laid end to end as tensors in the shapes of the targets."""
        return list(unflatten(flat, self.targets)) if self.sizes else []


_SMALL = 16_384  # numbers that are copied once more in no time


def plan_gradients(
    moves: Sequence[tuple[int, int, int]], targets: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Scatter, bool]:
    """Return the `JuliaVectorField.scatter` of moves, and whether the gradients are `JuliaVectorField.small`."""
    sizes = tuple(as_real(x).numel() for x in targets)
    dense = all(x.dtype == dtype and x.is_contiguous() for x in targets)
    return Scatter(moves, sizes), dense and sum(sizes) <= _SMALL


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    return list(itertools.accumulate((x.numel() for x in tensors), initial=0))[:-1]


def backward_arguments(
    field: JuliaVectorField, problem: AdjointProblem, apart: Tensor | None, python: SolverCallbacks | None
) -> dict[str, Any]:
    """Return the arguments of "adjoint" for a field; ``apart`` is mu where it is not a part of the state.

    ``python`` calls the norm and the report that are functions of Python.
    """
    native, layout = field.native, problem.layout
    field.load()
    native.prepare(problem.times[problem.last], problem.ys[problem.last])
    if layout.has_time:
        native.check_time()
    measuring = {name: python.address(name) if python else 0 for name in ("norm", "report")}
    arguments: dict[str, Any] = {"field": native.address, "poll": POLL, **measuring, **field.scatter.arguments}
    if apart is not None:
        assert isinstance(problem.adjoint, (BacksolveAdjoint, InterpolatingAdjoint))
        arguments |= {
            "tableau": tableau(problem.options.method).address, "params": address(apart, apart.dtype),
            "param_rtol": (problem.adjoint.param_rtol or 0.0) / SAFETY,
        }  # fmt: skip
    return arguments


class NativeNodes(NodeMemory):
    """Gauss nodes that Julia fills and evaluates; ``sum`` is what their products add up to."""

    evaluated = 0  # Julia counts them

    def __init__(self, problem: AdjointProblem, field: JuliaVectorField) -> None:
        super().__init__(problem)
        self.sum = problem.ys.new_zeros(sum(field.sizes))
        self.arguments["total"] = address(self.sum, self.sum.dtype)


class Scatter:
    """`JuliaVectorField.moves` to ``size`` elements, and the sample of these where errors are measured, in memory that
    Julia reads; with their ``arguments`` of a call.
    """

    def __init__(self, moves: Sequence[tuple[int, int, int]], sizes: tuple[int, ...]) -> None:
        self._rows, self.size = integers(tuple(itertools.chain.from_iterable(moves))), sum(sizes)
        self._sample = places, factors = _sample(sizes)
        self.arguments = {
            "moves": self._rows.address, "moves_count": len(moves), "params_size": self.size,
            "places": places.address, "factors": factors.address, "places_count": places.count,
        }  # fmt: skip


@functools.lru_cache(maxsize=64)
def _sample(sizes: tuple[int, ...]) -> tuple[Memory, Memory]:
    places, factors = sample_of(sizes)
    return Memory(places + 1), Memory(factors)  # Julia counts from 1
