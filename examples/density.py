"""A continuous normalising flow on two moons: data at t = 1, a normal distribution at t = 0, and back for samples.

python examples/density.py
"""

import math

import torch

import pyseminorm

torch.manual_seed(0)


def moons(number):
    """Points (number, 2) on two half circles, with noise."""
    angle, lower = torch.rand(number) * math.pi, torch.arange(number) % 2 == 1
    x, y = angle.cos(), angle.sin()
    points = torch.stack([torch.where(lower, 1 - x, x) - 0.5, torch.where(lower, 0.5 - y, y) - 0.25], dim=1)
    return 2 * points + 0.1 * torch.randn(number, 2)


class Flow(torch.nn.Module):
    """The velocity of the points."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2)
        )

    def forward(self, t, y):
        return self.net(torch.cat([y, t.expand(len(y), 1)], dim=1))


normal = torch.distributions.Normal(0.0, 1.0)
cnf = pyseminorm.CNF(Flow(), divergence="exact")  # "hutchinson" in many dimensions: args=(cnf.draw(x),) below
settings = {"adjoint": pyseminorm.DiscreteAdjoint(), "compile": "auto", "rtol": 1e-4, "atol": 1e-4}


def log_density(x):
    s = pyseminorm.solve(cnf, (x, torch.zeros(len(x))), [1.0, 0.0], **settings)
    z, gained = s.ys
    return normal.log_prob(z[-1]).sum(dim=1) - gained[-1]


optimiser = torch.optim.Adam(cnf.parameters(), lr=1e-2)
for step in range(101):
    optimiser.zero_grad()
    loss = -log_density(moons(256)).mean()
    loss.backward()
    optimiser.step()
    if step % 25 == 0:
        print(f"step {step:3d}  negative log-likelihood {loss.item():.3f}")

with torch.no_grad():
    samples = pyseminorm.solve(cnf.func, torch.randn(1000, 2), [0.0, 1.0], rtol=1e-4, atol=1e-4).ys[-1]
near = (torch.cdist(samples, moons(1000)).amin(dim=1) < 0.3).float().mean()
print(f"{near.item():.0%} of 1000 samples are near the data")
