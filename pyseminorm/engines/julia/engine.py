"""Forward and adjoint solves of the engine "julia": memory and callbacks for Julia's solve_forward and -_adjoint."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...adjoints import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint
from ...errors import AttachLastGoodState, BackendUnavailableError, InvalidInputError
from ...methods.tableaus import TABLEAUS
from ...passes.discrete_sweep import Sweep
from ...passes.gauss_quadrature import (
    ParameterQuadrature,
    add_products,
    check_rules,
    check_step,
    exchange_rules,
    gauss_legendre,
    size_of,
)
from ...passes.problems import AdjointProblem, AdjointResult, DiscreteProblem, ForwardProblem, ForwardResult
from ...passes.right_hand_side import AdjointRightHandSide
from ...problem.jacobian import Jacobian
from ...stats import PassStats
from ...stepping import Algorithm, MethodTraits
from .calls.callbacks import SolverCallbacks
from .calls.looks import Looks
from .calls.nodes import NodeMemory
from .calls.parameter_sums import ParameterSums
from .calls.results import JuliaDenseInterpolation, Pass, translate_error
from .calls.settings import ForwardArguments, describe_method, make_settings, tableau, vector_type
from .native.forward import StepsHandle, native_forward
from .native.sweep import native_sweep
from .native.vector_field import JuliaVectorField, NativeNodes, backward_arguments
from .session.layouts import AdjointCall
from .session.memory import addresses, consecutive, doubles, integers, offsets_of
from .session.runtime import runtime

logger = logging.getLogger("pyseminorm")


class JuliaEngine:
    """The engine "julia". It holds no state but the running Julia; ``memory`` is a kind that PySeminorm knows."""

    name = "julia"

    def __init__(self, memory: str = "cpu") -> None:
        self._memory = memory

    @classmethod
    def on(cls, device: torch.device) -> JuliaEngine:
        """Return the engine for states on a device; a GPU needs its Julia package, which is loaded here."""
        if device.type == "cuda" and not runtime().load("CUDA"):
            raise BackendUnavailableError(
                f"the state is on {device}, and the Julia project has no CUDA.jl: add it with "
                f'{runtime().command_to_add("CUDA")}, or use backend="torch", which runs on the GPU as it is.'
            )
        return cls(device.type)

    def traits(self, method: Any) -> MethodTraits:
        if isinstance(method, str) and method in TABLEAUS:
            return TABLEAUS[method].traits
        julia = runtime()
        name = method.name if isinstance(method, Algorithm) else method
        package = julia.module.package_to_load(name) if isinstance(name, str) else ""
        if package:
            logger.info(f"loading {package} for {name} (the first time it is compiled, which can take minutes)")
            if not julia.load(package):
                raise InvalidInputError(
                    f"method={name!r} is in {package}, which the Julia project lacks: add it with "
                    f"{julia.command_to_add(package)}."
                )
        try:
            return MethodTraits(*julia.module.traits(describe_method(method)))
        except Exception as error:
            raise translate_error(error) from error

    def integrate(self, problem: ForwardProblem) -> ForwardResult:
        if isinstance(problem.field, JuliaVectorField):
            return native_forward(runtime(), problem)
        julia, started, y0 = runtime(), time.perf_counter(), consecutive(problem.y0)
        jacobian, known = _jacobian(problem), [problem.first_derivative()]  # of the checking call

        def field(t: float, y: Tensor, dy: Tensor) -> None:
            # The copy is for the user: the solver reuses its buffers, and frees them after the solve.
            dy.copy_(known.pop() if known else problem.f(t, y.clone()))

        looks = Looks(problem.events, problem) if problem.events else None
        norm, by_state = problem.callable_norm, jacobian.of_field if jacobian else None
        python = SolverCallbacks(y0, field, norm, report=problem.report, jacobian=by_state, looks=looks)
        solve = Pass(julia, problem.spec.unflatten, y0, problem.times[0], python=python)
        call = ForwardArguments(problem, vector_type(self._memory, y0.dtype, y0.device.index or 0))
        ys = solve.run_forward(problem, call)
        return solve.forward_result(problem, ys, started, len(known), jacobian.calls if jacobian else 0)

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult:
        julia, started, layout = runtime(), time.perf_counter(), problem.layout
        side = _native_side(problem) if isinstance(problem.field, JuliaVectorField) else _python_side(problem)
        z = _start(problem, apart=side.sums is not None or side.apart is not None)
        t0 = problem.times[problem.last]
        solve = Pass(julia, problem.unflatten_adjoint, z, t0, python=side.python, failure=side.failure)
        solve.run("adjoint", self._adjoint_call(problem, side, z))
        with AttachLastGoodState(solve.last_good_state):
            side.count(solve)
        solve.estimate(problem.options)
        solve.stats.seconds = time.perf_counter() - started
        params, vector = side.params(problem, z)
        adjoint, stats = z[layout.adjoint_slice], solve.stats
        y = z[layout.y_slice] if layout.has_y else None
        return AdjointResult(adjoint, params, solve.retcode, stats, solve.t, solve.detail, vector=vector, y=y)

    def _adjoint_call(self, problem: AdjointProblem, side: _Side, z: Tensor) -> AdjointCall:
        """Return the arguments of the C function; it holds what they are the addresses of."""
        layout, ys = problem.layout, problem.ys
        times = doubles((problem.times[problem.last], *(problem.times[i] for i in problem.stops)))
        rows, segments = integers(tuple(problem.stops)), problem.segments or ()
        offsets, settings = offsets_of(segments), make_settings(problem.options, problem.discontinuities, problem.grid)
        vector, outcome = vector_type(self._memory, ys.dtype, ys.device.index or 0), 0
        if not layout.has_y:
            assert isinstance(problem.dense, JuliaDenseInterpolation)
            outcome = problem.dense.outcome.address
        tensors = (z, consecutive(ys), consecutive(problem.cotangents), side.interpolated)
        at = addresses(tensors, ys.dtype)
        call = AdjointCall(
            vector=vector.address, times=times.address, times_count=times.count, rows=rows.address,
            rows_count=rows.count, z=at[0], length=len(z), ys=at[1], cotangents=at[2], size=layout.state,
            offsets=offsets.address, segments=len(segments), settings=settings.address, dt=problem.options.step_size,
            anchored=layout.has_y, has_time=layout.has_time, outcome=outcome, y=at[3], **side.arguments,
            **(side.nodes.arguments if side.nodes else {}),
        )  # fmt: skip
        call.holds = tensors, times, rows, offsets, settings, vector
        return call

    def sweep(self, problem: DiscreteProblem) -> AdjointResult:
        if isinstance(problem.steps, StepsHandle):
            return native_sweep(runtime(), problem)
        return Sweep(problem).run()


@dataclass
class _Side:
    """What a backward solve calls, in Python or in Julia, as ``arguments`` of the C function, and where mu is after it.

    ``interpolated``: y, which Julia writes where it is not in the state; ``apart`` and ``sums``: mu, where it is not in
    it either, of a function in Julia or in Python.
    """

    arguments: dict[str, Any]
    interpolated: Tensor
    python: SolverCallbacks | None
    failure: Callable[[], BaseException | None] | None = None
    nodes: _Nodes | NativeNodes | None = None
    jacobian: Jacobian | None = None
    apart: Tensor | None = None
    sums: ParameterSums | None = None

    def count(self, solve: Pass) -> None:
        """Write the evaluations into the statistics of the pass."""
        stats, result, nodes = solve.stats, solve.result, self.nodes
        if nodes:
            stats.nvjp_state, stats.nvjp_param = result.calls, nodes.evaluated or result.steps
        else:
            stats.nvjp = result.calls
        stats.njac = self.jacobian.calls if self.jacobian else result.jacobians
        if self.sums is not None:
            self.sums.estimate(stats)
        elif not math.isnan(result.param_error):
            stats.param_error = result.param_error
            stats.cancellation = None if math.isnan(result.cancellation) else result.cancellation

    def params(self, problem: AdjointProblem, z: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return mu at the end of the solve, and as one vector where it is one."""
        if isinstance(self.nodes, _Nodes):
            return self.nodes.sums.total, None
        if self.sums is not None:
            return self.sums.total, None
        vector = self.apart if self.nodes is None else self.nodes.sum
        if vector is None:
            parts = problem.split_params(z)
            copied = any(part.is_complex() for part in parts)
            return parts, None if copied else z[problem.layout.params_slice]
        assert isinstance(problem.field, JuliaVectorField)
        return problem.field.split(vector), vector


