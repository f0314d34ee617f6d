"""Forward and adjoint solves of the engine "julia": memory and callbacks for Julia's solve_forward and -_adjoint."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adjoints import GaussAdjoint
from ...errors import BackendUnavailableError, InvalidInputError, LastGoodState
from ...jacobian import Jacobian
from ...norms import CallableNorm, Segment
from ...retcode import ReturnCode
from ...stats import PassStats
from ...stepping import Algorithm, MethodTraits, PIController
from ..discrete import Sweep
from ..interface import (
    AdjointProblem,
    AdjointResult,
    DiscreteProblem,
    ForwardProblem,
    ForwardResult,
    PassOptions,
    unreached,
)
from ..pieces import Pieces
from ..quadrature import ParameterQuadrature, gauss_legendre, nodes_per_call
from ..rates import AdjointRates
from ..torch.tableaus import TABLEAUS
from .callbacks import SolverCallbacks
from .entries import Kept, Memory, Passed, doubles, integers
from .native import ELTYPES
from .native_solve import JuliaVectorField, NativeCallbacks, NativeNodes, records_in_julia
from .native_sweep import native_sweep
from .runtime import Runtime, first_line, runtime

logger = logging.getLogger("pyseminorm")


class JuliaEngine:
    """The engine "julia". It holds no state but the running Julia; ``memory`` is a kind that PySeminorm knows."""

    name = "julia"

    def __init__(self, memory: str = "cpu") -> None:
        self._memory = memory

    @classmethod
    def on(cls, device: torch.device) -> JuliaEngine:
        """The engine for states on a device; a GPU needs its Julia package, which is loaded here.

        Raises:
            BackendUnavailableError: the Julia project has no such package.
        """
        if device.type == "cuda" and not runtime().load("CUDA"):
            raise BackendUnavailableError(
                f"the state is on {device}, and the Julia project has no CUDA.jl: add it with "
                f'{runtime().adding("CUDA")}, or use backend="torch", which runs on the GPU as it is.'
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
                    f"{julia.adding(package)}."
                )
        try:
            return MethodTraits(*julia.module.traits(_method(method)))
        except Exception as error:
            raise readable(error) from error

    def _vector(self, y0: Tensor) -> int:
        return _vector_type(self._memory, y0.dtype, y0.device.index or 0).address

    def integrate(self, problem: ForwardProblem) -> ForwardResult:
        julia, started = runtime(), time.perf_counter()
        field, y0 = problem.field, problem.y0
        rows, size = len(problem.times), problem.spec.size
        ys = y0.new_empty((rows, size))
        norm = CallableNorm(problem.norm, problem.spec.unflatten) if callable(problem.norm) else None
        jacobian = _jacobian(problem)
        known: list[Tensor] = []
        if isinstance(field, JuliaVectorField):
            report = problem.options.report if records_in_julia(problem) else problem.report
            callbacks: Callbacks = NativeCallbacks(field, norm, report).forward(problem)
            known += [] if problem.first.value is None else [problem.first.value]
        else:
            known.append(problem.first())
            by_state = jacobian.of_field if jacobian else None
            callbacks = SolverCallbacks(
                y0, _ForwardField(problem, known), norm, report=problem.report, jacobian=by_state
            )
        with _Solve(julia, callbacks, problem.spec.unflatten, y0, problem.times[0]) as solve:
            offsets = integers((0, size))
            settings = _settings(problem.options, problem.pieces)
            words = [
                self._vector(y0),
                *callbacks.words,
                *(offsets.address, 1, size),
                *doubles(tuple(problem.times)).words,
                y0.data_ptr(),
                ys.data_ptr(),
                size,
                settings.address,
                problem.keep_dense,
            ]
            solve.run("forward", words)
        if isinstance(callbacks, NativeCallbacks):
            callbacks.take_steps(problem, solve.passed.steps, settings)
        if solve.reached < rows:
            unreached(ys, solve.reached)
        solve.stats.nf = solve.calls + len(known)  # the checking call, where no callback used it
        solve.stats.njac = jacobian.calls if jacobian else solve.passed.jacobians
        solve.stats.seconds = time.perf_counter() - started
        dense = JuliaDense(julia, solve.outcome, y0) if problem.keep_dense and solve.outcome else None
        finite = solve.passed.finite and solve.reached == rows
        return ForwardResult(ys, solve.retcode, solve.stats, solve.t, solve.state, dense, solve.detail, finite)

    def solve_adjoint(self, problem: AdjointProblem) -> AdjointResult:
        julia, started = runtime(), time.perf_counter()
        layout, field, ys = problem.layout, problem.field, problem.ys
        apart = _params_apart(problem)
        z = ys.new_zeros(layout.size if apart is None else layout.params_start)
        z[layout.adjoint_slice] = problem.cotangents[problem.last]
        if layout.has_y:
            z[layout.y_slice] = ys[problem.last]
        outcome = None
        if not layout.has_y:
            assert isinstance(problem.dense, JuliaDense)
            outcome = problem.dense.outcome
        norm = None
        segments: Sequence[Segment] = problem.segments or ()
        if problem.segments is None:
            assert callable(problem.adjoint.norm)
            norm = CallableNorm(problem.adjoint.norm, problem.unflatten)
        gauss, jacobian = isinstance(problem.adjoint, GaussAdjoint), _jacobian(problem)
        interpolated: Tensor  # y, which Julia writes where it is not in z
        report = problem.options.report
        nodes: _Nodes | NativeNodes | None = None
        if isinstance(field, JuliaVectorField):
            nodes, interpolated = NativeNodes(problem, field) if gauss else None, field.native.u
            callbacks: Callbacks = NativeCallbacks(field, norm, report).backward(problem, apart)
        else:
            backward, nodes = _BackwardField(problem), _Nodes(problem) if gauss else None
            interpolated = backward.interpolated
            evaluate = nodes.evaluate if nodes else None
            by_state = (lambda t, z: jacobian.of_adjoint(t, interpolated.clone(), z)) if jacobian else None
            callbacks = SolverCallbacks(ys, backward, norm, evaluate_nodes=evaluate, jacobian=by_state, report=report)
        start = problem.times[problem.last]
        times = (start, *(problem.times[i] for i in problem.stops))
        cotangents, anchors = problem.cotangents.contiguous(), ys.contiguous()
        with _Solve(julia, callbacks, problem.unflatten_adjoint, z, start) as solve:
            offsets = _offsets(segments)
            settings = _settings(problem.options, problem.pieces)
            words = [
                self._vector(ys),
                *callbacks.words,
                *(offsets.address, len(segments), len(z)),
                *(z.data_ptr(), len(z), layout.state),
                *doubles(times).words,
                *integers(tuple(problem.stops)).words,
                anchors.data_ptr(),
                cotangents.data_ptr(),
                layout.has_y,
                settings.address,
                outcome.address if outcome else 0,
                interpolated.data_ptr(),
                *(nodes.words(callbacks) if nodes else (0,)),
            ]
            solve.run("adjoint", words)
        if nodes:
            solve.stats.nvjp_state, solve.stats.nvjp_param = solve.calls, nodes.evaluated or solve.passed.steps
        else:
            solve.stats.nvjp = solve.calls
        solve.stats.njac = jacobian.calls if jacobian else solve.passed.jacobians
        solve.stats.seconds = time.perf_counter() - started
        if isinstance(field, JuliaVectorField) and apart is not None:
            params = field.split(apart)
        else:
            params = nodes.total if nodes else layout.split_params(z, field.shapes)
        return AdjointResult(z[layout.adjoint_slice], params, solve.retcode, solve.stats, solve.t, solve.detail)

    def sweep(self, problem: DiscreteProblem) -> AdjointResult:
        if problem.steps.foreign is not None:
            return native_sweep(runtime(), problem)
        return Sweep(problem).run()


class _ForwardField:
    """dy/dt, from and into the solver's buffers; the ``known`` value, of the checking call, is the first."""

    def __init__(self, problem: ForwardProblem, known: list[Tensor]) -> None:
        self._problem, self._known = problem, known

    def __call__(self, t: float, y: Tensor, dy: Tensor) -> None:
        # The copy is for the user: the solver reuses its buffers, and frees them after the solve.
        dy.copy_(self._known.pop() if self._known else self._problem.f(t, y.clone()))


