"""The problems on which the engines must take the same steps, and how a run is written down."""

from __future__ import annotations

import torch
from problems import MLP, Linear, LotkaVolterra, Oscillating, Pendulum, batch, cotangents

import pyseminorm
from pyseminorm import BacksolveAdjoint, InterpolatingAdjoint

PROBLEMS = {
    "linear": (Linear, lambda d: batch(3, d), 3.0),
    "lotka_volterra": (LotkaVolterra, lambda d: batch(2, d).abs() + 0.5, 4.0),
    "pendulum": (Pendulum, lambda d: batch(2, d), 3.0),
    "mlp64": (MLP, lambda d: batch(32, d), 2.0),
    "oscillating": (Oscillating, lambda d: batch(8, d), 2.0),
}
ADAPTIVE = ("tsit5", "dopri5", "bosh3", "vern7")
FIXED = ("euler", "midpoint", "rk4")
NORMS = ("seminorm", "seminorm_joint", "rms", "torchdiffeq", "torchdiffeq_seminorm")


def cases() -> dict[str, dict]:
    """Name -> settings of every case; the names are the keys of the recorded data."""
    found = {}

    def add(problem, method, adjoint="backsolve", norm="seminorm", rtol=1e-5, atol=1e-7, **more):
        settings = {"problem": problem, "method": method, "adjoint": adjoint, "norm": norm, "rtol": rtol, "atol": atol}
        settings.update(more)
        name = " ".join(str(v) for v in settings.values())
        found[name] = settings

    for problem in PROBLEMS:
        for method in ADAPTIVE:
            add(problem, method)
            add(problem, method, adjoint="interpolating")
        for norm in NORMS:
            add(problem, "tsit5", norm=norm, rtol=1e-3, atol=1e-6)
        add(problem, "tsit5", rtol=1e-3, atol=1e-6, dtype="float32")
        add(problem, "tsit5", direction="decreasing")
    for method in FIXED:
        add("lotka_volterra", method, dt=0.03)
        add("pendulum", method, dt=None)
    add("lotka_volterra", "tsit5", rtol=1e-9, atol=1e-9, dt=0.5)  # a first step that is rejected
    add("pendulum", "dopri5", rtol=1e-10, atol=1e-10)
    return found


def run(settings: dict, backend: str) -> dict:
    """Solve a case forward and backward; counts, accepted times and values as plain numbers."""
    make, initial, end = PROBLEMS[settings["problem"]]
    dtype = getattr(torch, settings.get("dtype", "float64"))
    field, y0 = make(dtype=dtype), initial(dtype).requires_grad_()
    times = torch.linspace(0, end, 6, dtype=torch.float64)
    if settings.get("direction") == "decreasing":
        times = times.flip(0) / 2
    adjoint = {"backsolve": BacksolveAdjoint, "interpolating": InterpolatingAdjoint}[settings["adjoint"]]
    solution = pyseminorm.solve(
        field, y0, times, method=settings["method"], rtol=settings["rtol"], atol=settings["atol"],
        dt=settings.get("dt"), adjoint=adjoint(norm=settings["norm"]), backend=backend,
    )
    (solution.ys * cotangents(*solution.ys.shape, dtype=dtype)).sum().backward()
    params = torch.cat([p.grad.reshape(-1) for p in field.parameters()])
    forward, backward = solution.stats.forward, solution.stats.backward
    return {
        "forward": {"nf": forward.nf, "naccept": forward.naccept, "nreject": forward.nreject, "times": forward.times},
        "backward": {
            "nf": backward.nvjp, "naccept": backward.naccept, "nreject": backward.nreject, "times": backward.times,
        },
        "y_end": solution.ys[-1].detach().reshape(-1)[:8].tolist(),
        "grad_y0": y0.grad.reshape(-1)[:8].tolist(),
        # A projection stands for gradients with thousands of elements.
        "grad_params": [params.norm().item(), (params * cotangents(params.numel(), dtype=dtype)).sum().item()],
    }
