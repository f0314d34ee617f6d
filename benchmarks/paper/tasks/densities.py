"""Points to estimate a density from: scikit-learn's digits (real images), and two densities in the plane."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

# Pixels are squeezed into [SQUEEZE, 1 - SQUEEZE] before the logit (Dinh et al., Density estimation using Real NVP).
SQUEEZE, LEVELS = 0.05, 17
TEST = 360


class Points(Protocol):
    """Data in ``size`` dimensions, with ``test`` points that stay the same."""

    size: int
    test: Tensor

    def draw(self, count: int) -> Tensor:
        """Points for an epoch, by torch's global generator."""
        ...

    def quality(self, negative_log_likelihood: Tensor, x: Tensor) -> float:
        """The test quality in its usual unit."""
        ...

    def shown(self, x: Tensor) -> Tensor:
        """Points in the space that is drawn."""
        ...


class Digits:
    """8 x 8 images with 17 levels, dequantised by uniform noise and taken to the line by a logit."""

    size = 64

    def __init__(self, images: Tensor) -> None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        self.train, held = images[order[TEST:]], images[order[:TEST]]
        self.test = _to_line(held, torch.rand(held.shape, generator=torch.Generator().manual_seed(1)))

    def draw(self, count: int) -> Tensor:
        images = self.train[torch.randperm(len(self.train))[:count]]
        return _to_line(images, torch.rand(images.shape))

    def quality(self, negative_log_likelihood: Tensor, x: Tensor) -> float:
        """Bits per dimension of the images, the logit's volume included."""
        share = torch.sigmoid(x)
        volume = (math.log(1 - 2 * SQUEEZE) - torch.log(share) - torch.log1p(-share)).sum(dim=-1)
        nats = negative_log_likelihood - volume + self.size * math.log(LEVELS)
        return float(nats.mean()) / (self.size * math.log(2))

    def shown(self, x: Tensor) -> Tensor:
        return ((torch.sigmoid(x) - SQUEEZE) / (1 - 2 * SQUEEZE)).clamp(0, 1)


class Planar:
    """A density in the plane, sampled anew in every epoch."""

    size = 2

    def __init__(self, name: str) -> None:
        self.name = name
        self.test = self._sample(1000, torch.Generator().manual_seed(0))

    def draw(self, count: int) -> Tensor:
        return self._sample(count, None)

    def _sample(self, count: int, generator: torch.Generator | None) -> Tensor:
        sample = {"moons": _moons, "checkerboard": _checkerboard}[self.name]
        return sample(torch.rand(count, 2, generator=generator), torch.randn(count, 2, generator=generator))

    def quality(self, negative_log_likelihood: Tensor, x: Tensor) -> float:
        return float(negative_log_likelihood.mean())

    def shown(self, x: Tensor) -> Tensor:
        return x


def digits() -> Points:
    """scikit-learn's 1,797 images (UCI, Optical Recognition of Handwritten Digits)."""
    from sklearn.datasets import load_digits

    return Digits(torch.tensor(load_digits().data, dtype=torch.float32))


def planar(name: str) -> Points:
    """Two half circles ("moons") or dark squares ("checkerboard")."""
    return Planar(name)


def _to_line(images: Tensor, noise: Tensor) -> Tensor:
    share = (images + noise) / LEVELS
    return torch.logit(SQUEEZE + (1 - 2 * SQUEEZE) * share)


def _moons(uniform: Tensor, normal: Tensor) -> Tensor:
    """Two half circles around (-1/2, -1/4) and (1/2, 1/4), noise 0.1, in units of about one."""
    angle = math.pi * uniform[:, 0]
    side = torch.where(uniform[:, 1] < 0.5, 1.0, -1.0)
    moon = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=-1) * side.unsqueeze(-1)
    return 1.5 * moon + 0.1 * normal


def _checkerboard(uniform: Tensor, normal: Tensor) -> Tensor:
    """The eight dark squares of a 4 x 4 board on [-2, 2]^2: two in every column."""
    x = 4 * uniform[:, 0] - 2
    upper, height = torch.floor(2 * uniform[:, 1]), 2 * uniform[:, 1] % 1
    return torch.stack([x, height + 2 * upper + x.floor() % 2 - 2], dim=-1)