def _params_apart(problem: AdjointProblem) -> Tensor | None:
    """All of mu, where it is not a part of the backward state: no norm sees it, and the stages are known.

    Functions that Julia calls back write it with the rest; see `Integral` in PySeminorm for the others.
    """
    method, params = problem.options.method, problem.layout.params
    known = isinstance(method, str) and method in TABLEAUS
    if not (params and known and isinstance(problem.field, JuliaVectorField)) or problem.measures_params:
        return None
    return problem.ys.new_zeros(sum(params))


class _BackwardField:
    """d/dt of [lambda; y; a_t; mu], from and into the solver's buffers."""

    def __init__(self, problem: AdjointProblem) -> None:
        layout = problem.layout
        self._has_y, self._carries_params = layout.has_y, bool(layout.params)
        self._rates = AdjointRates(problem.field, layout, carried=self._carries_params)
        self._parts: dict[int, tuple[Tensor, Tensor]] = {}  # lambda and y in the solver's few buffers
        self.interpolated = problem.ys.new_empty(layout.state)  # y, which Julia writes where it is not in z
        self._apart = self.interpolated.view(problem.spec.form)

    def __call__(self, t: float, z: Tensor, dz: Tensor) -> None:
        parts = self._parts.get(id(z))
        if parts is None:
            read = self._rates.read(z)
            parts = self._parts[id(z)] = read[0], read[1] if self._has_y else self._apart
        # The copy is for func: the solver reuses its buffers, and frees them after the solve.
        self._rates.write(t, parts[0], parts[1].clone(), dz, params=self._carries_params)


