"""The problems on which the engines must take the same steps, and how a run is written down."""

from __future__ import annotations

import torch
from problems import MLP, Linear, LotkaVolterra, Oscillating, Pendulum, batch, cotangents

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint

PROBLEMS = {
    "linear": (Linear, lambda d: batch(3, d), 3.0),
    "lotka_volterra": (LotkaVolterra, lambda d: batch(2, d).abs() + 0.5, 4.0),
    "pendulum": (Pendulum, lambda d: batch(2, d), 3.0),
    "mlp64": (MLP, lambda d: batch(32, d), 2.0),
    "oscillating": (Oscillating, lambda d: batch(8, d), 2.0),
}
ADAPTIVE = ("tsit5", "dopri5", "bosh3", "vern7")
FIXED = ("euler", "midpoint", "rk4")


def cases() -> dict[str, dict]:
    """Name -> settings of every case; the names are the keys of the recorded data.

    The tolerances leave every step's error estimate well above rounding. Where they do not (a sliver of a step before
    an output, a first step of 1e-6), the estimate is rounding noise, it differs between two BLAS libraries too, and
    the step sizes follow it: such steps say nothing about the engines. Nor does an estimate that lies, to its own
    noise, on the edge between two float32 numbers, as the controller's power function takes it: some cases of the
    network, whose products of matrices round by the processor, have tolerances of their own for that.
    """
    found = {}

    def add(problem, method, adjoint="backsolve", norm="seminorm", rtol=1e-3, atol=1e-6, **more):
        settings = {"problem": problem, "method": method, "adjoint": adjoint, "norm": norm, "rtol": rtol, "atol": atol}
        settings.update(more)
        name = " ".join(str(v) for v in settings.values())
        found[name] = settings

    for problem in PROBLEMS:
        off_edges = {"rtol": 3.5e-3, "atol": 3.5e-6} if problem == "mlp64" else {}
        for method in ADAPTIVE:
            loose = {"rtol": 1e-2, "atol": 1e-3, "outputs": 2} if method == "vern7" else {}  # order 7: tiny estimates
            add(problem, method, **loose)
            inside = loose or (off_edges if method == "tsit5" else {})
            add(problem, method, adjoint="interpolating", **inside)
            add(problem, method, adjoint="gauss", **inside)
        add(problem, "tsit5", norm="seminorm_joint", **off_edges)
        for norm in ("rms", "torchdiffeq", "torchdiffeq_seminorm"):
            # mu starts at 0, so atol alone is its scale, and a small one makes the first steps tiny.
            add(problem, "tsit5", norm=norm, rtol=1e-3, atol=1e-2)
        end = {"linear": 30.0, "oscillating": 2.0}.get(problem, 8.0)
        add(problem, "tsit5", outputs=2, end=end, dtype="float32")
        add(problem, "tsit5", direction="decreasing", **off_edges)
        if problem != "mlp64":
            add(problem, "tsit5", rtol=1e-5, atol=1e-7)
    for method in FIXED:
        add("lotka_volterra", method, dt=0.03)
        add("pendulum", method, dt=None)
    add("lotka_volterra", "tsit5", dt=0.5)  # a first step that is rejected
    return found


def run(settings: dict, backend: str) -> dict:
    """Solve a case forward and backward; counts, accepted times and values as plain numbers."""
    make, initial, end = PROBLEMS[settings["problem"]]
    dtype = getattr(torch, settings.get("dtype", "float64"))
    field, y0 = make(dtype=dtype), initial(dtype).requires_grad_()
    # From 0.3: at 0 the oscillating field vanishes, and a first step of 1e-6 follows.
    times = torch.linspace(0.3, settings.get("end", end), settings.get("outputs", 4), dtype=torch.float64)
    if settings.get("direction") == "decreasing":
        times = times.flip(0)
    adjoint = {"backsolve": BacksolveAdjoint, "interpolating": InterpolatingAdjoint, "gauss": GaussAdjoint}[
        settings["adjoint"]
    ]
    solution = pyseminorm.solve(
        field,
        y0,
        times,
        method=settings["method"],
        rtol=settings["rtol"],
        atol=settings["atol"],
        dt=settings.get("dt"),
        adjoint=adjoint(norm=settings["norm"], verbose=False),
        backend=backend,
    )
    (solution.ys * cotangents(*solution.ys.shape, dtype=dtype)).sum().backward()
    params = torch.cat([p.grad.reshape(-1) for p in field.parameters()])
    forward, backward = solution.stats.forward, solution.stats.backward
    return {
        "forward": {"nf": forward.nf, "naccept": forward.naccept, "nreject": forward.nreject, "times": forward.times},
        "backward": {
            "nf": backward.nvjp + backward.nvjp_state,
            "naccept": backward.naccept,
            "nreject": backward.nreject,
            "times": backward.times,
        },
        "y_end": solution.ys[-1].detach().reshape(-1)[:8].tolist(),
        "grad_y0": y0.grad.reshape(-1)[:8].tolist(),
        # A projection stands for gradients with thousands of elements.
        "grad_params": [params.norm().item(), (params * cotangents(params.numel(), dtype=dtype)).sum().item()],
    }
