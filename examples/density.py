"""A continuous normalising flow on the two moons: trained with GaussAdjoint, drawn as a picture.

python -m examples.density   (from a checkout; needs the extra "benchmarks")
"""

import matplotlib.pyplot as plt
import torch

import pyseminorm
from benchmarks.paper.tasks.densities import planar
from benchmarks.paper.tasks.flow import Flow
from pyseminorm.demo.solver import OurSolver

torch.manual_seed(0)
moons, flow = planar("moons"), Flow(size=2, width=64)
solver = OurSolver(adjoint=pyseminorm.GaussAdjoint(), rtol=1e-4, atol=1e-4)
optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
probes = torch.eye(2).view(2, 1, 2).expand(2, 256, 2)  # unit vectors: the exact trace
for step in range(201):
    optimiser.zero_grad()
    loss = -flow.log_density(moons.draw(256), probes, solver).mean()
    loss.backward()
    optimiser.step()
    if step % 50 == 0:
        evaluations = solver.solution.stats.backward.evaluations
        print(f"step {step:3d}  negative log-likelihood {loss.item():.3f}  {evaluations} backward evaluations")
with torch.no_grad():
    samples = flow.sample(torch.randn(2000, 2), solver)
plt.scatter(*samples.T, s=2)
plt.savefig("moons.png")
