"""Interpolation of an irregularly sampled series by a latent ODE: a VAE with a GRU encoder and an ODE decoder.

Source: Y. Rubanova, R. T. Q. Chen, D. Duvenaud, Latent ODEs for Irregularly-Sampled Time Series, NeurIPS 2019 (their
"Latent ODE with an RNN encoder", after Chen et al., 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyseminorm.demo.data import load

from ..experiment import Batch
from ..pairs import Sizes
from ..solver import Solver

TIMES = 12  # irregular ones, of 29
DEVIATION = 0.5  # of the observations, which are standardised
ENCODER = 24


class Series(NamedTuple):
    """``values`` (samples, times, channels); ``valid`` and ``seen`` (samples, times, 1): 1 where there is a value, and
    where the encoder sees it.
    """

    values: Tensor
    valid: Tensor
    seen: Tensor


class LatentODE(nn.Module):
    """Encodes what is seen backwards in time, solves the latent ODE, decodes at all times."""

    def __init__(self, channels: int, times: Tensor, sizes: Sizes) -> None:
        super().__init__()
        latent, width = sizes.state, sizes.width
        self.times = times.tolist()
        self.register_buffer("gaps", times.diff(prepend=times[:1]).view(1, -1, 1))
        self.encoder = nn.GRU(2 * channels, ENCODER, batch_first=True)
        self.posterior = nn.Linear(ENCODER, 2 * latent)
        self.field = nn.Sequential(
            nn.Linear(latent, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, channels))

    def encode(self, series: Series) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of z at the first time."""
        mask = series.seen.expand_as(series.values)
        gaps = self.get_buffer("gaps").expand(len(mask), -1, 1)
        inputs = torch.cat([series.values * mask, mask[..., 1:], gaps], dim=-1)
        _, last = self.encoder(inputs.flip(1))
        mean, log_variance = self.posterior(last[0]).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z0: Tensor, solver: Solver) -> Tensor:
        """Predicted values (samples, times, channels)."""
        zs = solver(lambda t, z: self.field(z), z0, self.times, self.field.parameters())
        predicted: Tensor = self.decoder(zs.transpose(0, 1))
        return predicted


class Interpolation:
    """Batches are (values, valid, seen, noise of the posterior)."""

    quality_name = "test MSE of hidden points"

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        generator = torch.Generator().manual_seed(0)
        train, test, _ = load("japanese-vowels")
        points = train.series.shape[-1]
        chosen = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(points - 1, generator=generator)])
        rows = chosen[:TIMES].sort().values
        self.times = rows / (points - 1)
        self.train = _observed(train.series[..., rows], generator)
        self.test = _observed(test.series[..., rows], generator)
        noise = torch.randn(sizes.held, sizes.state, generator=generator)
        self.held: Batch = (*(x[: sizes.held] for x in self.test), noise)

    def model(self) -> nn.Module:
        return LatentODE(self.train.values.shape[-1], self.times, self.sizes)

    def batches(self) -> list[Batch]:
        order = torch.randperm(len(self.train.values))
        rows = torch.split(order, self.sizes.batch)[: self.sizes.batches]
        return [(*(x[row] for x in self.train), torch.randn(len(row), self.sizes.state)) for row in rows]

    def loss(self, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
        """Minus the lower bound of the evidence, averaged over series (without its constant)."""
        assert isinstance(model, LatentODE)
        *parts, noise = batch
        series = Series(*parts)
        mean, log_variance = model.encode(series)
        predicted = model.decode(mean + noise * (0.5 * log_variance).exp(), solver)
        misfit = ((predicted - series.values).square() * series.valid).sum() / (2 * DEVIATION**2)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (misfit + divergence) / len(mean)

    def quality(self, model: nn.Module, solver: Solver) -> float:
        assert isinstance(model, LatentODE)
        predicted = model.decode(model.encode(self.test)[0], solver)
        return float(_mean_square(predicted - self.test.values, self.test.valid - self.test.seen))

    def samples(self, model: nn.Module, solver: Solver) -> list[list[float]]:
        return []


def _observed(series: Tensor, generator: torch.Generator) -> Series:
    """Without the clock channel; a series that has ended (its value is held) is not valid; half of the rest is seen."""
    values = series[:, 1:].transpose(1, 2).contiguous()
    ended = (values == values[:, -1:]).all(dim=-1, keepdim=True)
    valid = 1 - ended.to(values.dtype)
    valid[:, 0] = 1
    seen = valid * (torch.rand(valid.shape, generator=generator) < 0.5)
    seen[:, 0] = 1
    return Series(values, valid, seen)


def _mean_square(errors: Tensor, mask: Tensor) -> Tensor:
    return (errors.square() * mask).sum() / (mask.sum() * errors.shape[-1])
