"""Our modes, as data: adjoint x backend x compile x method, each a name and keyword arguments of `solve`."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, solve
from pyseminorm.adjoints import Adjoint
from pyseminorm.engines.julia.session import detect

from .cases import Problem, gradient
from .contender import OURS, Contender, Outcome, Solver, TorchSolver

ADJOINTS: dict[str, Adjoint] = {
    "Backsolve": BacksolveAdjoint(),
    "Interpolating": InterpolatingAdjoint(),
    "Gauss": GaussAdjoint(),
    "Discrete": DiscreteAdjoint(),
    "Discrete-stages": DiscreteAdjoint(keep="stages"),
}
# (backend, compile)
ENGINES = (
    ("torch", None),
    ("torch", "trace"),
    ("torch", "inductor"),
    ("julia", None),
    ("julia", "trace"),
    ("julia", "julia"),
)
METHODS = ("tsit5", "dopri5")
QUICK_METHOD = "tsit5"


class Mode(TorchSolver):
    """`pyseminorm.solve` with the keyword arguments of a mode, at one tolerance."""

    def __init__(self, problem: Problem, tolerance: float, arguments: dict[str, Any]) -> None:
        super().__init__(problem, self._solved)
        self._arguments = {"rtol": tolerance, "atol": tolerance, **arguments}

    def _solved(self) -> Tensor:
        solution = solve(self.problem.field, self.problem.y0, self.problem.t, **self._arguments)
        self._stats = solution.stats
        ys: Tensor = solution.ys
        return ys

    def outcome(self) -> Outcome:
        return Outcome(float(self._loss), gradient(self.problem), self._stats.forward, self._stats.backward)


def mode(backend: str, how: str | None, adjoint: str, method: str) -> Contender:
    """One mode; ``how`` is the argument ``compile`` of `solve`, None to leave it out."""
    arguments: dict[str, Any] = {"backend": backend, "adjoint": ADJOINTS[adjoint], "method": method}
    if how:
        arguments["compile"] = how

    def make(problem: Problem, tolerance: float) -> Solver:
        return Mode(problem, tolerance, arguments)

    name = f"{backend}{'+' + how if how else ''} {adjoint} {method}"
    settings = {"backend": backend, "compile": how or "", "adjoint": adjoint, "method": method}
    return Contender(name, OURS, make, settings, quick=method == QUICK_METHOD)


def modes() -> tuple[list[Contender], list[str]]:
    """Every mode that this machine has, and a line for each kind that is missing."""
    missing = []
    no_julia = julia_missing()
    if no_julia:
        missing.append(f'no modes with backend="julia": {no_julia}')
    compiles = "compile" in inspect.signature(solve).parameters
    if not compiles:
        names = sorted({how for _, how in ENGINES if how})
        missing.append(f"no modes with compile={', '.join(map(repr, names))}: solve has no such argument here")
    engines = [(b, how) for b, how in ENGINES if not (b == "julia" and no_julia) and (compiles or not how)]
    return [mode(b, how, adjoint, method) for b, how in engines for method in METHODS for adjoint in ADJOINTS], missing


def julia_missing() -> str | None:
    """Why there is no Julia here, or None."""
    found = detect.find_julia()
    return found.reason if isinstance(found, detect.NoJulia) else None
