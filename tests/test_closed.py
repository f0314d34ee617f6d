"""Functions whose graph is used again without a call of them, and those that are called at every solve."""

import functools
import math
import random
import time
import types

import numpy as np
import pytest
import torch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, InterpolatingAdjoint
from pyseminorm.graphs.closed import plain, proof
from pyseminorm.problem.vector_field import EagerVectorField

T = [0.0, 0.5, 1.0]
LIST = [1.0, 2.0]


class Net(nn.Module):
    def __init__(self, activation=nn.Tanh):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), activation(), nn.Linear(8, 2))
        self.scale, self.shift = 0.5, {"a": [1.0, 2.0]}
        self.mask = torch.ones(2)
        self.squash, self.again = nn.functional.relu, nn.Identity()
        self.shared = self.again

    def inner(self, y):
        y = self.shared(self.again(self.squash(y)))
        return self.net(y) * self.scale + self.shift["a"][1] * np.pi

    def forward(self, t, y):
        outputs = [self.inner(y) if self.mask is not None else y]
        outputs.append(torch.sin(t) * y)
        return sum(outputs)

    def unused(self):
        self.count = random.random()


def plain_function(t, y):
    return -y * math.pi + LIST[0]


NET = Net()


class Callable:
    def __init__(self):
        self.rate = 2.0

    def __call__(self, t, y):
        return -self.rate * y


CLOSED = {
    "module": NET,
    "lambda": lambda t, y: torch.tanh(NET(t, y)),
    "method": NET.forward,
    "function": plain_function,
    "partial": functools.partial(lambda rate, t, y: -rate * y, 2.0),
    "object": Callable(),
}


def unchanged(func):
    """What says whether a function is still made of the same parts."""
    find = proof(func, ()).finder()
    return lambda roots: find(roots) is not None


@pytest.mark.parametrize("name", CLOSED)
def test_ordinary_functions_are_closed(name):
    assert unchanged(CLOSED[name])((CLOSED[name], ()))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return -y


class Inherited(Net):
    def forward(self, t, y):
        return super().forward(t, y)


class Random(Net):
    def inner(self, y):
        return y * random.random()


class Property(Net):
    @property
    def factor(self):
        return random.random()

    def forward(self, t, y):
        return y * self.factor


class Dynamic(Net):
    def __getattr__(self, name):
        return super().__getattr__(name)


def hooked():
    net = Net()
    net.net[0].register_forward_hook(lambda module, given, out: out * 2)
    return net


def of_the_clock(t, y):
    return y * time.time()


def importing(t, y):
    import random

    return y * random.random()


def by_name(t, y):
    return getattr(random, "random")() * y  # noqa: B009


def remembering(t, y):
    LIST[1] = 3.0
    return y


def reading(t, y):
    return y * NET.net[0].bias.tolist()[0]


def of_numpy(t, y):
    return y * np.random.rand()


def printing(t, y):
    print(t)
    return y


def with_attributes(t, y):
    return y * with_attributes.rate


with_attributes.rate = 2.0


class Tensors(torch.Tensor):
    pass


