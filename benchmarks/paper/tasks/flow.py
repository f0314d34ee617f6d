"""Density estimation by a continuous normalising flow, on images and in the plane.

Source: W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, FFJORD, ICLR 2019: layers whose gate and
shift depend on time, Hutchinson's estimate of the trace. Products of the Jacobian with the probes are carried through
the layers as tangents, so that the field needs no automatic differentiation inside.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from ..experiment import Batch
from ..pairs import Sizes
from ..solver import Solver
from .densities import Points, digits, planar

DRAWN = {"digits": 40, "moons": 1000, "checkerboard": 1000}


class ConcatSquash(nn.Module):
    """(W x + b) gate(t) + shift(t), with the tangents W v gate(t) of x's tangents v."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, out)
        self.gate = nn.Linear(1, out)
        self.shift = nn.Linear(1, out, bias=False)

    def forward(self, t: Tensor, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        moment = t.view(1)
        gate = torch.sigmoid(self.gate(moment))
        return self.linear(x) * gate + self.shift(moment), (tangents @ self.linear.weight.T) * gate


class FlowField(nn.Module):
    """d(x, l)/dt = (f(t, x), sum over probes e of e^T (df/dx) e) on a state (samples, size + 1)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        sizes = (size, width, width, width, size)
        self.layers = nn.ModuleList(ConcatSquash(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, t: Tensor, state: Tensor, probes: Tensor) -> Tensor:
        """``probes`` (number, samples, size): unit vectors for the trace itself, a random one for its estimate."""
        x, tangents = state[:, :-1], probes
        for i, layer in enumerate(self.layers):
            if i:
                x = torch.tanh(x)
                tangents = tangents * (1 - x.square())
            x, tangents = layer(t, x, tangents)
        trace = (tangents * probes).sum(dim=(0, 2)).unsqueeze(-1)
        return torch.cat([x, trace], dim=-1)


class Flow(nn.Module):
    """The flow from data at t = 0 to a standard normal distribution at t = 1."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.field = FlowField(size, width)

    def log_density(self, x: Tensor, probes: Tensor, solver: Solver) -> Tensor:
        """Log p(x) (samples,), from d log p/dt = -trace along the flow."""
        field = self.field
        start = torch.cat([x, x.new_zeros(len(x), 1)], dim=-1)
        end = solver(lambda t, state: field(t, state, probes), start, [0.0, 1.0], field.parameters())[-1]
        normal = -0.5 * (end[:, :-1].square() + math.log(2 * math.pi)).sum(dim=-1)
        return normal + end[:, -1]

    def sample(self, noise: Tensor, solver: Solver) -> Tensor:
        """Data (samples, size) from normal ``noise``: the flow backwards, without its trace."""
        field, none = self.field, noise.new_zeros(0, *noise.shape)
        start = torch.cat([noise, noise.new_zeros(len(noise), 1)], dim=-1)
        end = solver(lambda t, state: field(t, state, none), start, [1.0, 0.0], field.parameters())[-1]
        return end[:, :-1]


class DensityEstimation:
    """Batches are (points, probes); a batch of images is dequantised anew in every epoch."""

    def __init__(self, name: str, sizes: Sizes) -> None:
        self.name, self.sizes = name, sizes
        self.points: Points = digits() if name == "digits" else planar(name)
        self.quality_name = "test bits per dimension" if name == "digits" else "test negative log-likelihood"
        generator = torch.Generator().manual_seed(0)
        test = self.points.test
        self.test = (test, self._probes(len(test), generator))
        self.held: Batch = (test[: sizes.held], self._probes(sizes.held, generator))

    def _probes(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Unit vectors in the plane; else one random vector of signs (Rademacher's) for each sample."""
        size = self.points.size
        if size == 2:
            return torch.eye(2).view(2, 1, 2).expand(2, samples, 2)
        return torch.randint(2, (1, samples, size), generator=generator).float() * 2 - 1

    def model(self) -> nn.Module:
        return Flow(self.points.size, self.sizes.width)

    def batches(self) -> list[Batch]:
        size = self.sizes.batch
        drawn = self.points.draw(self.sizes.batches * size)
        return [(x, self._probes(len(x))) for x in torch.split(drawn, size)]

    def loss(self, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
        """Negative log-likelihood, as FFJORD: in nats in the plane, in bits per dimension of the line for images."""
        assert isinstance(model, Flow)
        x, probes = batch
        nats = -model.log_density(x, probes, solver).mean()
        return nats if self.points.size == 2 else nats / (self.points.size * math.log(2))

    def quality(self, model: nn.Module, solver: Solver) -> float:
        assert isinstance(model, Flow)
        x, probes = self.test
        return self.points.quality(-model.log_density(x, probes, solver), x)

    def samples(self, model: nn.Module, solver: Solver) -> list[list[float]]:
        assert isinstance(model, Flow)
        noise = torch.randn(DRAWN[self.name], self.points.size, generator=torch.Generator().manual_seed(0))
        drawn = self.points.shown(model.sample(noise, solver))
        return [[round(float(v), 2) for v in row] for row in drawn]
