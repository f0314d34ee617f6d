"""A Neural CDE classifier: dz = f(z) dX, driven by a smooth path X through the data.

Source: P. Kidger, J. Morrill, J. Foster, T. Lyons, Neural Controlled Differential Equations for Irregular Time Series,
NeurIPS 2020; the path is the cubic Hermite spline with backward differences of Morrill et al., 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .solver import Solver


def backward_difference_spline(series: Tensor) -> Tensor:
    """Return coefficients (times - 1, 3, samples, channels) of dX/dt, for ``series`` (samples, channels, times) one
    apart.

    On interval i, with s = t - i: dX/dt = c[i, 0] + 2 s c[i, 1] + 3 s^2 c[i, 2].
    """
    rise = series.diff(dim=-1)
    slope = torch.cat([rise[..., :1], rise], dim=-1)  # backward differences: known without looking ahead
    start, end = slope[..., :-1], slope[..., 1:]
    coefficients = torch.stack([start, 3 * rise - 2 * start - end, start + end - 2 * rise])
    return coefficients.permute(3, 0, 1, 2).contiguous()


class NeuralCDE(nn.Module):
    """``forward(series, solver)`` gives logits (samples, classes)."""

    def __init__(self, channels: int, classes: int, *, hidden: int, width: int) -> None:
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.initial = nn.Linear(channels, hidden)
        self.field = nn.Sequential(
            nn.Linear(hidden, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, hidden * channels),
            nn.Tanh(),
        )
        self.readout = nn.Linear(hidden, classes)

    def vector_field(self, t: Tensor, z: Tensor, spline: Tensor) -> Tensor:
        """Return f(z) dX/dt, (samples, hidden)."""
        i = t.detach().long().clamp(0, len(spline) - 1)  # a tensor: quadrature nodes are batched by vmap
        s = t - i
        start, second, third = torch.index_select(spline, 0, i.view(1))[0]
        velocity = start + 2 * s * second + 3 * s**2 * third
        matrix = self.field(z).view(-1, self.hidden, self.channels)
        return torch.bmm(matrix, velocity.unsqueeze(-1)).squeeze(-1)

    def forward(self, series: Tensor, solver: Solver) -> Tensor:
        spline = backward_difference_spline(series)
        times = [0.0, float(len(spline))]
        zs = solver(
            lambda t, z: self.vector_field(t, z, spline), self.initial(series[..., 0]), times, self.field.parameters()
        )
        logits: Tensor = self.readout(zs[-1])
        return logits