OPEN = {
    "counter": Counting(),
    "super": Inherited(),
    "helper": Random(),
    "property": Property(),
    "getattr": Dynamic(),
    "hook": hooked(),
    "clock": of_the_clock,
    "import": importing,
    "by name": by_name,
    "global": remembering,
    "tolist": reading,
    "numpy": of_numpy,
    "print": printing,
    "attributes of a function": with_attributes,
    "cached": functools.lru_cache(lambda t, y: y),
    "subclass of tensor": functools.partial(lambda a, t, y: y, torch.ones(2).as_subclass(Tensors)),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_can_change_unseen_is_open(name):
    assert proof(OPEN[name], ()) is None


def test_random_operations_and_numbers_are_seen():
    weight = torch.ones(2)
    assert plain(lambda: weight * 2 + torch.tanh(weight))
    assert not plain(lambda: nn.functional.dropout(weight, 0.5))
    assert not plain(lambda: weight * float(weight[0]))
    assert not plain(lambda: weight * 2 if weight[0] > 0 else weight)


def other(self, y):
    return 2 * y


CHANGES = {
    "activation": lambda net: net.net.__setitem__(1, nn.ReLU()),
    "layer": lambda net: net.net.append(nn.Tanh()),
    "attribute": lambda net: setattr(net, "forward", lambda t, y: y),
    "class": lambda net: setattr(net, "__class__", Random),
    "method": lambda net: setattr(net, "inner", types.MethodType(other, net)),
    "hook": lambda net: net.net[1].register_forward_hook(lambda module, given, out: out * 2),
    "list": lambda net: net.shift["a"].append(3.0),
    "key": lambda net: net.shift.update(b=1),
    "tensor": lambda net: setattr(net, "mask", None),
    "shape of a tensor": lambda net: setattr(net, "mask", torch.ones(3)),
    "strides of a tensor": lambda net: setattr(net.net[0].weight, "data", torch.ones(2, 8).T),
    "gradient of a tensor": lambda net: net.net[0].weight.requires_grad_(False),
    "function of PyTorch": lambda net: setattr(net, "squash", nn.functional.silu),
    "one of two shared": lambda net: setattr(net, "shared", nn.Identity()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_part_is_seen(name):
    net = Net()
    same = unchanged(net)
    assert same((net, ()))
    CHANGES[name](net)
    assert not same((net, ()))


def test_a_change_of_code_is_seen(monkeypatch):
    net = Net()
    same = unchanged(net)
    monkeypatch.setattr(Net, "inner", other)
    assert not same((net, ()))


def test_states_of_torch_are_seen():
    net = Net()
    same = unchanged(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not same((net, ()))
    with torch.device("cpu"):
        assert not same((net, ()))
    hook = nn.modules.module.register_module_forward_hook(lambda module, given, out: None)
    assert not same((net, ()))
    hook.remove()
    assert same((net, ()))


@pytest.fixture
def calls(monkeypatch):
    """The checking calls of func that were made."""
    made, check = [], EagerVectorField.check

    def counted(self, *args, **more):
        made.append(self.func)
        return check(self, *args, **more)

    monkeypatch.setattr(EagerVectorField, "check", counted)
    return made


def gradients(net, y0, engine, **more):
    net.zero_grad()
    how = {"torch": "trace", "julia": "julia"}[engine]
    solution = pyseminorm.solve(net, y0, T, backend=engine, compile=how, **more)
    solution.ys.pow(2).mean().backward()
    return solution, [p.grad.clone() for p in net.parameters()]


def test_a_closed_function_is_called_once(engine, calls):
    net, y0 = Net(), torch.randn(3, 2, requires_grad=True)
    first, expected = gradients(net, y0, engine)
    seen = len(calls)
    assert seen
    again, found = gradients(net, y0, engine)
    assert len(calls) == seen
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert again.stats.backward.nvjp == first.stats.backward.nvjp
    assert first.stats.forward.nf - again.stats.forward.nf == (engine == "julia")  # the checking call, not used there


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint()])
def test_new_values_of_parameters_reach_a_closed_function(engine, adjoint, calls):
    """With InterpolatingAdjoint the last evaluation of one solve is the first of the next, but for the parameters."""
    net, y0 = Net().double(), torch.randn(3, 2, dtype=torch.float64)
    gradients(net, y0, engine, rtol=1e-8, adjoint=adjoint)
    seen = len(calls)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.5)
    _, found = gradients(net, y0, engine, rtol=1e-8, adjoint=adjoint)
    assert len(calls) == seen
    net.zero_grad()
    pyseminorm.solve(net, y0, T, backend=engine, rtol=1e-8, adjoint=adjoint).ys.pow(2).mean().backward()
    torch.testing.assert_close(found, [p.grad for p in net.parameters()], rtol=1e-6, atol=1e-8)


def test_a_changed_function_is_captured_again(engine):
    net, y0 = Net().double(), torch.randn(3, 2, dtype=torch.float64)
    gradients(net, y0, engine, rtol=1e-8)
    net.net[1] = nn.Softplus()
    _, found = gradients(net, y0, engine, rtol=1e-8)
    net.zero_grad()
    pyseminorm.solve(net, y0, T, backend=engine, rtol=1e-8).ys.pow(2).mean().backward()
    torch.testing.assert_close(found, [p.grad for p in net.parameters()], rtol=1e-6, atol=1e-8)


class Cumulated(Net):
    """An operation that has no Julia code."""

    def forward(self, t, y):
        return torch.cumsum(self.net(y), -1)


@pytest.mark.julia
def test_a_closed_function_that_is_not_lowered_is_called_once(calls):
    net, y0 = Cumulated(), torch.randn(3, 2)
    _, expected = gradients(net, y0, "julia")
    seen = len(calls)
    _, found = gradients(net, y0, "julia")
    assert len(calls) == seen
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def other_shared(net):
    net.net[1] = nn.Tanh()


def tied(net):
    net.net[2].bias = net.other


def frozen(net):
    net.net[0].bias.requires_grad_(False)


def moved(net):
    net.net[0].weight.data = net.net[0].weight.data.clone().mul_(2)


class Shared(nn.Module):
    """Two layers with one activation, and two parameters of one shape."""

    def __init__(self):
        super().__init__()
        activation = nn.Softplus()
        self.net = nn.Sequential(nn.Linear(2, 2), activation, nn.Linear(2, 2), activation)
        self.other = nn.Parameter(torch.ones(2))

    def forward(self, t, y):
        return self.net(y) * self.other


@pytest.mark.parametrize("change", [other_shared, tied, frozen, moved])
@pytest.mark.parametrize("given", ["module", "params"])
def test_what_changes_between_two_solves_counts(engine, change, given):
    net, y0 = Shared().double(), torch.randn(3, 2, dtype=torch.float64)

    def found(how):
        net.zero_grad()
        params = None if given == "module" else (p for p in net.parameters())
        func = net if given == "module" else lambda t, y: net(t, y)
        solution = pyseminorm.solve(func, y0, T, params=params, backend=engine, compile=how, rtol=1e-8)
        solution.ys.pow(2).mean().backward()
        return [p.grad for p in net.parameters()]

    how = {"torch": "trace", "julia": "julia"}[engine]
    found(how), found(how)
    change(net)
    torch.testing.assert_close(found(how), found(None), rtol=1e-6, atol=1e-8)


def test_bad_input_has_its_name_without_a_checking_call(engine, calls):
    net, y0 = Net(), torch.ones(3, 2)
    gradients(net, y0, engine)
    with pytest.raises(pyseminorm.InvalidInputError, match="y0 contains NaN"):
        gradients(net, torch.full((3, 2), torch.nan), engine)
    with torch.no_grad():
        net.net[2].weight[0, 0] = torch.inf
    with pytest.raises(pyseminorm.InvalidInputError, match="func returned non-finite values at the first time"):
        gradients(net, y0, engine)
    with pytest.raises(pyseminorm.InvalidInputError, match="func returned non-finite values at the first time"):
        gradients(net, y0, engine, throw=False)


def test_gradients_by_time_without_a_checking_call(engine, calls):
    net, y0 = Net().double(), torch.ones(3, 2, dtype=torch.float64)
    found = []
    for _ in range(2):
        t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
        how = {"torch": "trace", "julia": "julia"}[engine]
        pyseminorm.solve(net, y0, t, backend=engine, compile=how, rtol=1e-9).ys.pow(2).mean().backward()
        found.append(t.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)
