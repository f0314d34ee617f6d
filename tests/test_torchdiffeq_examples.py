"""The examples in torchdiffeq's documentation, written anew: the same loss curves, and how long both take."""

import itertools
import math
import time

import pytest
import torch
from torch import nn

import pyseminorm.torchdiffeq as ours

theirs = pytest.importorskip("torchdiffeq")
pytestmark = [pytest.mark.peer("torchdiffeq"), pytest.mark.capture]
D = torch.float64
INTERFACES = pytest.mark.parametrize("interface", ["odeint", pytest.param("odeint_adjoint", marks=pytest.mark.slow)])


def _tanh_net(*sizes):
    layers = [x for a, b in itertools.pairwise(sizes) for x in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).to(D)


def _compare(capsys, make, steps, rate, tolerance):
    """Train a model, ``make(package) -> (module, loss())``, with both packages from the same seed."""
    curves, seconds = {}, {}
    for package in (theirs, ours):
        torch.manual_seed(0)
        module, loss = make(package)
        optimiser, curve, started = torch.optim.Adam(module.parameters(), lr=rate), [], time.perf_counter()
        for _ in range(steps):
            optimiser.zero_grad()
            value = loss()
            value.backward()
            optimiser.step()
            curve.append(value.item())
        curves[package.__name__], seconds[package.__name__] = curve, time.perf_counter() - started
    a, b = curves.values()
    assert b[-1] < b[0] and b == pytest.approx(a, rel=tolerance)
    ratio = seconds[theirs.__name__] / seconds[ours.__name__]
    with capsys.disabled():
        print(f"\n{make.__name__}: {ratio:.2f} times as fast as torchdiffeq, {steps} steps")


class Cubic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = _tanh_net(2, 50, 2)

    def forward(self, t, y):
        return self.net(y**3)


def _spiral_data():
    """y' = y^3 A from (2, 0): starts (20, 1, 2) and what follows each, (10, 20, 1, 2)."""
    t = torch.linspace(0.0, 25.0, 1000, dtype=D)
    matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=D)
    with torch.no_grad():
        true = theirs.odeint(lambda t, y: (y**3) @ matrix, torch.tensor([[2.0, 0.0]], dtype=D), t)
    starts = torch.randint(990, (20,))
    return true[starts], t[:10], torch.stack([true[starts + i] for i in range(10)])


@INTERFACES
def test_the_spiral(interface, capsys):
    def spiral(package):
        starts, t, rows = _spiral_data()
        field, odeint = Cubic(), getattr(package, interface)
        return field, lambda: (odeint(field, starts, t) - rows).abs().mean()

    _compare(capsys, spiral, steps=8, rate=1e-2, tolerance=1e-5)


class LatentODE(nn.Module):
    """A recurrent encoder, an ODE of the latent state, a decoder: trained by the evidence lower bound."""

    def __init__(self, odeint):
        super().__init__()
        self.odeint = odeint
        self.encoder, self.to_latent = nn.GRU(2, 25).to(D), nn.Linear(25, 8).to(D)
        self.field = nn.Sequential(nn.Linear(4, 20), nn.ELU(inplace=True), nn.Linear(20, 4)).to(D)
        self.decoder = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 2)).to(D)

    def loss(self, series, t, noise):
        _, last = self.encoder(series.flip(0))
        mean, log_variance = self.to_latent(last[0]).chunk(2, dim=1)
        start = mean + noise * (log_variance / 2).exp()
        shown = self.decoder(self.odeint(Latent(self.field), start, t))
        misfit = ((shown - series) / 0.3).square().sum(dim=(0, 2)) / 2
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
        return (misfit + divergence).mean()


class Latent(nn.Module):
    """Counts its calls, as the example does."""

    def __init__(self, net):
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, t, z):
        self.calls += 1
        return self.net(z)


@INTERFACES
def test_the_latent_ode(interface, capsys):
    def latent_ode(package):
        t = torch.linspace(0, 2, 30, dtype=D)
        phase, turn = 6 * torch.rand(16, dtype=D), 2.0 * (torch.arange(16) % 2) - 1
        angle = phase + turn * 3 * t.unsqueeze(1)
        series = torch.stack([angle.cos(), angle.sin()], dim=-1) * (1 + t).view(-1, 1, 1)
        model = LatentODE(getattr(package, interface))
        noise = torch.randn(16, 4, dtype=D)
        return model, lambda: model.loss(series + 0.3 * torch.ones_like(series), t, noise)

    _compare(capsys, latent_ode, steps=6, rate=1e-2, tolerance=1e-5)


