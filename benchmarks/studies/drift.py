"""How far BacksolveAdjoint's states come from those of the forward solve, and how wrong the gradient is then.

    python -m benchmarks.studies.drift

Of the cases of the speed benchmark on the CPU, of the paper's twelve pairs with fresh weights, and of dynamics that
contract or are driven roughly: relaxing networks, a Neural CDE along random walks, and Robertson's reaction by an
implicit method. Errors against GaussAdjoint.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.paper.pairs import pairs
from benchmarks.paper.tasks import experiment
from benchmarks.speed.cases import CASES, Problem
from benchmarks.studies.gradient_error import Solver
from pyseminorm import CDE, BacksolveAdjoint, GaussAdjoint, Solution, interpolate_path, solve

MOST_PARAMETERS = 2_000_000
TOLERANCES = (1e-2, 1e-3, 1e-5)


class Relaxing(nn.Module):
    """y' = rate (net(y) - y), of three float64 numbers."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.net = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 3)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        rate: Tensor = self.rate * (self.net(y) - y)
        return rate


class Matrix(nn.Module):
    """What a Neural CDE of 8 hidden numbers and 3 channels multiplies dX/dt by."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Unflatten(-1, (8, 3)))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        matrix: Tensor = self.net(z)
        return matrix


class Robertson(nn.Module):
    """Robertson's reaction, with rates by their logarithms."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = nn.Parameter(torch.log(torch.tensor([0.04, 3e3, 1e2], dtype=torch.float64)))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        a, b, c = y.unbind(-1)
        first, second, third = self.rates.exp().unbind()
        first, second, third = first * a, second * b * b, third * b * c
        return torch.stack([third - first, first - second - third, second], dim=-1)


def of_cases() -> Iterator[float]:
    for case in CASES:
        problem = Problem(case)
        if sum(p.numel() for p in problem.params) > MOST_PARAMETERS:
            continue
        for rtol in TOLERANCES:
            settings: dict[str, Any] = {"rtol": rtol, "atol": rtol, "backend": "torch"}
            s = solve(problem.field, problem.y0, problem.t, adjoint=BacksolveAdjoint(verbose=False), **settings)
            s.ys.pow(2).mean().backward()
            yield _drift(s)


def of_pairs() -> Iterator[float]:
    for pair in pairs():
        torch.manual_seed(0)
        task = experiment(pair.task, pair.sizes)
        adjoint = BacksolveAdjoint(verbose=False)
        solver = Solver(method="dopri5", rtol=pair.rtol, atol=pair.atol, adjoint=adjoint)
        task.loss(task.model(), task.held, solver).backward()  # type: ignore[no-untyped-call]
        yield _drift(solver.solution)


def of_contracting() -> Iterator[tuple[str, float, float]]:
    """Yield what it is, its drift and the error of its gradient."""
    y0 = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.0, 0.2]], dtype=torch.float64)
    for rate in (1.0, 5.0, 10.0, 20.0, 40.0):
        torch.manual_seed(0)
        settings = {"rtol": 1e-3, "atol": 1e-5}
        yield f"y' = {rate:g} (net(y) - y)", *_drift_and_error(Relaxing(rate), y0, [0.0, 1.0], **settings)
    for seed in range(4):
        torch.manual_seed(seed)
        path = interpolate_path(None, torch.randn(32, 50, 3).cumsum(dim=1), "hermite")
        field, ends = CDE(Matrix(), path), [float(path.interval[0]), float(path.interval[-1])]
        yield f"a Neural CDE along random walks, seed {seed}", *_drift_and_error(field, torch.randn(32, 8), ends)
    implicit: dict[str, Any] = {"method": "implicit_adams", "dt": 0.002}
    yield "Robertson's reaction, implicit_adams", *_drift_and_error(Robertson(), y0, [0.0, 5.0], **implicit)


def _drift_and_error(field: Any, y0: Tensor, t: Sequence[float], **settings: Any) -> tuple[float, float]:
    owner: Any = field.func if isinstance(field, CDE) else field
    found, params = [], list(owner.parameters())
    for adjoint in (BacksolveAdjoint(verbose=False), GaussAdjoint(verbose=False)):
        s = solve(field, y0, t, adjoint=adjoint, backend="torch", **settings)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(s.ys[-1, :, 0].sum(), params)]))
        if isinstance(adjoint, BacksolveAdjoint):
            drift = _drift(s)
    return drift, ((found[0] - found[1]).norm() / found[1].norm()).item()


def _drift(solution: Solution) -> float:
    assert solution.stats.backward is not None and solution.stats.backward.drift is not None
    return solution.stats.backward.drift


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of implicit steps that do not converge on the way back
    print(f"cases: at most {max(of_cases()):.1e}\npairs: at most {max(of_pairs()):.1e}", flush=True)
    print("\n| dynamics | drift | error of the gradient |\n|---|---:|---:|")
    for name, drift, error in of_contracting():
        print(f"| {name} | {drift:.1e} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    main()
