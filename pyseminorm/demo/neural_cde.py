"""A Neural CDE classifier: dz = f(z) dX, driven by a smooth path X through the data.

Source: P. Kidger, J. Morrill, J. Foster, T. Lyons, Neural Controlled Differential Equations for Irregular Time Series,
NeurIPS 2020; the path is the cubic Hermite spline with backward differences of Morrill et al., 2021.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import BacksolveAdjoint, Solution, solve


def backward_difference_spline(series: Tensor) -> Tensor:
    """Coefficients (times - 1, 3, samples, channels) of dX/dt, for ``series`` (samples, channels, times) one apart.

    On interval i, with s = t - i: dX/dt = c[i, 0] + 2 s c[i, 1] + 3 s^2 c[i, 2].
    """
    rise = series.diff(dim=-1)
    slope = torch.cat([rise[..., :1], rise], dim=-1)  # backward differences: known without looking ahead
    start, end = slope[..., :-1], slope[..., 1:]
    coefficients = torch.stack([start, 3 * rise - 2 * start - end, start + end - 2 * rise])
    return coefficients.permute(3, 0, 1, 2).contiguous()


class NeuralCDE(nn.Module):
    """``forward(series)`` gives logits (samples, classes); `solution` keeps the last solve, for its statistics."""

    solution: Solution

    def __init__(
        self, channels: int, classes: int, *, hidden: int, width: int, adjoint: BacksolveAdjoint, backend: str,
        method: str, rtol: float, atol: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.settings: dict[str, Any] = {
            "adjoint": adjoint,
            "backend": backend,
            "method": method,
            "rtol": rtol,
            "atol": atol,
        }
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
        """f(z) dX/dt, (samples, hidden)."""
        i = min(int(t), len(spline) - 1)
        s = t - i
        velocity = spline[i, 0] + 2 * s * spline[i, 1] + 3 * s**2 * spline[i, 2]
        matrix = self.field(z).view(-1, self.hidden, self.channels)
        return torch.bmm(matrix, velocity.unsqueeze(-1)).squeeze(-1)

    def forward(self, series: Tensor) -> Tensor:
        spline = backward_difference_spline(series)
        z0 = self.initial(series[..., 0])
        self.solution = solve(
            self.vector_field,
            z0,
            [0.0, float(len(spline))],
            args=(spline,),
            params=self.field.parameters(),
            **self.settings,
        )
        logits: Tensor = self.readout(self.solution.ys[-1])
        return logits
