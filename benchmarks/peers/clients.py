"""Packages that import torchdiffeq themselves, each in one small job: with torchdiffeq, and with `install()`.

    python -m benchmarks.peers.clients [NAME ...]

Packages that are not installed are left out by name. A job runs in processes of its own, of both packages in turn, and
gives numbers; the fastest run counts, in seconds of the processor, without the first of a process, which makes what is
made once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Job = Callable[[], list[float]]
CLOSE = 1e-3  # relative difference that two packages may have, whose steps are others
ROUNDS, RUNS, SECONDS = 2, 3, 1.0  # processes of each package, and in one of them the least number of runs, and time

_jobs: dict[str, Job] = {}


def job(package: str) -> Callable[[Job], Job]:
    """Register a job of a package."""

    def register(function: Job) -> Job:
        _jobs[package] = function
        return function

    return register


def _net(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


def _numbers(*tensors: Tensor) -> list[float]:
    found: list[float] = torch.cat([x.detach().double().reshape(-1) for x in tensors]).tolist()
    return found


def _train(parameters: Iterator[nn.Parameter], loss: Callable[[], Tensor], steps: int = 5) -> list[float]:
    optimiser, curve = torch.optim.Adam(parameters, lr=1e-2), []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        curve.append(value.item())
    return curve


class _Velocity(nn.Module):
    """A velocity of (x, t), whatever it is called by."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.net = _net(size + 1, size)

    def forward(self, x: Tensor, t: Tensor, *_: Any, **__: Any) -> Tensor:
        times = t.reshape(-1, 1).expand(len(x), 1).to(x)
        out: Tensor = self.net(torch.cat([x, times], dim=1))
        return out


@job("torchcde")
def neural_cde() -> list[float]:
    """Train a Neural CDE by the adjoint method."""
    import torchcde

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net(8, 24)

        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            out: Tensor = self.net(z).tanh().view(*z.shape[:-1], 8, 3)
            return out

    times = torch.linspace(0, 1, 20)
    series = torch.stack([times.expand(16, 20), torch.randn(16, 20).cumsum(1), torch.randn(16, 20)], dim=2)
    path = torchcde.CubicSpline(torchcde.hermite_cubic_coefficients_with_backward_differences(series))
    field, start, readout = Field(), nn.Linear(3, 8), nn.Linear(8, 1)
    target = (series[:, -1, 1:2] > 0).float()

    def loss() -> Tensor:
        z = torchcde.cdeint(X=path, func=field, z0=start(path.evaluate(0.0)), t=path.interval)
        return nn.functional.binary_cross_entropy_with_logits(readout(z[:, -1]), target)

    modules = nn.ModuleList([field, start, readout])
    return _train(modules.parameters(), loss)


@job("flow_matching")
def flow_matching() -> list[float]:
    """Sample, and compute likelihoods."""
    from flow_matching.solver import ODESolver

    solver, x = ODESolver(velocity_model=_Velocity()), torch.randn(64, 2)
    samples = solver.sample(x_init=x, method="midpoint", step_size=0.05)
    prior = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1).log_prob
    back, likelihood = solver.compute_likelihood(
        x_1=samples, log_p0=prior, method="dopri5", step_size=None, exact_divergence=True
    )
    return _numbers(samples, back, likelihood)


@job("torchcfm")
def flow_of_moons() -> list[float]:
    """Train by conditional flow matching, and sample by `odeint`, as its examples do."""
    import torchdiffeq
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher, model = ConditionalFlowMatcher(sigma=0.1), _Velocity()

    def loss() -> Tensor:
        x0, x1 = torch.randn(128, 2), torch.randn(128, 2) * 0.2 + 2
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        mean: Tensor = (model(xt, t) - ut).square().mean()
        return mean

    curve = _train(model.parameters(), loss, steps=30)
    with torch.no_grad():
        settings: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4, "method": "dopri5"}
        path = torchdiffeq.odeint(lambda t, x: model(x, t), torch.randn(64, 2), torch.linspace(0, 1, 50), **settings)
    return [*curve, *_numbers(path[-1])]


@job("rectified-flow-pytorch")
def rectified_flow() -> list[float]:
    """Train and sample a rectified flow."""
    from rectified_flow_pytorch import RectifiedFlow

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            t = times.reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
            out: Tensor = self.net(torch.cat([x, t.to(x)], dim=1))
            return out

    flow = RectifiedFlow(Model())
    curve = _train(flow.parameters(), lambda: flow(torch.ones(8, 1, 8, 8)))
    return [*curve, *_numbers(flow.sample(batch_size=4, data_shape=(1, 8, 8)))]