class JuliaDense:
    """A kept forward trajectory: OrdinaryDiffEq's dense solution, alive as long as this object."""

    def __init__(self, julia: Runtime, outcome: Kept, like: Tensor) -> None:
        self.outcome = outcome
        self._julia, self._like = julia, like

    def __call__(self, t: float) -> Tensor:
        self._julia.check_caller()
        value = torch.empty_like(self._like)
        self._julia.module.evaluate_b(self.outcome.object, t, value.data_ptr())
        return value


class _Nodes:
    """Memory for Gauss nodes that Julia fills, and their evaluation."""

    def __init__(self, problem: AdjointProblem) -> None:
        assert isinstance(problem.adjoint, GaussAdjoint)
        size = problem.layout.state
        self._stats = PassStats()
        self._sums = ParameterQuadrature(problem.field, self._stats, batched_time=problem.adjoint.batched_time)
        self._order = problem.options.traits.order
        self._times = np.empty(nodes_per_call(size), dtype=np.float64)
        self._y = problem.ys.new_empty(len(self._times), size)
        self._adjoint = torch.empty_like(self._y)

    def words(self, callbacks: Callbacks) -> list[int]:
        """What Julia's entry reads of them."""
        self._rule = [np.array(x) for x in gauss_legendre(self._order)]
        rule = (x.ctypes.data for x in self._rule)
        memory = (self._times.ctypes.data, self._y.data_ptr(), self._adjoint.data_ptr())
        return [1, *rule, len(self._rule[0]), len(self._times), *memory, callbacks.nodes]

    def evaluate(self, count: int) -> None:
        self._sums.add(self._times[:count].tolist(), self._y[:count].clone(), self._adjoint[:count].clone())

    @property
    def evaluated(self) -> int:
        return self._stats.nvjp_param

    @property
    def total(self) -> list[Tensor]:
        return self._sums.total


Callbacks = SolverCallbacks | NativeCallbacks


