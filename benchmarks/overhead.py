"""What a pass costs beyond the calls of f and of its vector-Jacobian product that it makes.

    python benchmarks/overhead.py [--repeats 15] [--julia]

A tanh MLP field, float32, one thread, rtol = atol = 1e-5, dopri5, 10 outputs on [0, 3], mean-square loss. The bare cost
is that of the same number of plain torch calls: ``func(t, y)`` without gradient, and ``func`` with
``torch.autograd.grad`` by the state and all parameters. Bare calls and passes take turns; ratios are of medians.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

import torch
import torchdiffeq
from training_step import Field

import pyseminorm
from pyseminorm import BacksolveAdjoint

CASES = {
    "2-16-16-2, batch 1": (2, 16, 1),
    "4-64-64-4, batch 128": (4, 64, 128),
    "32-128-128-32, batch 256": (32, 128, 256),
}
TOLERANCE = 1e-5
T = torch.linspace(0, 3, 10)


def bare(field: Field, y0: torch.Tensor, calls: int = 50) -> tuple[float, float]:
    """Seconds of one plain call of f, and of one plain vector-Jacobian product."""
    t, params, adjoint = torch.zeros(()), list(field.parameters()), torch.randn_like(y0)
    started = time.perf_counter()
    with torch.no_grad():
        for _ in range(calls):
            field(t, y0)
    between = time.perf_counter()
    for _ in range(calls):
        y = y0.detach().requires_grad_()
        torch.autograd.grad(field(t, y), [y, *params], adjoint)
    return (between - started) / calls, (time.perf_counter() - between) / calls


def passes(run, field: Field, y0: torch.Tensor) -> tuple[float, int, float, int]:
    """(seconds, calls of f) forward, and (seconds, calls) backward."""
    field.zero_grad()
    field.calls = 0
    started = time.perf_counter()
    loss = run(field, y0).pow(2).mean()
    middle, forward = time.perf_counter(), field.calls
    loss.backward()
    return middle - started, forward, time.perf_counter() - middle, field.calls - forward


def contenders(julia: bool) -> dict:
    def ours(backend):
        settings = {"rtol": TOLERANCE, "atol": TOLERANCE, "method": "dopri5", "backend": backend}
        return lambda field, y0: pyseminorm.solve(field, y0, T, adjoint=BacksolveAdjoint(), **settings).ys

    def theirs(field, y0):
        options = {"norm": "seminorm"}
        return torchdiffeq.odeint_adjoint(field, y0, T, rtol=TOLERANCE, atol=TOLERANCE, adjoint_options=options)

    found = {"torchdiffeq, seminorm": theirs, "pyseminorm torch": ours("torch")}
    if julia:
        found["pyseminorm julia"] = ours("julia")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--julia", action="store_true", help="the Julia engine too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, {given.repeats} repeats"
    )
    print(
        "| field | solver | f us | VJP us | forward calls | forward / bare | backward calls | backward / bare | both |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for case, (size, width, batch) in CASES.items():
        torch.manual_seed(0)
        field, y0 = Field(size, width), torch.randn(batch, size)
        runs = contenders(given.julia)
        for run in runs.values():
            passes(run, field, y0)  # what only a first solve does
        calls: list[tuple[float, float]] = []
        timed: dict[str, list] = {name: [] for name in runs}
        for _ in range(given.repeats):
            for name, run in runs.items():
                calls.append(bare(field, y0))
                timed[name].append(passes(run, field, y0))
        f, vjp = (statistics.median(c[i] for c in calls) for i in (0, 1))
        for name, rows in timed.items():
            _, nf, _, nb = rows[0]
            forward, backward = (statistics.median(r[i] for r in rows) for i in (0, 2))
            both = (forward + backward) / (nf * f + nb * vjp)
            print(
                f"| {case} | {name} | {1e6 * f:.0f} | {1e6 * vjp:.0f} | {nf} | {forward / (nf * f):.2f} | {nb} | "
                f"{backward / (nb * vjp):.2f} | {both:.2f} |"
            )


if __name__ == "__main__":
    main()