def _native_side(problem: AdjointProblem) -> _Side:
    field, norm, report = problem.field, problem.callable_norm, problem.options.report
    assert isinstance(field, JuliaVectorField)
    native = field.native
    apart = problem.ys.new_zeros(sum(problem.layout.params)) if _is_apart(problem) else None
    python = None
    if norm is not None or report is not None:
        python = SolverCallbacks(native.u, None, norm, report=report, restore=field.restore)
    nodes = NativeNodes(problem, field) if isinstance(problem.adjoint, GaussAdjoint) else None
    arguments = backward_arguments(field, problem, apart, python)
    return _Side(arguments, native.u, python, native.failure, nodes, apart=apart)


def _python_side(problem: AdjointProblem) -> _Side:
    sums, given = None, {}
    if _is_apart(problem):
        assert isinstance(problem.adjoint, (BacksolveAdjoint, InterpolatingAdjoint))
        method, rtol = problem.options.method, problem.adjoint.param_rtol
        sums = ParameterSums(problem.field.targets, TABLEAUS[method], rtol)
        given = {"tableau": tableau(method).address, "param_rtol": float(rtol is not None)}  # which the sums divide by
    backward, jacobian = _BackwardField(problem, sums), _jacobian(problem)
    nodes = _Nodes(problem) if isinstance(problem.adjoint, GaussAdjoint) else None
    y = backward.interpolated
    by_state = (lambda t, z: jacobian.of_adjoint(t, y.clone(), z)) if jacobian else None
    python = SolverCallbacks(
        problem.ys, backward, problem.callable_norm, evaluate_nodes=nodes.evaluate if nodes else None,
        jacobian=by_state, report=problem.options.report, sums=sums,
    )  # fmt: skip
    if nodes:
        nodes.arguments["evaluate_nodes"] = python.address("evaluate_nodes")
    arguments = python.arguments | given | {"sums": python.address("sums")}
    return _Side(arguments, y, python, None, nodes, jacobian, sums=sums)


