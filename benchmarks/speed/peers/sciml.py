"""SciMLSensitivity's adjoints on the same problem, with the vector-Jacobian products of torch plugged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyseminorm import PassStats, PySeminormError
from pyseminorm.methods.tableaus import TABLEAUS
from pyseminorm.passes.problems import PassOptions
from pyseminorm.problem.state import StateSpec
from pyseminorm.problem.vector_field import EagerVectorField
from pyseminorm.solving import DEFAULT_MAX_STEPS

from ..cases import Problem
from ..contender import Contender, Outcome, Solver
from ..modes import julia_missing

METHOD = "tsit5"


def peers() -> tuple[list[Contender], list[str], dict[str, str]]:
    """SciMLSensitivity's contenders, a line that says why there are none, and the versions in Julia."""
    absent = julia_missing()
    if absent:
        return [], [f"SciMLSensitivity takes no part: {absent}"], {}
    from pyseminorm.engines.julia import sciml_sensitivity as sensitivity
    from pyseminorm.engines.julia.session.runtime import runtime

    name = sensitivity.PACKAGE
    try:
        julia = runtime()
        if not julia.load(name):
            return (
                [],
                [f"{name} takes no part: the Julia project lacks it; {julia.command_to_add(name)} adds it"],
                julia.versions,
            )
    except PySeminormError as error:
        return [], [f"{name} takes no part: {error}"], {}

    def make(adjoint: str) -> Callable[[Problem, float], Solver]:
        return lambda problem, tolerance: _Sensitivity(problem, tolerance, julia, adjoint)

    found = [
        Contender(f"{name} {a} {METHOD}, torch products", name, make(a), curve=False, quick=False)
        for a in sensitivity.ADJOINTS
    ]
    return found, [], julia.versions


class _Sensitivity:
    """Its forward solve with dense output, and one of its adjoints."""

    def __init__(self, problem: Problem, tolerance: float, julia: Any, adjoint: str) -> None:
        self._problem, self._julia, self._adjoint = problem, julia, adjoint
        self._spec = StateSpec(problem.y0)
        self._field = EagerVectorField(problem.field, (), self._spec, None)
        traits = TABLEAUS[METHOD].traits
        self._options = PassOptions(METHOD, traits, tolerance, tolerance, DEFAULT_MAX_STEPS)

    def refresh(self) -> None:
        """Nothing to do: its products call torch, which sees the parameters themselves."""

    def step(self) -> None:
        from pyseminorm.engines.julia.sciml_sensitivity import Sensitivity

        y0 = self._spec.flatten(self._problem.y0)
        solved = Sensitivity(self._julia, self._field, y0, self._problem.t.double().tolist(), self._options)
        try:
            self._forward = solved.forward_calls
            ys = solved.values()
            self._loss = float(ys.pow(2).mean())
            _, self._gradient, self._backward = solved.gradients(self._adjoint, 2 * ys / ys.numel())
        finally:
            solved.close()

    def outcome(self) -> Outcome:
        gradient: Tensor = self._gradient.to(torch.float64)
        return Outcome(self._loss, gradient, PassStats(nf=self._forward), self._backward)
