"""torchdiffeq and torchode, as their documentation would have them run, and torchdiffeq's call with our import."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from torch import Tensor

from benchmarks.requirements import INSTALL

from ..cases import Problem
from ..contender import Contender, CountedSolver, Solver, TorchSolver

SEMINORM = 'torchdiffeq odeint_adjoint "seminorm"'  # what most bars are measured against
ADJOINT = "torchdiffeq odeint_adjoint"
IMPORTED = "pyseminorm.torchdiffeq"  # the package of the same calls, of which only the import is another


def peers() -> tuple[list[Contender], list[str]]:
    """The contenders of every peer in PyTorch that is installed, and a line for each that is not."""
    found = _imported()
    missing = []
    for package, make in (("torchdiffeq", _torchdiffeq), ("torchode", _torchode)):
        if importlib.util.find_spec(package) is None:
            missing.append(f"{package} is not installed: {INSTALL}")
        else:
            found += make()
    return found, missing


def _odeint_adjoint(package: Any, problem: Problem, tolerance: float, norm: str | None) -> Callable[[], Tensor]:
    options = None if norm is None else {"norm": norm}

    def run() -> Tensor:
        ys: Tensor = package.odeint_adjoint(
            problem.field, problem.y0, problem.t, rtol=tolerance, atol=tolerance, method="dopri5",
            adjoint_options=options,
        )  # fmt: skip
        return ys

    return run


def _imported() -> list[Contender]:
    """What was written for torchdiffeq, run by its replacement: at the tolerances of the original."""

    def adjoint(norm: str | None) -> Callable[[Problem, float], Solver]:
        from pyseminorm import torchdiffeq

        return lambda problem, tolerance: TorchSolver(problem, _odeint_adjoint(torchdiffeq, problem, tolerance, norm))

    return [
        Contender(f"{name}, import changed", IMPORTED, adjoint(norm), curve=False)
        for name, norm in ((ADJOINT, None), (SEMINORM, "seminorm"))
    ]


def _torchdiffeq() -> list[Contender]:
    def adjoint(norm: str | None) -> Callable[[Problem, float], Solver]:
        def make(problem: Problem, tolerance: float) -> Solver:
            import torchdiffeq

            return CountedSolver(problem, _odeint_adjoint(torchdiffeq, problem, tolerance, norm))

        return make

    def backprop(problem: Problem, tolerance: float) -> Solver:
        import torchdiffeq

        def run() -> Tensor:
            ys: Tensor = torchdiffeq.odeint(
                problem.field, problem.y0, problem.t, rtol=tolerance, atol=tolerance, method="dopri5"
            )
            return ys

        return CountedSolver(problem, run, backprop=True)

    return [
        Contender(ADJOINT, "torchdiffeq", adjoint(None)),
        Contender(SEMINORM, "torchdiffeq", adjoint("seminorm")),
        Contender("torchdiffeq odeint (backprop)", "torchdiffeq", backprop),
    ]


def _torchode() -> list[Contender]:
    """Its adjoints by their fastest settings: no statistics, no gradient through the step-size control.

    `torch.compile` is given the bound ``solve``: compiling the adjoint object, as its README has it, leaves ``solve``
    uncompiled. Its other compiler, TorchScript, fails with this torch.
    """

    def make(kind: str, method: str, *, compiled: bool = False) -> Callable[[Problem, float], Solver]:
        def made(problem: Problem, tolerance: float) -> Solver:
            run = _torchode_run(problem, tolerance, kind, method, compiled=compiled)
            if compiled:
                return TorchSolver(problem, run)  # a hook that counts would be compiled too
            return CountedSolver(problem, run, backprop=kind == "AutoDiffAdjoint")

        return made

    return [
        *(
            Contender(f"torchode {kind} {method.lower()}", "torchode", make(kind, method))
            for kind in ("AutoDiffAdjoint", "JointBacksolveAdjoint")
            for method in ("Dopri5", "Tsit5")
        ),
        Contender(
            "torchode AutoDiffAdjoint dopri5, torch.compile", "torchode",
            make("AutoDiffAdjoint", "Dopri5", compiled=True), curve=False, quick=False,
        ),
    ]  # fmt: skip


def _torchode_run(
    problem: Problem, tolerance: float, kind: str, method: str, *, compiled: bool
) -> Callable[[], Tensor]:
    import torch
    import torchode

    term = torchode.ODETerm(problem.field, with_stats=False)
    step_method = getattr(torchode, method)(term=term)
    controller = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
    if kind == "AutoDiffAdjoint":
        adjoint = torchode.AutoDiffAdjoint(step_method, controller, backprop_through_step_size_control=False)
    else:
        adjoint = getattr(torchode, kind)(term, step_method, controller)
    solve: Callable[..., Any] = torch.compile(adjoint.solve) if compiled else adjoint.solve
    times = problem.t.expand(len(problem.y0), -1).contiguous()

    def run() -> Tensor:
        ys: Tensor = solve(torchode.InitialValueProblem(y0=problem.y0, t_eval=times)).ys
        return ys

    return run