def _start(problem: AdjointProblem, *, apart: bool) -> Tensor:
    """Return the backward state at the last output with a cotangent."""
    layout = problem.layout
    z = problem.ys.new_zeros(layout.params_start if apart else layout.size)
    z[layout.adjoint_slice] = problem.cotangents[problem.last]
    if layout.has_y:
        z[layout.y_slice] = problem.ys[problem.last]
    return z


def _is_apart(problem: AdjointProblem) -> bool:
    """Tell whether mu is not a part of the backward state: no norm sees it, and the stages are known."""
    method = problem.options.method
    known = isinstance(method, str) and method in TABLEAUS
    return bool(problem.layout.params) and known and not problem.measures_params


class _BackwardField:
    """d/dt of [lambda; y; a_t; mu], from and into the solver's buffers; mu' is for the ``sums``, if there are some."""

    def __init__(self, problem: AdjointProblem, sums: ParameterSums | None) -> None:
        layout = problem.layout
        self._has_y, self._carries_params, self._sums = layout.has_y, bool(layout.params) and sums is None, sums
        self._right_hand_side = AdjointRightHandSide(problem.field, layout, carried=self._carries_params)
        self._parts: dict[int, tuple[Tensor, Tensor]] = {}  # lambda and y in the solver's few buffers
        self.interpolated = problem.ys.new_empty(layout.state)  # y, which Julia writes where it is not in z
        self._apart = self.interpolated.view(problem.spec.shape)

    def __call__(self, t: float, z: Tensor, dz: Tensor, params: bool = False) -> None:
        parts = self._parts.get(id(z))
        if parts is None:
            read = self._right_hand_side.read(z)
            parts = self._parts[id(z)] = read[0], read[1] if self._has_y else self._apart
        # The copy is for func: the solver reuses its buffers, and frees them after the solve.
        made = self._right_hand_side.write(t, parts[0], parts[1].clone(), dz, params=self._carries_params or params)
        if params and self._sums is not None:
            self._sums.held = made


