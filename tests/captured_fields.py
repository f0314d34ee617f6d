"""Fields whose attributes tests of captures change, and their values by a captured graph."""

import torch
from problems import batch
from torch import nn

import pyseminorm

T = [0.0, 0.4, 1.0]


D = torch.float64


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.offset = 2.0, torch.tensor([0.5, 1.0], dtype=D)

    def forward(self, t, y):
        return -self.scale * y + self.offset


class Counting(Scaled):
    calls = 0

    def forward(self, t, y):
        self.calls += 1
        return super().forward(t, y)


def value(field, y0=None):
    return pyseminorm.solve(field, batch(2) if y0 is None else y0, T, backend="torch", compile="trace").ys
