"""The problems that the tests solve: analytic ones and small networks, with weights from formulas."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """y' = A y + u, with a known solution for u = 0."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.1], [-1.4, -0.2]], dtype=dtype))

    def forward(self, t, y, u=None):
        dy = y @ self.matrix.T
        return dy if u is None else dy + u

    def exact(self, y0: Tensor, t: float) -> Tensor:
        return y0 @ torch.linalg.matrix_exp(self.matrix * t).T


class LotkaVolterra(nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.rates = nn.Parameter(torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=dtype))

    def forward(self, t, y):
        a, b, c, d = self.rates
        prey, predator = y[..., 0], y[..., 1]
        return torch.stack([a * prey - b * prey * predator, d * prey * predator - c * predator], dim=-1)


class Pendulum(nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.constants = nn.Parameter(torch.tensor([9.81, 0.25], dtype=dtype))

    def forward(self, t, y):
        gravity, damping = self.constants
        return torch.stack([y[..., 1], -gravity * torch.sin(y[..., 0]) - damping * y[..., 1]], dim=-1)


def _formula_weights(module: nn.Module) -> None:
    """Weights that look random but are the same with every torch and on every machine."""
    with torch.no_grad():
        for layer, p in enumerate(module.parameters()):
            i = torch.arange(p.numel(), dtype=torch.float64)
            fan_in = p.shape[-1]
            p.copy_((torch.sin(12.9898 * i + 78.233 * (layer + 1)) / math.sqrt(fan_in)).view_as(p))


class MLP(nn.Module):
    """A tanh network, 64 wide: 2-64-64-2 has 4,482 parameters."""

    def __init__(self, dtype=torch.float64, width: int = 64, size: int = 2):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, size)
        ).to(dtype)
        _formula_weights(self)

    def forward(self, t, y):
        return self.net(y)


class Oscillating(MLP):
    """The same network times sin(20 t)."""

    def forward(self, t, y):
        return self.net(y) * torch.sin(20 * t)


class Hamiltonian(nn.Module):
    """y' = J grad H(y): differentiates inside itself. ``enable`` writes the usual enable_grad block around it."""

    def __init__(self, enable: bool, dtype=torch.float64):
        super().__init__()
        self.enable = enable
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
        _formula_weights(self)

    def forward(self, t, y):
        if self.enable:
            with torch.enable_grad():
                return self._field(y if y.requires_grad else y.requires_grad_())
        return self._field(y)

    def _field(self, y):
        (gradient,) = torch.autograd.grad(self.net(y).sum(), y, create_graph=True)
        return torch.stack([gradient[..., 1], -gradient[..., 0]], dim=-1)


class ContinuousFlow(nn.Module):
    """A continuous normalising flow: (z, log p)' with the exact divergence as a sum of derivatives."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
        _formula_weights(self)

    def forward(self, t, state):
        z, _ = state
        with torch.enable_grad():
            z = z if z.requires_grad else z.requires_grad_()
            dz = self.net(torch.cat([z, t.expand(*z.shape[:-1], 1)], dim=-1))
            divergence = sum(
                torch.autograd.grad(dz[..., i].sum(), z, create_graph=True)[0][..., i] for i in range(z.shape[-1])
            )
        return dz, -divergence


class Counted(nn.Module):
    """A field, and how often it was called."""

    def __init__(self, field):
        super().__init__()
        self.field, self.calls = field, 0

    def forward(self, t, y, *args):
        self.calls += 1
        return self.field(t, y, *args)


def batch(rows: int, dtype=torch.float64, size: int = 2) -> Tensor:
    """Initial states from a formula, (rows, size)."""
    i = torch.arange(rows * size, dtype=torch.float64)
    return torch.cos(3.7 * i + 0.5).view(rows, size).to(dtype)


def cotangents(*shape: int, dtype=torch.float64) -> Tensor:
    """Cotangents from a formula."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(5.3 * i + 1.7).view(shape).to(dtype)


def relative(a: Tensor, b: Tensor) -> float:
    """Relative error of a against b in the Euclidean norm."""
    return ((a - b).norm() / b.norm()).item()
