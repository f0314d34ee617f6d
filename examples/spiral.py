"""Learn a spiral from noisy observations: a neural ODE in twenty lines, and what its backward passes cost.

python examples/spiral.py
"""

import torch

import pyseminorm

torch.manual_seed(0)
t = torch.linspace(0, 4, 40)
true = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
data = torch.stack([torch.linalg.matrix_exp(true * s) @ torch.tensor([2.0, 0.0]) for s in t])
data += 0.05 * torch.randn_like(data)


class Spiral(torch.nn.Module):
    """dy/dt = net(y)."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))

    def forward(self, t, y):
        return self.net(y)


model = Spiral()
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(301):
    optimiser.zero_grad()
    solution = pyseminorm.solve(model, data[0], t, rtol=1e-4, compile="auto")
    loss = (solution.ys - data).pow(2).mean()
    loss.backward()
    optimiser.step()
    if step % 50 == 0:
        backward = solution.stats.backward
        print(
            f"step {step:3d}  loss {loss.item():.4f}  {backward.evaluations} backward evaluations ({solution.backend})"
        )
