"""Solves under torch.autocast: func is in it, in both passes, and the solver is not."""

import contextlib
import logging

import pytest
import torch
from problems import MLP, Hamiltonian, batch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint
from pyseminorm.adjoints import KEEPS

ADJOINTS = [
    BacksolveAdjoint(),
    BacksolveAdjoint(norm="torchdiffeq"),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    GaussAdjoint(interpolate=False),
    *(DiscreteAdjoint(keep=keep) for keep in KEEPS),
]
T = torch.linspace(0, 1, 5)


def autocast(enabled=True):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)


class InAutocast(nn.Module):
    """What a solve under autocast is to make of a module, written by hand."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, t, y):
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            return self.module(t, y).to(y.dtype)


def solved(func, net, engine, forward, backward, **settings):
    """Outputs and gradients of a solve, with contexts around its passes."""
    y0 = batch(4, torch.float32).requires_grad_()
    net.zero_grad()
    with forward:
        ys = pyseminorm.solve(func, y0, T, backend=engine, method="rk4", dt=0.1, **settings).ys
    assert ys.dtype == torch.float32
    with backward:
        (ys.pow(2).sum() / 7).backward()
    return [ys.detach(), y0.grad, *(p.grad.clone() for p in net.parameters())]


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.parametrize("inside", [False, True], ids=["backward outside", "backward inside"])
def test_func_is_under_autocast_and_the_solver_is_not(engine, adjoint, inside):
    net = MLP(torch.float32, width=8)
    none = contextlib.nullcontext()
    found = solved(net, net, engine, autocast(), autocast(inside), adjoint=adjoint)
    by_hand = solved(InAutocast(net), net, engine, none, none, adjoint=adjoint)
    for a, b in zip(found, by_hand, strict=True):
        assert torch.equal(a, b)
    exact = solved(net, net, engine, none, none, adjoint=adjoint)
    assert not torch.equal(found[0], exact[0]) and torch.allclose(found[0], exact[0], atol=0.05)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
def test_a_backward_pass_under_autocast_is_as_precise_as_the_forward_pass(engine, adjoint):
    net = MLP(torch.float32, width=8)
    none = contextlib.nullcontext()
    for a, b in zip(
        solved(net, net, engine, none, autocast(), adjoint=adjoint),
        solved(net, net, engine, none, none, adjoint=adjoint),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
def test_outputs_between_steps_are_not_rounded(engine, adjoint):
    y0 = torch.tensor([1.0, -0.5], requires_grad=True)
    t = torch.linspace(0, 1, 7)
    with autocast():
        ys = pyseminorm.solve(lambda t, y: -y, y0, t, rtol=1e-6, atol=1e-8, adjoint=adjoint, backend=engine).ys
    assert torch.allclose(ys, y0 * torch.exp(-t)[:, None], atol=1e-5)
    (gradient,) = torch.autograd.grad(ys.sum(), y0)
    assert gradient.tolist() == pytest.approx([torch.exp(-t).sum().item()] * 2, rel=1e-5)


def test_a_low_precision_state_stays_one():
    net = nn.Linear(2, 2)
    for adjoint in ADJOINTS:
        with autocast():
            ys = pyseminorm.solve(
                lambda t, y: net(y), torch.ones(2, dtype=torch.bfloat16), [0.0, 1.0], params=list(net.parameters()),
                adjoint=adjoint, backend="torch", method="rk4", dt=0.5,
            ).ys  # fmt: skip
        assert ys.dtype == torch.bfloat16
        net.zero_grad()
        ys[-1].float().sum().backward()
        assert net.weight.grad.abs().sum() > 0


def test_what_follows_under_the_same_autocast_gets_its_gradients(engine):
    net = MLP(torch.float32, width=8)
    with autocast():
        with torch.no_grad():
            pyseminorm.solve(net, batch(4, torch.float32), [0.0, 1.0], backend=engine)
        net(0.0, batch(4, torch.float32)).float().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_function_that_differentiates_inside_itself(engine):
    net = Hamiltonian(enable=True, dtype=torch.float32)
    none = contextlib.nullcontext()
    found = solved(net, net, engine, autocast(), none)
    exact = solved(net, net, engine, none, none)
    assert all(torch.allclose(a, b, atol=0.1) for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("compile", ["trace", "inductor"])
def test_a_graph_is_not_used_under_autocast(engine, compile, caplog):
    net = MLP(torch.float32, width=8)
    none = contextlib.nullcontext()
    with caplog.at_level(logging.INFO, logger="pyseminorm"):
        found = solved(net, net, engine, autocast(), none, compile=compile)
    assert any("autocast" in record.message for record in caplog.records)
    eager = solved(net, net, engine, autocast(), none)
    assert all(torch.equal(a, b) for a, b in zip(found, eager, strict=True))
