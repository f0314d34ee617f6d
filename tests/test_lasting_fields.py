"""The field of a compiled function's last solve, which the next one takes where it reads the same memory."""

import copy

import pytest
import torch
from problems import MLP, batch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint
from pyseminorm.engines.julia.native.lowered import LoweredVectorField
from pyseminorm.graphs.traced_field import TracedVectorField

pytestmark = pytest.mark.capture
T = [0.0, 0.4, 1.0]


class Net(nn.Module):
    def __init__(self, normed=False):
        super().__init__()
        self.net = MLP(width=8).double()
        self.rate = nn.Parameter(torch.tensor([0.7, -0.3], dtype=torch.float64))
        if normed:
            nn.utils.parametrizations.weight_norm(self.net.net[0])

    def forward(self, t, y):
        return self.net(t, y) + torch.sin(3.0 * t * self.rate)


MODES = {"torch": "trace", "julia": "julia"}


@pytest.fixture
def made(monkeypatch):
    """How many fields were made, not taken from a solve before."""
    calls = []
    for kind in (TracedVectorField, LoweredVectorField):

        def counted(self, *args, init=kind.__init__, **kwargs):
            calls.append(self)
            init(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", counted)
    return calls


def gradients(func, adjoint):
    y0, backend = batch(3).double().requires_grad_(), "torch"
    func_of = func
    if isinstance(func, pyseminorm.CompiledField):
        func_of, backend = func.func, func.backend
    ys = pyseminorm.solve(func, y0, T, backend=backend, adjoint=adjoint, rtol=1e-7, atol=1e-9).ys
    return ys, *torch.autograd.grad(ys.pow(2).sum(), [y0, *func_of.parameters()])


def by_other_memory(net):
    net.rate.data = net.rate.detach() * 1.5


def by_another_part_of_the_memory(net):
    both = torch.cat([net.rate.detach() * 3, net.rate.detach()])
    net.rate.data = both[2:]
    yield
    net.rate.data = both[:2]


def by_another_parameter(net):
    net.rate = nn.Parameter(net.rate.detach() * 1.5)


def by_an_optimiser(net):
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.1)


CHANGES = [by_other_memory, by_another_part_of_the_memory, by_another_parameter, by_an_optimiser]


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), DiscreteAdjoint(keep="stages")], ids=["backsolve", "discrete"])
@pytest.mark.parametrize("normed", [False, True], ids=["plain", "weight_norm"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change, normed, adjoint, engine):
    net = Net(normed)
    field = pyseminorm.compile(net, backend=engine, mode=MODES[engine])
    for _ in range(2):
        gradients(field, adjoint)
    changes = change(net)
    for _ in changes if changes is not None else (None,):
        for _ in range(2):
            torch.testing.assert_close(gradients(field, adjoint), gradients(copy.deepcopy(net), adjoint))


def test_a_field_is_made_once_for_the_same_memory(made, engine):
    net = Net()
    field = pyseminorm.compile(net, backend=engine, mode=MODES[engine])
    gradients(field, DiscreteAdjoint())  # this one captures
    gradients(field, DiscreteAdjoint())
    first = len(made)
    by_an_optimiser(net)
    gradients(field, DiscreteAdjoint())
    assert len(made) == first
    by_other_memory(net)
    gradients(field, DiscreteAdjoint())
    assert len(made) == first + 1


def test_what_is_computed_of_parameters_is_made_at_every_solve(made):
    field = pyseminorm.compile(Net(normed=True), backend="torch", mode="trace")
    for _ in range(3):
        gradients(field, DiscreteAdjoint())
    assert len(made) == 3


def test_a_solve_that_waits_for_its_backward_pass_is_apart_from_the_next(engine):
    net = Net()
    field = pyseminorm.compile(net, backend=engine, mode=MODES[engine])
    gradients(field, BacksolveAdjoint())
    y0 = batch(3).double().requires_grad_()
    waiting = pyseminorm.solve(field, y0, T, adjoint=BacksolveAdjoint()).ys.pow(2).sum()
    gradients(field, BacksolveAdjoint())
    expected = torch.autograd.grad(pyseminorm.solve(net, y0, T, adjoint=BacksolveAdjoint()).ys.pow(2).sum(), net.rate)
    torch.testing.assert_close(torch.autograd.grad(waiting, net.rate, retain_graph=True), expected)
    by_an_optimiser(net)
    gradients(field, BacksolveAdjoint())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(waiting, net.rate)