class _Solve:
    """One call into Julia: its result, its exceptions, and the last good state on whatever leaves it."""

    def __init__(
        self, julia: Runtime, callbacks: Callbacks, unflatten: Callable[[Tensor], Any], state: Tensor, t: float
    ) -> None:
        self._julia, self._callbacks, self._unflatten = julia, callbacks, unflatten
        self.state, self.t = state, float(t)
        self.stats = PassStats()
        self.retcode, self.detail, self.calls, self.reached = ReturnCode.Success, "", 0, 1
        self.outcome: Kept | None = None
        self.passed: Passed

    def __enter__(self) -> _Solve:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._callbacks.close()
        if error is not None:
            state = LastGoodState(self.t, self._unflatten(self.state.clone()), self.stats)
            error.last_good_state = state  # type: ignore[attr-defined]

    def run(self, entry: str, words: list[Any]) -> None:
        first = self.t
        try:
            with self._callbacks.running():
                passed = self.passed = self._julia.entries.solve(entry, words)
        except Exception as error:
            raised = self._callbacks.raised
            if raised is not None:
                raise raised from None
            raise readable(error) from error
        self.t, self.calls, self.reached = passed.t, passed.calls, passed.done
        self.stats.naccept, self.stats.nreject = passed.naccept, passed.nreject
        accepted = self._take(passed) if passed.held else passed.accepted
        self.stats.times = [first, *(accepted or ())]
        if entry == "forward" and passed.steps and passed.retcode in ("CallbackFailure", "Interrupted"):
            self._julia.entries.let_go(passed.steps)  # no sweep follows
        if passed.retcode == "CallbackFailure":
            raised = passed.raised or self._callbacks.raised
            if raised is not None:
                raise raised
        if passed.retcode == "Interrupted":
            raise KeyboardInterrupt
        try:
            self.retcode = ReturnCode[passed.retcode]
        except KeyError:
            self.retcode, self.detail = ReturnCode.Failure, f"OrdinaryDiffEq's return code: {passed.retcode}."

    def _take(self, passed: Passed) -> list[float]:
        """Fetch the outcome and the state that it ended with; the times of all accepted steps."""
        module = self._julia.module
        outcome = module.take_held_b(passed.held)
        self.outcome = Kept(module, outcome)
        accepted = np.empty(module.steps_taken(outcome), dtype=np.float64)
        self.state = torch.empty_like(self.state, memory_format=torch.contiguous_format)
        module.copy_results_b(outcome, accepted.ctypes.data, self.state.data_ptr())
        passed.retcode = passed.retcode or str(module.retcode(outcome))
        times: list[float] = accepted.tolist()
        return times


def _settings(options: PassOptions, pieces: Pieces) -> Kept:
    """PySeminorm's Settings; those of the last passes are kept, since training uses the same again and again."""
    method, controller, dt = options.method, options.controller, abs(options.dt or 0.0)
    plain = isinstance(method, str) and (controller is None or isinstance(controller, PIController))
    make = _kept_settings if plain else _new_settings
    return make(method, options.rtol, options.atol, dt, options.max_steps, controller, pieces)


def _new_settings(
    method: Any, rtol: float, atol: float, dt: float, max_steps: int, controller: Any, pieces: Pieces
) -> Kept:
    module = runtime().module
    given = controller.given if isinstance(controller, PIController) else controller
    bounds = tuple(t for piece in pieces.bounds for t in piece)
    return Kept(module, module.Settings((_method(method), rtol, atol, dt, max_steps, given, pieces.breaks, bounds)))


_kept_settings = functools.lru_cache(maxsize=64)(_new_settings)


@functools.cache
def _vector_type(memory: str, dtype: torch.dtype, device: int) -> Kept:
    module = runtime().module
    return Kept(module, module.vector_type((memory, ELTYPES[dtype], device)))


def _method(method: Any) -> Any:
    """What PySeminorm.algorithm takes."""
    return (method.name, method.options) if isinstance(method, Algorithm) else method


def _offsets(segments: Sequence[Segment]) -> Memory:
    """Start, stop, start, stop ...; the caller keeps them alive during the solve."""
    return integers(tuple(itertools.chain.from_iterable(segments)))


def _jacobian(problem: ForwardProblem | AdjointProblem) -> Jacobian | None:
    """The Jacobian through torch, where the method needs one and the function is not one in Julia, with its own."""
    options = problem.options
    if not options.traits.needs_jacobian or isinstance(problem.field, JuliaVectorField):
        return None
    return Jacobian(problem.field, options.jacobian, problem.pieces.bounds)


_INPUT_ERRORS = ("has an algorithm", "is not an OrdinaryDiffEq", "makes its dense output by further calls")


def readable(error: Exception) -> BaseException:
    """A Julia exception as one of ours, with the first line of its message; an interrupt as Python's own."""
    line = first_line(error)
    if line.startswith("InterruptException"):
        return KeyboardInterrupt()
    if any(sign in line for sign in _INPUT_ERRORS):
        return InvalidInputError(line)
    return BackendUnavailableError(f"Julia raised: {line}. The full Julia error is the cause of this one.")