LOOKED_SIZE = -(2**31)  # asks `_Nodes.evaluate` for a number; Julia's typemin(Cint)


class _Nodes(NodeMemory):
    """Gauss nodes that Julia fills, and their evaluation."""

    def __init__(self, problem: AdjointProblem) -> None:
        super().__init__(problem)
        assert isinstance(problem.adjoint, GaussAdjoint)
        self._stats, self._problem = PassStats(), problem
        self._controls = problem.adjoint.param_rtol is not None
        self._looked_size = 0.0  # of all parts that were looked at
        self.sums = ParameterQuadrature(problem.field, self._stats, batched_time=problem.adjoint.batched_time)

    def evaluate(self, count: int) -> float:
        """Add the first nodes; of a negative number those behind the capacity, and return how much they change.

        0: those behind the capacity are a step's, whose error is returned (see `check_step`). `LOOKED_SIZE`: return
        the sizes of what finer rules have made of parts, over the sums.
        """
        if count > 0:
            self.sums.add(*self._nodes(slice(0, count)))
            return 1.0
        options = self._problem.options
        if count == 0:
            return check_step(self._checked, self.sums.total, options.traits.order, options.rtol)
        if count == LOOKED_SIZE:
            return self._looked_size / (size_of(self.sums.total) or math.nan)
        if self._controls:
            return self._exchange()
        difference = self.sums.products(*self._nodes(self.check))
        add_products(self.sums.total, difference)
        whole = size_of(self.sums.total)
        return size_of(difference) / whole if whole else math.nan

    def _exchange(self) -> float:
        """Exchange the rules in a part, and keep the size of what it adds."""
        middle = self.check.stop - len(gauss_legendre(self._problem.options.traits.order)[0])

        def products(start: int, stop: int) -> Sequence[Tensor | None]:
            return self.sums.products(*self._nodes(slice(start, stop)))

        finer = functools.partial(products, self.check.start, middle)
        own = functools.partial(products, middle, self.check.stop)
        error, size = exchange_rules(finer, own, self.sums.total)
        self._looked_size += size
        return error

    def _nodes(self, rows: slice) -> tuple[list[float], Tensor, Tensor]:
        return self.times[rows].tolist(), self.y[rows].clone(), self.adjoint[rows].clone()

    def _checked(self, i: int) -> list[Tensor | None]:
        """Return what the nodes of one of `check_rules` add up to."""
        counts = [len(points) for points, _ in check_rules(self._problem.options.traits.order)]
        start = self.check.start + sum(counts[:i])
        return self.sums.products(*self._nodes(slice(start, start + counts[i])))

    @property
    def evaluated(self) -> int:
        return self._stats.nvjp_param


def _jacobian(problem: ForwardProblem | AdjointProblem) -> Jacobian | None:
    """Return the Jacobian through torch where the method needs one; a function in Julia has its own."""
    options = problem.options
    if not options.traits.needs_jacobian or isinstance(problem.field, JuliaVectorField):
        return None
    return Jacobian(problem.field, options.jacobian, problem.discontinuities.intervals)
