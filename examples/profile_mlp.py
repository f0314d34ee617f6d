"""What training passes of a small network cost, and where: `pyseminorm profile examples/profile_mlp.py`.

A 4-64-64-4 tanh network called back from Julia's solver, 128 rows, dopri5 at rtol = atol = 1e-5.
"""

import torch

import pyseminorm

torch.manual_seed(0)
torch.set_num_threads(1)
layers = [torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)]
field = torch.nn.Sequential(*layers)
y0, t = torch.randn(128, 4), torch.linspace(0, 3, 10)


def step() -> None:
    settings = {"rtol": 1e-5, "atol": 1e-5, "method": "dopri5", "backend": "julia"}
    solution = pyseminorm.solve(lambda t, y: field(y), y0, t, params=field.parameters(), **settings)
    solution.ys.pow(2).mean().backward()


for _ in range(100):
    step()