@job("k-diffusion")
def likelihoods() -> list[float]:
    """Compute likelihoods by the probability flow ODE."""
    from k_diffusion.sampling import log_likelihood

    net = _net(8, 8)

    def denoise(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        out: Tensor = x / (1 + sigma[:, None] ** 2) + 0.01 * net(x)
        return out

    return _numbers(log_likelihood(denoise, torch.randn(16, 8), 0.05, 5.0)[0])


@job("chirho")
def epidemic() -> list[float]:
    """Simulate an epidemic that is interrupted by an intervention."""
    from chirho.dynamical.handlers import StaticIntervention
    from chirho.dynamical.handlers.solver import TorchDiffEq
    from chirho.dynamical.ops import simulate

    beta = torch.tensor(0.4, requires_grad=True)

    def dynamics(state: Any) -> dict[str, Tensor]:
        flow = beta * state["S"] * state["I"]
        return {"S": -flow, "I": flow - 0.1 * state["I"], "R": 0.1 * state["I"]}

    start = {"S": torch.tensor(0.99), "I": torch.tensor(0.01), "R": torch.tensor(0.0)}
    with TorchDiffEq(), StaticIntervention(time=torch.tensor(5.0), intervention={"I": torch.tensor(0.2)}):
        end = simulate(dynamics, start, torch.tensor(0.0), torch.tensor(20.0))
    (gradient,) = torch.autograd.grad(end["R"], beta)
    return _numbers(end["S"], end["I"], end["R"], gradient)


@job("neuromancer")
def block_of_an_ode() -> list[float]:
    """Train a block through its integrator."""
    from neuromancer.dynamics.integrators import DiffEqIntegrator

    block = _net(2, 2)
    block.in_features = block.out_features = 2  # type: ignore[assignment]
    integrator, x = DiffEqIntegrator(block, h=0.1, method="rk4"), torch.randn(32, 2)
    return _train(block.parameters(), lambda: (integrator(x) + x).square().mean())


@job("nodefit")
def fit_of_a_series() -> list[float]:
    """Fit a time series."""
    import numpy as np
    from nodefit.neural_ode import NeuralODE

    t = np.linspace(0, 1, 10)
    model = NeuralODE(_net(3, 2).double(), t, np.stack([np.cos(t), np.sin(t)], axis=1))
    return _train(model.neural_net.parameters(), model.loss)


@job("flowpde")
def sampling_with_gradients() -> list[float]:
    """Sample with gradients, by an adaptive method and by fixed steps."""
    from flowpde.solvers.ode_solvers import ODEFlowSolver

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.velocity = _Velocity()

        def forward(self, x: Tensor, condition: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.velocity(x, t) + condition
            return out

    model, x, condition, found = Model(), torch.randn(32, 2), torch.randn(32, 2), []
    for method in ("dopri5", "rk4"):
        samples = ODEFlowSolver(model, method=method).sample(condition, x_init=x, no_grad=False, n_steps=20)
        gradients = torch.autograd.grad(samples.square().mean(), list(model.parameters()))
        found += _numbers(samples, *gradients)
    return found


@job("TrajectoryNet")
def continuous_normalising_flow() -> list[float]:
    """Train and run back a continuous normalising flow of its layers."""
    from TrajectoryNet.lib.layers.cnf import CNF
    from TrajectoryNet.lib.layers.odefunc import ODEfunc, ODEnet

    net = ODEnet(hidden_dims=(16, 16), input_shape=(2,), strides=None, conv=False, nonlinearity="tanh")
    flow = CNF(ODEfunc(net, divergence_fn="brute_force"), solver="rk4")
    x = torch.randn(64, 2) * 0.5 + 1

    def loss() -> Tensor:
        z, change = flow(x, torch.zeros(64, 1))
        mean: Tensor = (z.square().sum(1, keepdim=True) / 2 + change).mean()
        return mean

    curve = _train(flow.parameters(), loss)
    flow.eval()
    z, change = flow(x, torch.zeros(64, 1), reverse=True)
    return [*curve, *_numbers(z, change)]


@job("weatherflow")
def forecast() -> list[float]:
    """Solve with physical constraints."""
    from weatherflow.solvers.ode_solver import WeatherODESolver

    net = nn.Conv2d(2, 2, 3, padding=1)
    solver = WeatherODESolver(method="dopri5", physics_constraints=False)
    with torch.no_grad():
        solution, _ = solver.solve(lambda x, t, **_: net(x).tanh(), torch.randn(2, 2, 8, 8), torch.linspace(0, 1, 5))
    return _numbers(solution)


def run(name: str, *, ours: bool) -> None:
    """Run one job in this process and print its numbers and seconds as JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if ours:
        import pyseminorm.torchdiffeq

        pyseminorm.torchdiffeq.install()
    seconds: list[float] = []
    while len(seconds) <= RUNS or sum(seconds) < SECONDS:
        torch.manual_seed(0)
        started = time.process_time()
        numbers = _jobs[name]()
        seconds.append(time.process_time() - started)
    print(json.dumps({"numbers": numbers, "seconds": min(seconds[1:])}))


def _measure(name: str, *, ours: bool) -> dict[str, Any] | str:
    """Run a job in a process of its own: what it printed, or the last line of its error."""
    command = [sys.executable, "-m", "benchmarks.peers.clients", name, "--run", "ours" if ours else "theirs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def compare(name: str) -> str:
    """Return what came out of a job with both packages, in a line."""
    rounds = [(_measure(name, ours=False), _measure(name, ours=True)) for _ in range(ROUNDS)]
    theirs, ours = rounds[0]
    if isinstance(theirs, str) or isinstance(ours, str):
        failed = {who: x for who, x in (("torchdiffeq", theirs), ("pyseminorm", ours)) if isinstance(x, str)}
        return "; ".join(f"fails with {who}: {x}" for who, x in failed.items())
    a, b = (torch.tensor(x["numbers"], dtype=torch.float64) for x in (theirs, ours))
    difference = float((a - b).norm() / a.norm())
    verdict = "the same" if difference < CLOSE else "DIFFERENT"
    best = [min(x["seconds"] for x in who if not isinstance(x, str)) for who in zip(*rounds, strict=True)]
    ratio = best[0] / best[1]
    return f"{verdict} (relative difference {difference:.1e}), {ratio:.2f} times as fast as torchdiffeq"


def main() -> None:
    """Compare the packages that are installed, or those that are named."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_jobs))
    arguments.add_argument("--run", choices=("ours", "theirs"), help="run one job in this process")
    given = arguments.parse_args()
    if given.run:
        run(given.names[0], ours=given.run == "ours")
        return
    for name in given.names or _jobs:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: not installed")
            continue
        print(f"{name} {version}: {compare(name)}", flush=True)


if __name__ == "__main__":
    main()
