"""What the saving depends on, and where it costs accuracy: single backward passes of small fields, without training.

Every series changes one thing of the same problem. Float64, so that rounding plays no part.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pyseminorm import InterpolatingAdjoint

from .contenders import CONTENDERS, Contender
from .pairs import Pair, Reference, Sizes
from .record import write
from .solver import OurSolver, Solver


@dataclass(frozen=True)
class Problem:
    """Mean square of the outputs of y' = f(t, y), f a tanh net of ``width``, on [0, 2].

    Attributes:
        size, batch: of the state.
        outputs: times after the first that the loss sees.
        frequency: omega, where the field is multiplied by sin(omega t); 0: it is autonomous.
        silent: a parameter that is zero stands before sin(omega t): y and lambda do not see it, mu alone oscillates.
    """

    rtol: float = 1e-4
    size: int = 4
    batch: int = 8
    width: int = 64
    outputs: int = 1
    frequency: float = 0.0
    silent: bool = False

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        net = (2 * self.size + 1 + self.width) * self.width + self.width + self.size
        return net + self.size * self.silent


BASE = Problem()


@dataclass(frozen=True)
class Series:
    """Problems that differ in one thing."""

    name: str
    title: str
    axis: str
    values: tuple[float, ...]
    problem: Callable[[float], Problem]


def _with(**changes: Callable[[float], object]) -> Callable[[float], Problem]:
    return lambda value: dataclasses.replace(BASE, **{name: make(value) for name, make in changes.items()})  # type: ignore[arg-type]


SERIES: tuple[Series, ...] = (
    Series("tolerance", "Tolerance", "rtol", (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7), _with(rtol=float)),
    Series("width", "Parameters, by the width of the net", "width", (4, 16, 64, 256, 512), _with(width=int)),
    Series("batch", "Elements of the state, by the batch", "batch", (1, 8, 64, 512), _with(batch=int)),
    Series("outputs", "Outputs with a loss", "outputs", (1, 4, 16, 64), _with(outputs=int)),
    Series("frequency", "A field times sin(ωt)", "ω", (0, 2, 5, 10, 20, 40), _with(frequency=float)),
    Series(
        "silent",
        "A parameter at zero times sin(ωt): only the parameter gradient oscillates",
        "ω",
        (2, 5, 10, 20, 40),
        _with(frequency=float, silent=lambda _: True),
    ),
)

COMPARED = ("norm-torchdiffeq", "norm-rms", "norm-seminorm", "gauss", "discrete")
REFERENCE = Reference("vern7", 1e-11)
SEEDS = 3


@dataclass(frozen=True)
class Measured:
    """One backward pass: relative error of dL/dtheta, and what it cost."""

    series: str
    value: float
    contender: str
    seed: int
    state: int
    parameters: int
    error: float
    backward_evaluations: int
    backward_rejected: int


class Net(nn.Module):
    """The field of a `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        size, width = problem.size, problem.width
        self.frequency = problem.frequency
        self.net = nn.Sequential(
            nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, size)
        ).double()
        self.silent = nn.Parameter(torch.zeros(size, dtype=torch.float64)) if problem.silent else None

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        rate: Tensor = self.net(y)
        if self.silent is not None:
            return rate + self.silent * torch.sin(self.frequency * t)
        return rate * torch.sin(self.frequency * t) if self.frequency else rate


def run_series(series: Series, seed: int, backend: str, out: Path, advance: Callable[[], None]) -> str:
    """Measure a series, unless it is recorded, and record it; nothing can go wrong that is worth a record."""
    path = out / "ablations" / f"{series.name}-{backend}-{seed}.json"
    if not path.exists():
        found = [one for value in series.values for one in measure(series, value, seed, backend)]
        write(path, [dataclasses.asdict(one) for one in found])
    advance()
    return ""


def read_series(out: Path) -> list[Measured]:
    """All that is recorded of ablations."""
    files = sorted(out.glob("ablations/*.json"))
    return [Measured(**one) for path in files for one in json.loads(path.read_text())]


def measure(series: Series, value: float, seed: int, backend: str) -> list[Measured]:
    """Every compared contender on one problem of a series."""
    problem = series.problem(value)
    torch.manual_seed(seed)
    net = Net(problem)
    y0 = torch.randn(problem.batch, problem.size, dtype=torch.float64)
    method, tolerance = REFERENCE
    adjoint = InterpolatingAdjoint(norm="rms")
    tight = OurSolver(method=method, rtol=tolerance, atol=tolerance, adjoint=adjoint, backend="torch")
    truth = _gradient(net, y0, problem, tight)
    sizes = Sizes(batches=1, batch=problem.batch, width=problem.width, state=problem.size, held=problem.batch, rate=0.0)
    pair = Pair("ablation", problem.rtol, 1e-3 * problem.rtol, 0, sizes, REFERENCE)
    found = []
    for contender in CONTENDERS:
        if contender.name in COMPARED:
            error, evaluations, rejected = _cost(contender, pair, problem, net, y0, truth, backend)
            state = y0.numel()
            found.append(
                Measured(
                    series.name, value, contender.name, seed, state, problem.parameters, error, evaluations, rejected
                )
            )
    return found


def _cost(
    contender: Contender, pair: Pair, problem: Problem, net: Net, y0: Tensor, truth: Tensor, backend: str
) -> tuple[float, int, int]:
    solver = contender.solver(pair, backend)
    gradient = _gradient(net, y0, problem, solver)
    cost = solver.cost()
    return float((gradient - truth).norm() / truth.norm()), cost.backward_evaluations, cost.backward_rejected


def _gradient(net: Net, y0: Tensor, problem: Problem, solver: Solver) -> Tensor:
    times = [2.0 * i / problem.outputs for i in range(problem.outputs + 1)]
    loss = solver(net, y0, times, net.parameters())[1:].square().mean()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))])