class HyperFlow(nn.Module):
    """The example's flow: a layer whose weights a network makes of the time, and the trace of its Jacobian."""

    def __init__(self, size=2, hidden=32, width=16):
        super().__init__()
        self.size, self.width = size, width
        self.hyper = _tanh_net(1, hidden, hidden, (3 * size + 1) * width)

    def forward(self, t, state):
        z, _ = state
        with torch.set_grad_enabled(True):
            z.requires_grad_(True)
            weights = self.hyper(t.reshape(1, 1)).view(3 * self.size + 1, self.width)
            w, u, gate = weights[:-1].view(3, self.size, self.width)
            dz = torch.tanh(z @ w + weights[-1]) @ (u * torch.sigmoid(gate)).T / self.width
            parts = [
                torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(z.shape[1])
            ]  # fmt: skip
        return dz, -sum(parts).view(len(z), 1)


@INTERFACES
def test_the_continuous_normalising_flow(interface, capsys):
    def cnf(package):
        angle, radius = 6.28 * torch.rand(64, 1, dtype=D), 0.5 + 0.5 * (torch.arange(64).view(-1, 1) % 2)
        x = torch.cat([angle.cos(), angle.sin()], dim=1) * radius + 0.06 * torch.randn(64, 2, dtype=D)
        flow, odeint, t = HyperFlow(), getattr(package, interface), torch.tensor([10.0, 0.0], dtype=D)
        normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=D), 0.1 * torch.eye(2, dtype=D))

        def loss():
            settings = {"atol": 1e-7, "rtol": 1e-7, "method": "dopri5"}
            z, gained = odeint(flow, (x, torch.zeros(64, 1, dtype=D)), t, **settings)
            return -(normal.log_prob(z[-1]) - gained[-1].view(-1)).mean()

        return flow, loss

    _compare(capsys, cnf, steps=3, rate=1e-2, tolerance=1e-4)


class Ball(nn.Module):
    """A ball that falls on the ground, which its radius keeps it from, and loses speed there.

    What the event depends on is part of the state, as the example has it.
    """

    def __init__(self):
        super().__init__()
        values = {"gravity": 7.0, "log_radius": math.log(0.5), "height": 10.0, "speed": 0.5, "absorption": 0.4}
        for name, value in values.items():
            setattr(self, name, nn.Parameter(torch.tensor([value], dtype=D)))

    def forward(self, t, state):
        _, speed, log_radius = state
        return speed, -self.gravity * torch.ones_like(speed), torch.zeros_like(log_radius)

    def event(self, t, state):
        height, _, log_radius = state
        return height - log_radius.exp()

    def bounce(self, state):
        height, speed, log_radius = state
        return height + 1e-7, -speed * (1 - self.absorption), log_radius

    def collisions(self, package, interface, number):
        times, t0, state = [], torch.tensor([0.0], dtype=D), (self.height, self.speed, self.log_radius)
        for _ in range(number):
            settings = {"event_fn": self.event, "atol": 1e-8, "rtol": 1e-8}
            odeint = getattr(package, interface)
            t0, solution = package.odeint_event(self, state, t0, odeint_interface=odeint, **settings)
            times.append(t0)
            state = self.bounce(tuple(x[-1] for x in solution))
        return torch.stack(times)


@INTERFACES
def test_the_bouncing_ball(interface, capsys):
    def bouncing_ball(package):
        ball, target = Ball(), torch.tensor([1.4, 3.7, 5.6], dtype=D)
        return ball, lambda: (ball.collisions(package, interface, 3).view(-1) - target).square().sum()

    _compare(capsys, bouncing_ball, steps=4, rate=3e-2, tolerance=1e-5)


def test_learning_physics_from_a_trajectory(capsys):
    def learning_physics(package):
        ball, t = Ball(), torch.linspace(0, 3, 40, dtype=D)
        fall = 10 - 4.9 * t**2
        since = t - math.sqrt(9.8 / 4.9)
        target = torch.where(since < 0, fall, 0.2 + 0.8 * math.sqrt(2 * 9.8 * 9.8) * since - 4.9 * since**2)

        def heights():
            state, t0 = (ball.height, ball.speed, ball.log_radius), t[:1]
            settings = {"event_fn": ball.event, "atol": 1e-8, "rtol": 1e-8}
            hit, solution = package.odeint_event(ball, state, t0, **settings)
            before = package.odeint(ball, state, torch.cat([t0, t[1:][t[1:] <= hit]]), atol=1e-8, rtol=1e-8)[0]
            state = ball.bounce(tuple(x[-1] for x in solution))
            after = package.odeint(ball, state, torch.cat([hit.view(1), t[t > hit]]), atol=1e-8, rtol=1e-8)[0][1:]
            return torch.cat([before, after]).view(-1)

        return ball, lambda: (heights() - target).abs().mean()

    _compare(capsys, learning_physics, steps=5, rate=1e-1, tolerance=1e-5)
