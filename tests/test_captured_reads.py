"""What a captured function reads may change between solves: the next one sees it, by a new capture where need be."""

import functools
import logging

import numpy as np
import pytest
import torch
from captured_fields import Counting, D, Scaled, T, value
from problems import MLP, batch
from torch import nn

import pyseminorm
from pyseminorm.graphs import traced_field

pytestmark = pytest.mark.capture


@pytest.fixture
def captures(monkeypatch):
    """One entry for every graph that is made."""
    made, joint_graph = [], traced_field.joint_graph

    def counted(*given):
        made.append(given)
        return joint_graph(*given)

    monkeypatch.setattr(traced_field, "joint_graph", counted)
    return made


def test_an_optimiser_step_needs_no_new_capture(captures):
    field, y0 = MLP(), batch(3)
    for _ in range(3):
        field.zero_grad()
        pyseminorm.solve(field, y0, T, backend="torch", compile="trace").ys.sum().backward()
        gradients = [p.grad.clone() for p in field.parameters()]
        field.zero_grad()
        pyseminorm.solve(field, y0, T, backend="torch").ys.sum().backward()
        torch.testing.assert_close(gradients, [p.grad for p in field.parameters()])
        with torch.no_grad():
            for p in field.parameters():
                p.mul_(1.1)
    assert len(captures) == 1


def test_a_changed_attribute_is_seen():
    field = Scaled()
    first = value(field)
    torch.testing.assert_close(first, pyseminorm.solve(field, batch(2), T, backend="torch").ys)
    field.scale *= 1 + 1e-6  # less than the comparison with a call would see
    changed = value(field)
    torch.testing.assert_close(changed, pyseminorm.solve(field, batch(2), T, backend="torch").ys, rtol=1e-13, atol=0)
    assert not torch.equal(first, changed)


def test_a_changed_array_of_numpy_is_seen():
    rates = np.array([1.0, 2.0])

    def func(t, y):
        return -torch.tensor(rates) * y

    value(func)
    rates[1] *= 1 + 1e-6
    torch.testing.assert_close(value(func), pyseminorm.solve(func, batch(2), T, backend="torch").ys, rtol=1e-13, atol=0)


def test_a_tensor_that_was_put_in_place_of_another_is_read(captures):
    field = Scaled()
    value(field)
    field.offset = torch.tensor([3.0, -1.0], dtype=D)
    torch.testing.assert_close(value(field), pyseminorm.solve(field, batch(2), T, backend="torch").ys)
    assert len(captures) == 1


def test_a_counter_counts(caplog):
    """A graph would not count, so the function stays eager."""
    field = Counting()
    nf = [pyseminorm.solve(field, batch(2), T, backend="torch", compile=c).stats.forward.nf for c in ("trace", None)]
    assert nf[0] == nf[1] and field.calls == sum(nf)


def test_a_closure_that_is_made_anew_uses_what_it_closes_over_now():
    y0 = batch(2)
    nets = [nn.Linear(2, 2).to(D) for _ in range(2)]
    controls = [torch.tensor([1.0, 2.0], dtype=D), torch.tensor([-1.0, 0.5], dtype=D)]

    def made(net, control):
        return lambda t, y: net(y) + control

    for net in nets:
        for control in controls:
            settings = {"params": list(net.parameters()), "backend": "torch"}
            ys = [
                pyseminorm.solve(made(net, control), y0, T, compile=compile, **settings).ys
                for compile in ("trace", None)
            ]
            grads = [torch.autograd.grad(x.sum(), settings["params"]) for x in ys]
            torch.testing.assert_close(*ys)
            torch.testing.assert_close(*grads)


def test_parameters_in_another_order_are_not_confused():
    field = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).to(D)

    def func(t, y):
        return field(y)

    for params in (list(field.parameters()), list(field.parameters())[::-1]):
        grads = []
        for compile in ("trace", None):
            field.zero_grad()
            pyseminorm.solve(func, batch(2), T, params=params, backend="torch", compile=compile).ys.sum().backward()
            grads.append([p.grad.clone() for p in params])
        torch.testing.assert_close(*grads)


def test_training_mode_shapes_and_dtypes_are_guarded():
    class Damped(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2).to(D)

        def forward(self, t, y):
            return self.linear(y) * (0.5 if self.training else 1.0)

    field = Damped()
    for y0 in (batch(2), batch(3), batch(3)[0], batch(3)[0]):
        torch.testing.assert_close(value(field, y0), pyseminorm.solve(field, y0, T, backend="torch").ys)
        field.train(not field.training)
    field.float()
    assert value(field, batch(2).float()).dtype == torch.float32


def test_training_and_evaluation_in_turns_keep_both_graphs(caplog, captures):
    caplog.set_level(logging.INFO, logger="pyseminorm")

    class Damped(Scaled):
        def forward(self, t, y):
            return super().forward(t, y) * (0.5 if self.training else 1.0)

    field = Damped()
    for _ in range(20):
        field.train(not field.training)
        torch.testing.assert_close(value(field), pyseminorm.solve(field, batch(2), T, backend="torch").ys)
    assert len(captures) == 2 and not [r for r in caplog.records if r.name == "pyseminorm"]


class Spread(nn.Module):
    factor = 2.0

    def __init__(self):
        super().__init__()
        self._offset = 0.5

    def forward(self, t, y):
        return -self.factor * y + self._offset


@pytest.mark.parametrize("where", ["class", "private"])
def test_values_of_the_class_and_private_ones_are_seen(where, monkeypatch):
    field = Spread()
    value(field)
    if where == "class":
        monkeypatch.setattr(Spread, "factor", 2.0 * (1 + 1e-6))
    else:
        field._offset *= 1 + 1e-6
    torch.testing.assert_close(
        value(field), pyseminorm.solve(field, batch(2), T, backend="torch").ys, rtol=1e-13, atol=0
    )


def test_a_partial_that_is_made_anew_is_not_captured_anew(captures):
    field = MLP(width=8)

    def rate(t, y, factor):
        return field(t, y) * factor

    for _ in range(3):
        func = functools.partial(rate, factor=2.0)
        pyseminorm.solve(func, batch(2), T, params=field.parameters(), backend="torch", compile="trace")
    assert len(captures) == 1


def test_partials_methods_and_arguments():
    net = MLP(width=8)

    class Model:
        def __init__(self):
            self.net = net

        def rate(self, t, y, u):
            return self.net(t, y) * u

    y0, u = batch(2), torch.tensor([0.5, 2.0], dtype=D, requires_grad=True)
    for func, args in ((Model().rate, (u,)), (functools.partial(Model().rate, u=u.detach()), ())):
        grads = []
        for compile in ("trace", None):
            wanted = [*net.parameters(), *args]
            s = pyseminorm.solve(func, y0, T, args=args, params=net.parameters(), backend="torch", compile=compile)
            grads.append(torch.autograd.grad(s.ys.sum(), wanted))
        torch.testing.assert_close(*grads)
