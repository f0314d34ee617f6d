"""Objects that hold the tensors of a solve are other ones at backward(): the gradient is that of the solve's own."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from test_shared_tensors import named
from torch import nn

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
)

ADJOINTS = [
    BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint(), DiscreteAdjoint(keep="stages"),
]  # fmt: skip
D = torch.float64
Y0 = torch.linspace(0.2, 0.8, 6, dtype=D).view(2, 3)


@pytest.fixture(params=ADJOINTS, ids=named)
def solve(request, engine):
    """The state at t = 1, tightly, by every engine and adjoint."""

    def at_one(func, **settings):
        settings = {"rtol": 1e-8, "atol": 1e-10, "adjoint": request.param, "backend": engine, **settings}
        return pyseminorm.solve(func, Y0, [0.0, 1.0], **settings).ys[-1]

    return at_one


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()

    def forward(self, t, y):
        return self.second(torch.tanh(self.first(y)))


class Adapted(nn.Module):
    """A layer, and a small change beside it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.change = layer, nn.Linear(3, 3).double()

    def forward(self, y):
        return self.layer(y) + self.change(y)


def right(func, params):
    y = pyseminorm.solve(func, Y0, [0.0, 1.0], rtol=1e-8, atol=1e-10, adjoint=DirectAdjoint(), backend="torch").ys[-1]
    return torch.autograd.grad(y.pow(2).sum(), params)


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_an_ensemble_in_one_loop_with_one_loss(solve):
    """The closures of all solves find the last network by then."""
    nets = [Field() for _ in range(3)]
    expected = [gradient for net in nets for gradient in right(net, list(net.parameters()))]
    total = 0.0
    for net in nets:
        total = total + solve(lambda t, y: net(t, y), params=net.parameters()).pow(2).sum()  # noqa: B023 - so it is
    found = torch.autograd.grad(total, [p for net in nets for p in net.parameters()])
    assert_close(found, expected)
    assert net is nets[-1]


def replace_layer(net):
    net.first = nn.Linear(3, 3).double()


def wrap_layer(net):
    net.first = Adapted(net.first)


def swap_layers(net):
    net.first, net.second = net.second, net.first


@pytest.mark.parametrize("change", [replace_layer, wrap_layer, swap_layers])
def test_a_layer_is_another_one_at_backward(solve, change):
    net = Field()
    params = list(net.parameters())
    expected, total = right(net, params), solve(net).pow(2).sum()
    change(net)
    now = net.first, net.second
    assert_close(torch.autograd.grad(total, params), expected)
    assert (net.first, net.second) == now


def test_an_object_in_a_dict_is_another_one_at_backward(solve):
    held = {"net": Field()}
    params = list(held["net"].parameters())
    expected = right(held["net"], params)
    total = solve(lambda t, y: held["net"](t, y), params=params).pow(2).sum()
    held["net"] = other = Field()
    assert_close(torch.autograd.grad(total, params), expected)
    assert held["net"] is other


def test_what_stands_there_is_put_back_where_func_raises(solve):
    held, failing = {"net": Field()}, []

    def func(t, y):
        if failing:
            raise ZeroDivisionError("in the backward pass")
        return held["net"](t, y)

    total = solve(func, params=held["net"].parameters()).pow(2).sum()
    held["net"] = other = Field()
    failing.append(True)
    with pytest.raises(ZeroDivisionError):
        total.backward()
    assert held["net"] is other


def test_an_object_that_is_gone_is_missed_by_func_itself(engine):
    class Holder:
        def __init__(self):
            self.net = Field()

        def __call__(self, t, y):
            return self.net(t, y)

    holder = Holder()
    params = list(holder.net.parameters())
    total = pyseminorm.solve(holder, Y0, [0.0, 1.0], params=params, backend=engine).ys[-1].sum()
    del holder.net
    with pytest.raises(AttributeError, match="no attribute 'net'"):
        total.backward()


def test_a_global_that_is_gone_and_that_func_does_not_read_is_no_matter(solve):
    """Func reads an attribute of its name."""
    globals()["net"] = field = Field()
    trainer, params = SimpleNamespace(net=field), list(field.parameters())
    expected = right(field, params)
    total = solve(lambda t, y: trainer.net(t, y), params=params).pow(2).sum()
    del globals()["net"]
    assert_close(torch.autograd.grad(total, params), expected)


class ByGlobal(nn.Module):
    def forward(self, t, y):
        return NETWORK(t, y)  # noqa: F821


class Called:
    def __call__(self, t, y):
        return NETWORK(t, y)  # noqa: F821


@pytest.mark.parametrize("kind", [ByGlobal, Called])
def test_a_global_that_forward_reads_is_another_one_at_backward(solve, kind):
    globals()["NETWORK"] = net = Field()
    params = list(net.parameters())
    expected, total = right(net, params), solve(kind(), params=params).pow(2).sum()
    globals()["NETWORK"] = Field()
    assert_close(torch.autograd.grad(total, params), expected)


def test_threads_that_go_backwards_at_once_do_not_meet():
    """Closures of one loop: each pass calls a copy of the function with its own network."""
    nets, totals = [Field() for _ in range(3)], []
    for net in nets:

        def func(t, y):
            hidden = torch.tanh(net.first(y))  # noqa: B023 - so it is
            time.sleep(1e-4)  # lets other threads go on
            return net.second(hidden)  # noqa: B023

        ys = pyseminorm.solve(func, Y0, [0.0, 1.0], params=net.parameters(), method="rk4", dt=0.1, backend="torch").ys
        totals.append(ys[-1].pow(2).sum())
    alone = [torch.autograd.grad(x, list(n.parameters()), retain_graph=True) for x, n in zip(totals, nets, strict=True)]
    with ThreadPoolExecutor(3) as pool:
        passes = [pool.submit(torch.autograd.grad, x, list(n.parameters())) for x, n in zip(totals, nets, strict=True)]
    for found, expected in zip(passes, alone, strict=True):
        assert_close(found.result(), expected)
    assert net is nets[-1]


@pytest.mark.parametrize("compile", [None, "trace", pytest.param("julia", marks=pytest.mark.julia)])
def test_parameters_have_another_dtype_at_backward(solve, engine, compile):
    if compile == "julia" and engine == "torch":
        pytest.skip("the embedded engine runs no code in Julia")
    net = Field()
    expected = right(net, list(net.parameters()))
    total = solve(net, compile=compile).pow(2).sum()
    net.float()
    total.backward()
    assert_close([p.grad.double() for p in net.parameters()], expected)


def test_a_buffer_has_other_memory_at_backward(solve):
    net = Field()
    net.register_buffer("rate", torch.full((3,), 0.5, dtype=D))

    def func(t, y):
        return net(t, y) * net.rate

    params = list(net.parameters())
    expected, total = right(func, params), solve(func, params=params).pow(2).sum()
    net.rate.data = torch.full((3,), 5.0, dtype=D)
    assert_close(torch.autograd.grad(total, params), expected)
