"""Learning controlled mechanics by a symplectic ODE-Net.

Source: Y. D. Zhong, B. Dey, A. Chakraborty, Symplectic ODE-Net: Learning Hamiltonian Dynamics with Control, ICLR 2020,
its unstructured variant: one net for H, another for the input matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..experiment import Batch
from ..pairs import Sizes
from ..solver import Solver
from .simulator import STEP, SYSTEMS, simulate

WINDOW, POINTS = 8, 40  # points of a training window, as in the paper, and of a trajectory
TRAJECTORIES, TEST = 80, 20
TORQUE = 2.0  # constant on a trajectory, at most this large


class HamiltonianNet(nn.Module):
    """dq/dt = dH/dp, dp/dt = -dH/dq + g(q) u, with H a net of (cos q, sin q, p).

    The gradient of the two-layer net is written out, so that the field needs no automatic differentiation inside.
    """

    def __init__(self, degrees: int, width: int) -> None:
        super().__init__()
        self.degrees = degrees
        self.first = nn.Linear(3 * degrees, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Parameter(torch.randn(width) / width**0.5)
        self.input = nn.Sequential(nn.Linear(2 * degrees, width // 4), nn.Tanh(), nn.Linear(width // 4, degrees))

    def forward(self, state: Tensor, torque: Tensor) -> Tensor:
        """d(q, p)/dt (samples, 2 degrees) under ``torque`` (samples, 1)."""
        q, p = state.chunk(2, dim=-1)
        cos, sin = q.cos(), q.sin()
        one = torch.tanh(self.first(torch.cat([cos, sin, p], dim=-1)))
        two = torch.tanh(self.second(one))
        back = (self.last * (1 - two.square())) @ self.second.weight
        slope = (back * (1 - one.square())) @ self.first.weight
        by_cos, by_sin, by_p = slope.chunk(3, dim=-1)
        force = sin * by_cos - cos * by_sin  # -dH/dq
        return torch.cat([by_p, force + self.input(torch.cat([cos, sin], dim=-1)) * torque], dim=-1)


class SymplecticODENet(nn.Module):
    """Predicts a window of states from its first."""

    def __init__(self, degrees: int, width: int) -> None:
        super().__init__()
        self.field = HamiltonianNet(degrees, width)

    def forward(self, start: Tensor, torque: Tensor, points: int, solver: Solver) -> Tensor:
        """States (samples, points, 2 degrees)."""
        times = [STEP * i for i in range(points)]
        field = self.field
        return solver(lambda t, y: field(y, torque), start, times, field.parameters()).transpose(0, 1)


class Control:
    """Batches are (windows, torques)."""

    quality_name = "test MSE against the simulator"

    def __init__(self, system: str, sizes: Sizes) -> None:
        self.system, self.sizes = SYSTEMS[system], sizes
        windows, torques = self._windows(torch.Generator().manual_seed(0))
        per_trajectory = POINTS - WINDOW + 1
        split = TRAJECTORIES * per_trajectory
        self.train: Batch = (windows[:split], torques[:split])
        self.test: Batch = (windows[split::WINDOW], torques[split::WINDOW])
        self.held: Batch = tuple(x[: sizes.held] for x in self.test)

    def _windows(self, generator: torch.Generator) -> Batch:
        """All windows of all trajectories, the last ones of trajectories that no training sees."""
        number, size = TRAJECTORIES + TEST, 2 * self.system.degrees
        start = 2 * torch.rand(number, size, generator=generator, dtype=torch.float64) - 1
        torque = TORQUE * (2 * torch.rand(number, 1, generator=generator, dtype=torch.float64) - 1)
        paths = simulate(self.system, start, torque, POINTS).float()
        windows = paths.unfold(1, WINDOW, 1).transpose(2, 3)  # (number, windows, points, size)
        return windows.reshape(-1, WINDOW, size), torque.float().repeat_interleave(windows.shape[1], dim=0)

    def model(self) -> nn.Module:
        return SymplecticODENet(self.system.degrees, self.sizes.width)

    def batches(self) -> list[Batch]:
        order = torch.randperm(len(self.train[0]))
        rows = torch.split(order, self.sizes.batch)[: self.sizes.batches]
        return [tuple(x[row] for x in self.train) for row in rows]

    def loss(self, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
        windows, torques = batch
        predicted: Tensor = model(windows[:, 0], torques, WINDOW, solver)
        return (predicted - windows)[:, 1:].square().mean()

    def quality(self, model: nn.Module, solver: Solver) -> float:
        return float(self.loss(model, self.test, solver))

    def samples(self, model: nn.Module, solver: Solver) -> list[list[float]]:
        return []
