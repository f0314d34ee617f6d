"""Our modes, as data: adjoint x backend x what runs in the place of the field x method x how solves begin."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, WarmStart, solve
from pyseminorm.adjoints import Adjoint
from pyseminorm.engines.julia.session import detect

from .cases import Problem, gradient
from .contender import COMPILED, OURS, Contender, Outcome, Solver, TorchSolver

ADJOINTS: dict[str, Adjoint] = {
    "Backsolve": BacksolveAdjoint(),
    "Interpolating": InterpolatingAdjoint(),
    "Gauss": GaussAdjoint(),
    "Discrete": DiscreteAdjoint(),
    "Discrete-stages": DiscreteAdjoint(keep="stages"),
}
# (backend, what runs in the place of the field)
ENGINES = (
    ("torch", None),
    ("torch", "trace"),
    ("torch", "inductor"),
    ("torch", COMPILED),
    ("julia", None),
    ("julia", "trace"),
    ("julia", "julia"),
    ("julia", COMPILED),
)
METHODS = ("tsit5", "dopri5")
QUICK_METHOD = "tsit5"
# Those that begin with the step of the solve before, too: a training loop's steady state is after so many solves.
WARM = (("torch", "inductor"), ("torch", COMPILED), ("julia", "julia"), ("julia", COMPILED))
WARM_ADJOINTS = ("Backsolve", "Discrete-stages")
SETTLING = 20


class Mode(TorchSolver):
    """`pyseminorm.solve` of a field with the keyword arguments of a mode, at one tolerance."""

    def __init__(self, problem: Problem, field: Any, tolerance: float, arguments: dict[str, Any]) -> None:
        super().__init__(problem, self._solved)
        self._field, self._arguments = field, {"rtol": tolerance, "atol": tolerance, **arguments}

    def _solved(self) -> Tensor:
        solution = solve(self._field, self.problem.y0, self.problem.t, **self._arguments)
        self._stats = solution.stats
        ys: Tensor = solution.ys
        return ys

    def outcome(self) -> Outcome:
        return Outcome(float(self._loss), gradient(self.problem), self._stats.forward, self._stats.backward)


class WarmMode(Mode):
    """A mode whose solves begin with the step of the one before; its error is that of the steady state."""

    def __init__(self, problem: Problem, field: Any, tolerance: float, arguments: dict[str, Any]) -> None:
        super().__init__(problem, field, tolerance, {**arguments, "dt": WarmStart()})

    def outcome(self) -> Outcome:
        for _ in range(SETTLING):
            self.refresh()
            self.step()
        return super().outcome()


def mode(backend: str, how: str | None, adjoint: str, method: str, *, warm: bool = False) -> Contender:
    """Return one mode; ``how`` is `COMPILED`, or the argument ``compile`` of `solve`."""
    arguments: dict[str, Any] = {"backend": backend, "adjoint": ADJOINTS[adjoint], "method": method}
    if how != COMPILED:
        arguments["compile"] = how

    def make(problem: Problem, tolerance: float) -> Solver:
        field = pyseminorm.compile(problem.field, backend=backend) if how == COMPILED else problem.field
        return (WarmMode if warm else Mode)(problem, field, tolerance, arguments)

    name = f"{backend}{'+' + how if how else ''} {adjoint} {method}{' warm' if warm else ''}"
    start = "warm" if warm else ""
    settings = {"backend": backend, "compile": how or "", "adjoint": adjoint, "method": method, "start": start}
    return Contender(name, OURS, make, settings, quick=method == QUICK_METHOD)


def modes() -> tuple[list[Contender], list[str]]:
    """Return every mode that this machine has, and a line for the engine that is missing."""
    no_julia = julia_missing()
    missing = [f'no modes with backend="julia": {no_julia}'] if no_julia else []
    engines = [(b, how) for b, how in ENGINES if not (b == "julia" and no_julia)]
    cold = [mode(b, how, adjoint, method) for b, how in engines for method in METHODS for adjoint in ADJOINTS]
    warm = [
        mode(*engine, adjoint, method, warm=True)
        for engine in WARM
        if engine in engines
        for method in METHODS
        for adjoint in WARM_ADJOINTS
    ]
    return cold + warm, missing


def julia_missing() -> str | None:
    """Why there is no Julia here, or None."""
    found = detect.find_julia()
    return found.reason if isinstance(found, detect.NoJulia) else None
