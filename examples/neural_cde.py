"""Tell spirals apart by a Neural CDE, from a few irregular observations of which half are missing.

python examples/neural_cde.py
"""

import math

import torch

import pyseminorm

torch.manual_seed(0)


def spirals(number):
    """Series (number, 20, 3) of time and two coordinates, NaN where not observed, and their direction."""
    times = torch.linspace(0, 2, 20)
    direction = torch.arange(number) % 2
    angle = torch.rand(number, 1) * 2 * math.pi + (2 * direction.view(-1, 1) - 1) * 3 * times
    points = torch.stack([angle.cos(), angle.sin()], dim=-1) * torch.exp(-0.3 * times).view(-1, 1)
    points[torch.rand_like(points) < 0.5] = float("nan")
    return torch.cat([times.expand(number, 20).unsqueeze(-1), points], dim=-1), direction


class NeuralCDE(torch.nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.start, self.readout = torch.nn.Linear(channels, hidden), torch.nn.Linear(hidden, 2)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(hidden, 32), torch.nn.ReLU(), torch.nn.Linear(32, hidden * channels), torch.nn.Tanh(),
            torch.nn.Unflatten(-1, (hidden, channels)),
        )  # fmt: skip

    def matrix(self, t, z):
        return self.net(z)

    def forward(self, series):
        path = pyseminorm.interpolate_path(None, series, "hermite")
        cde = pyseminorm.CDE(self.matrix, path)
        s = pyseminorm.solve(cde, self.start(path(0.0)), path.interval, params=self.net.parameters(), compile="auto")
        return self.readout(s.ys[-1])


model = NeuralCDE(channels=3, hidden=8)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
series, direction = spirals(64)
for step in range(21):
    optimiser.zero_grad()
    logits = model(series)
    loss = torch.nn.functional.cross_entropy(logits, direction)
    loss.backward()
    optimiser.step()
    if step % 10 == 0:
        right = (logits.argmax(dim=1) == direction).float().mean()
        print(f"step {step:3d}  loss {loss.item():.3f}  right {right.item():.0%}")
