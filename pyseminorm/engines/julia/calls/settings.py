"""What Julia is told of a solve besides its tensors, as objects that both sides keep: training uses the same again."""

from __future__ import annotations

import functools
from typing import Any

import torch

from ....grids import FixedGrid
from ....methods.tableaus import TABLEAUS
from ....passes.gradient_error import formula
from ....passes.problems import ForwardProblem, PassOptions
from ....problem.discontinuities import Discontinuities
from ....stepping import Algorithm, PIController
from ..session.c_functions import POLL, JuliaHandle
from ..session.layouts import ForwardCall
from ..session.memory import Memory, doubles, offsets_of
from ..session.runtime import runtime

ELTYPES = {torch.float64: "Float64", torch.float32: "Float32"}


@functools.cache
def vector_type(memory: str, dtype: torch.dtype, device: int = 0) -> JuliaHandle:
    """Return the type of Julia's vectors in a kind of memory."""
    module = runtime().module
    return JuliaHandle(module, module.vector_type((memory, ELTYPES[dtype], device)))


def make_settings(options: PassOptions, discontinuities: Discontinuities, grid: tuple[float, ...] = ()) -> JuliaHandle:
    """Return PySeminorm's Settings."""
    limits = (options.tstops + grid, options.dtmin, options.dtmax, bool(grid))
    make = _cached_settings if is_plain(options) else _new_settings
    assert isinstance(options.rtol, float) and isinstance(options.atol, float)
    numbers = options.rtol, options.atol, options.max_steps
    return make(options.method, numbers, options.controller, discontinuities, limits)


def is_plain(options: PassOptions) -> bool:
    """Tell whether options hold no object of Julia, and nothing of the user's that must not be kept."""
    controller, grid = options.controller, options.grid
    return (
        isinstance(options.method, str)
        and (controller is None or isinstance(controller, PIController))
        and (grid is None or isinstance(grid, FixedGrid))
    )


def _new_settings(
    method: Any, numbers: tuple[Any, ...], controller: Any, discontinuities: Discontinuities, limits: tuple[Any, ...]
) -> JuliaHandle:
    module = runtime().module
    given = controller.given if isinstance(controller, PIController) else controller
    intervals = tuple(t for interval in discontinuities.intervals for t in interval)
    asked = (describe_method(method), *numbers, given, discontinuities.times, intervals, limits)
    return JuliaHandle(module, module.Settings(asked))


_cached_settings = functools.lru_cache(maxsize=64)(_new_settings)


def describe_method(method: Any) -> Any:
    """Return what PySeminorm.algorithm takes."""
    return (method.name, method.options) if isinstance(method, Algorithm) else method


@functools.cache
def tableau(method: str) -> JuliaHandle:
    """Return PySeminorm's Tableau of a method."""
    known = TABLEAUS[method]
    rows = known.a + known.extra_a
    stages, degree = len(rows), len(known.dense[0])
    a = [[*row, *(0.0,) * (stages - len(row))] for row in rows]
    extra, weights = (0.0,) * len(known.extra_c), known.integral_error or (0.0,) * known.stages
    parts = known.c + known.extra_c, a, known.b + extra, weights + extra, known.dense, formula(known)
    memory = [Memory(torch.tensor(x, dtype=torch.float64)) for x in parts]
    module = runtime().module
    return JuliaHandle(module, module.tableau(stages, degree, *(x.address for x in memory), known.stages, known.fsal))


class ForwardArguments:
    """A forward pass as Julia reads it. Training makes the same again and again: only addresses of tensors change.

    ``field``: the address of a native field, 0 for functions of Python; ``keep``: 1 where Julia records the steps, 2
    with their stages.
    """

    def __init__(self, problem: ForwardProblem, vector: JuliaHandle, field: int = 0, keep: int = 0) -> None:
        self.keep, self.settings = keep, make_settings(problem.options, problem.discontinuities, problem.grid)
        segments, times = problem.segments or (), doubles(tuple(problem.times))
        offsets, weights = offsets_of(segments), tableau(problem.options.method) if keep == 2 else None
        self._kept = vector, offsets, times, weights
        self.arguments = ForwardCall(
            vector=vector.address, field=field, poll=POLL, keep=keep, offsets=offsets.address, segments=len(segments),
            times=times.address, times_count=times.count, size=problem.spec.size, settings=self.settings.address,
            dense=problem.keep_dense, tableau=0 if weights is None else weights.address,
        )  # fmt: skip
