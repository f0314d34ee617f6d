"""A Neural CDE classifier: dz = f(z) dX, driven by a smooth path X through the data.

Source: P. Kidger, J. Morrill, J. Foster, T. Lyons, Neural Controlled Differential Equations for Irregular Time Series,
NeurIPS 2020; the path is the cubic Hermite spline with backward differences of Morrill et al., 2021.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..paths import CDE, interpolate_path


class NeuralCDE(nn.Module):
    """``forward(series, solver)`` gives logits (samples, classes), for series (samples, channels, times) one apart.

    ``solver(field, y0, times, params)`` gives the states (len(times), *y0.shape), differentiable.
    """

    def __init__(self, channels: int, classes: int, *, hidden: int, width: int) -> None:
        super().__init__()
        self.initial = nn.Linear(channels, hidden)
        self.field = nn.Sequential(
            nn.Linear(hidden, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, hidden * channels),
            nn.Tanh(),
            nn.Unflatten(-1, (hidden, channels)),
        )
        self.readout = nn.Linear(hidden, classes)

    def matrix(self, t: Tensor, z: Tensor) -> Tensor:
        """Return f(z), (samples, hidden, channels)."""
        result: Tensor = self.field(z)
        return result

    def forward(self, series: Tensor, solver: Callable[..., Tensor]) -> Tensor:
        path = interpolate_path(None, series.transpose(-1, -2), "hermite")
        start = self.initial(series[..., 0])
        zs = solver(CDE(self.matrix, path), start, path.interval, self.field.parameters())
        logits: Tensor = self.readout(zs[-1])
        return logits
