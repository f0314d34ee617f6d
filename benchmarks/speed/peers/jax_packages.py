"""diffrax: the whole loss and gradient under one jit, with either of its adjoints and either of its solvers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.requirements import INSTALL

from ..cases import END, Problem
from ..contender import Contender, Outcome, Solver
from ..fields import FREQUENCY

PACKAGE = "diffrax"
QUICK_SOLVER = "Dopri5"


def peers() -> tuple[list[Contender], list[str]]:
    """Diffrax's contenders, or a line that says what is not installed."""
    absent = [name for name in ("jax", "diffrax") if importlib.util.find_spec(name) is None]
    if absent:
        return [], [f"{' and '.join(absent)} not installed: {INSTALL}"]

    def make(solver: str, adjoint: str) -> Callable[[Problem, float], Solver]:
        return lambda problem, tolerance: _Diffrax(problem, tolerance, solver, adjoint)

    adjoints = {"BacksolveAdjoint": "BacksolveAdjoint seminorm", "RecursiveCheckpointAdjoint": "checkpointed (default)"}
    return [
        Contender(f"diffrax {label} {solver.lower()}", PACKAGE, make(solver, adjoint), quick=solver == QUICK_SOLVER)
        for adjoint, label in adjoints.items()
        for solver in ("Tsit5", "Dopri5")
    ], []


class _Diffrax:
    """``jax.jit(jax.value_and_grad(loss))`` of (parameters, y0), compiled at the first step.

    Tolerances are constants of the compiled function, as a user writes them (as arguments they cost a few percent).
    """

    def __init__(self, problem: Problem, tolerance: float, solver: str, adjoint: str) -> None:
        import jax

        if problem.case.kind != "mlp":
            raise NotImplementedError(f"no field of the kind {problem.case.kind!r} is written for it here")
        self._problem, self._jax = problem, jax
        self._select_precision()
        self._y0, self._t = _array(problem.y0), _array(problem.t)
        self._function = jax.jit(jax.value_and_grad(_loss(problem, tolerance, solver, adjoint)))

    def _select_precision(self) -> None:
        self._jax.config.update("jax_enable_x64", self._problem.y0.dtype == torch.float64)

    def refresh(self) -> None:
        self._select_precision()
        self._params = self._jax.block_until_ready([_array(p) for p in self._problem.params])

    def step(self) -> None:
        self._made = self._jax.block_until_ready(self._function(self._params, self._y0, self._t))

    def outcome(self) -> Outcome:
        loss, gradients = self._made
        parts = [torch.from_numpy(np.array(g, dtype=np.float64)).reshape(-1) for g in gradients]
        return Outcome(float(loss), torch.cat(parts))


def _loss(problem: Problem, tolerance: float, solver: str, adjoint: str) -> Callable[[Any, Any, Any], Any]:
    import diffrax
    import jax.numpy as jnp

    oscillating = problem.case.oscillating

    def field(t: Any, y: Any, params: Any) -> Any:
        (w1, b1, w2, b2, w3, b3) = params
        y = jnp.tanh(y @ w1.T + b1)
        y = jnp.tanh(y @ w2.T + b2)
        y = y @ w3.T + b3
        return y * jnp.sin(FREQUENCY * t) if oscillating else y

    def controller(**norm: Any) -> Any:
        return diffrax.PIDController(rtol=tolerance, atol=tolerance, **norm)

    adjoints = {
        "BacksolveAdjoint": lambda: diffrax.BacksolveAdjoint(
            stepsize_controller=controller(norm=diffrax.adjoint_rms_seminorm)
        ),
        "RecursiveCheckpointAdjoint": lambda: diffrax.RecursiveCheckpointAdjoint(),
    }

    def loss(params: Any, y0: Any, t: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), getattr(diffrax, solver)(), 0.0, END, None, y0, params,
            saveat=diffrax.SaveAt(ts=t), stepsize_controller=controller(), adjoint=adjoints[adjoint](),
        )  # fmt: skip
        return jnp.mean(solution.ys**2)

    return loss


def _array(x: Tensor) -> Any:
    """A new array of jax, which shares no memory with torch: parameters change in place."""
    import jax.numpy as jnp

    return jnp.array(x.detach().numpy(), copy=True)
