"""One training step (forward + backward) of tanh-MLP fields beside torchdiffeq, in one run, with the gradient error.

    python benchmarks/training_step.py [--repeats 7] [--julia]

Loss: mean square over all outputs on [0, 3]; float32, one thread, rtol = atol = 1e-5, dopri5 everywhere. The gradient
error is that of dL/dtheta against a float64 solve at 1e-11. Times are medians over repeats, each with changed weights.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time

import torch
import torchdiffeq
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint

CASES = {
    "2-16-16-2, batch 1, 10 outputs": (2, 16, 1, 10),
    "4-64-64-4, batch 128, 10 outputs": (4, 64, 128, 10),
    "32-128-128-32, batch 256, 10 outputs": (32, 128, 256, 10),
    "32-540-540-32 (327k parameters), batch 64, 5 outputs": (32, 540, 64, 5),
}


class Field(nn.Module):
    """A tanh MLP that counts its calls."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        layers = [nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, size)]
        self.net = nn.Sequential(*layers)
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.net(y)


def contenders(julia: bool) -> dict:
    """Name -> f(field, y0, t, tolerance) -> ys."""

    def ours(backend, adjoint):
        def run(field, y0, t, tolerance):
            settings = {"rtol": tolerance, "atol": tolerance, "method": "dopri5", "backend": backend}
            return pyseminorm.solve(field, y0, t, adjoint=adjoint, **settings).ys

        return run

    def theirs(options):
        def run(field, y0, t, tolerance):
            return torchdiffeq.odeint_adjoint(field, y0, t, rtol=tolerance, atol=tolerance, adjoint_options=options)

        return run

    found = {"torchdiffeq, default norm": theirs(None), "torchdiffeq, its seminorm": theirs({"norm": "seminorm"})}
    for backend in ("torch", "julia") if julia else ("torch",):
        found[f"pyseminorm {backend}, BacksolveAdjoint"] = ours(backend, BacksolveAdjoint())
        found[f"pyseminorm {backend}, InterpolatingAdjoint"] = ours(backend, InterpolatingAdjoint())
        found[f"pyseminorm {backend}, GaussAdjoint"] = ours(backend, GaussAdjoint())
        found[f"pyseminorm {backend}, DiscreteAdjoint"] = ours(backend, DiscreteAdjoint())
    return found


def step(run, field, y0, t, tolerance=1e-5):
    """(seconds, forward calls, backward calls, gradient)."""
    field.zero_grad()
    field.calls = 0
    started = time.perf_counter()
    loss = run(field, y0, t, tolerance).pow(2).mean()
    forward = field.calls
    loss.backward()
    seconds = time.perf_counter() - started
    gradient = torch.cat([p.grad.reshape(-1) for p in field.parameters()]).double()
    return seconds, forward, field.calls - forward, gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--julia", action="store_true", help="the Julia engine too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, {given.repeats} repeats"
    )
    print(f"torchdiffeq {torchdiffeq.__version__}, pyseminorm {pyseminorm.__version__}\n")
    for case, (size, width, batch, outputs) in CASES.items():
        torch.manual_seed(0)
        field, y0 = Field(size, width), torch.randn(batch, size)
        t = torch.linspace(0, 3, outputs)
        exact = copy.deepcopy(field).double()
        tight = pyseminorm.solve(
            exact, y0.double(), t.double(), rtol=1e-11, atol=1e-11, method="vern7", backend="torch"
        )
        tight.ys.pow(2).mean().backward()
        reference = torch.cat([p.grad.reshape(-1) for p in exact.parameters()])
        print(f"| {case} | forward calls | backward calls | gradient error | ms | faster than torchdiffeq's seminorm |")
        print("|---|---:|---:|---:|---:|---:|")
        rows = {}
        for name, run in contenders(given.julia).items():
            _, forward, backward, gradient = step(run, field, y0, t)
            error = ((gradient - reference).norm() / reference.norm()).item()
            times = []
            for repeat in range(given.repeats):
                changed = copy.deepcopy(field)
                with torch.no_grad():
                    for p in changed.parameters():
                        p.mul_(1 + 1e-3 * (repeat + 1))
                times.append(step(run, changed, y0, t)[0])
            rows[name] = (forward, backward, error, statistics.median(times))
        base = rows["torchdiffeq, its seminorm"][3]
        for name, (forward, backward, error, seconds) in rows.items():
            print(f"| {name} | {forward} | {backward} | {error:.1e} | {1e3 * seconds:.1f} | {base / seconds:.1f}x |")
        print()


if __name__ == "__main__":
    main()
