"""Which step-size controller needs the fewest evaluations at equal gradient error: OrdinaryDiffEq's PI, or another.

    python -m benchmarks.studies.controllers

Evaluations of both passes against the relative error of dL/dtheta (to a solve at 1e-12), along a ladder of tolerances,
interpolated at five errors: ratios to the default, geometric means over the errors and then over the cases.
Nothing is timed.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, PIController

# name -> state, width, batch, outputs, times sin(20 t), factor on the weights
CASES = {
    "2-16, batch 1": (2, 16, 1, 10, False, 1.0),
    "4-64, batch 128": (4, 64, 128, 10, False, 1.0),
    "32-128, batch 32": (32, 128, 32, 10, False, 1.0),
    "oscillating 2-16": (2, 16, 8, 10, True, 1.0),
    "oscillating 4-64, 2 outputs": (4, 64, 16, 2, True, 1.0),
    "weights x 2.5, 4-64": (4, 64, 16, 10, False, 2.5),
    "weights x 3, 2-16, 100 outputs": (2, 16, 8, 100, False, 3.0),
}
CONTROLLERS = {
    "PI (default)": None,
    "I": PIController(beta1=1 / 5, beta2=0.0),
    "PI.3.4 (Gustafsson)": PIController(beta1=0.7 / 5, beta2=0.3 / 5),
}
ADJOINTS = {"DiscreteAdjoint": DiscreteAdjoint(), "BacksolveAdjoint": BacksolveAdjoint()}
TOLERANCES = [10 ** (-k / 2) for k in range(6, 19)]
TARGETS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


class Field(nn.Module):
    def __init__(self, size: int, width: int, oscillating: bool, factor: float) -> None:
        super().__init__()
        layers = [nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, size)]
        self.net, self.oscillating = nn.Sequential(*layers).double(), oscillating
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(factor)

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        dy: torch.Tensor = self.net(y)
        return dy * torch.sin(20 * t) if self.oscillating else dy


def gradient(
    field: Field, y0: torch.Tensor, t: torch.Tensor, tolerance: float, **settings: Any
) -> tuple[torch.Tensor, int]:
    field.zero_grad()
    s = pyseminorm.solve(field, y0, t, rtol=tolerance, atol=tolerance, backend="torch", compile="trace", **settings)
    s.ys.pow(2).mean().backward()
    forward, backward = s.stats.forward, s.stats.backward
    assert backward is not None
    calls = forward.nf + backward.nf + backward.nvjp
    return torch.cat([p.grad.reshape(-1) for p in field.parameters() if p.grad is not None]), calls


def at_targets(points: list[tuple[float, int]]) -> list[float | None]:
    """Evaluations at the target errors, by interpolation between logarithms; None outside the ladder."""
    error, calls = (np.log([p[i] for p in points]) for i in (0, 1))
    order = np.argsort(error)
    inside = [error.min() <= math.log(target) <= error.max() for target in TARGETS]
    values = [math.exp(np.interp(math.log(target), error[order], calls[order])) for target in TARGETS]
    return [value if ok else None for value, ok in zip(values, inside, strict=True)]


def ratios(case: str, method: str, adjoint: str) -> dict[str, float] | None:
    size, width, batch, outputs, oscillating, factor = CASES[case]
    torch.manual_seed(0)
    field, y0 = Field(size, width, oscillating, factor), torch.randn(batch, size, dtype=torch.float64)
    t = torch.linspace(0, 3, outputs, dtype=torch.float64)
    reference, _ = gradient(field, y0, t, 1e-12, method=method, adjoint=DiscreteAdjoint())
    curves = {}
    for name, controller in CONTROLLERS.items():
        settings = {"method": method, "adjoint": ADJOINTS[adjoint], "controller": controller}
        points = []
        for tolerance in TOLERANCES:
            found, calls = gradient(field, y0, t, tolerance, **settings)
            points.append((float((found - reference).norm() / reference.norm()), calls))
        curves[name] = at_targets(points)
    # float: not a number where a curve does not reach the target
    logs = {name: np.log(np.array(curve, dtype=float)) for name, curve in curves.items()}
    shared = np.all([np.isfinite(log) for log in logs.values()], axis=0)
    if not shared.any():
        return None
    base = next(iter(logs.values()))
    return {name: math.exp(np.mean((log - base)[shared])) for name, log in logs.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    print("| method | adjoint | case | " + " | ".join(CONTROLLERS) + " |\n|---|---|---|" + "---:|" * len(CONTROLLERS))
    for method in ("tsit5", "dopri5"):
        for adjoint in ADJOINTS:
            rows = {case: row for case in CASES if (row := ratios(case, method, adjoint)) is not None}
            for case, row in rows.items():
                print(f"| {method} | {adjoint} | {case} | " + " | ".join(f"{x:.2f}" for x in row.values()) + " |")
            means = [math.exp(np.mean([math.log(row[name]) for row in rows.values()])) for name in CONTROLLERS]
            print(f"| {method} | {adjoint} | **all** | " + " | ".join(f"**{x:.2f}**" for x in means) + " |", flush=True)


if __name__ == "__main__":
    main()
