"""A change of anything that a compiled function reads counts at the next solve, on both engines, with gradients."""

import dataclasses
import functools
import gc
import math

import numpy as np
import pytest
import torch
from problems import batch
from torch import nn

import pyseminorm

pytestmark = pytest.mark.capture

T = [0.0, 0.5, 1.0]
D = torch.float64
RATE = 1.0
TABLE = {"rate": 1.0, "act": "tanh"}
ARRAY = np.array([1.0, 2.0])


def linear(inputs=2, outputs=2):
    torch.manual_seed(inputs + 3 * outputs)
    return nn.Linear(inputs, outputs).to(D)


class Net(nn.Module):
    factor = 1.0
    mask = None

    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = linear(2, 4), nn.Tanh(), linear(4, 2)
        self.rate = 1.0
        self.register_buffer("shift", torch.zeros(2, dtype=D))

    def helper(self):
        return RATE * TABLE["rate"] * float(ARRAY[0])

    @staticmethod
    def of_static():
        return RATE

    @classmethod
    def of_class(cls):
        return cls.factor

    def squash(self, x):
        return {"tanh": torch.tanh, "sin": torch.sin}[TABLE["act"]](x)

    def forward(self, t, y):
        out = self.b(self.squash(self.act(self.a(y)))) * self.rate + self.shift * torch.cos(t)
        out = out * self.helper() * self.of_static() * self.of_class() * (1.0 if self.training else 0.5)
        return out if self.mask is None else out * self.mask


def set_global(_, monkeypatch):
    monkeypatch.setitem(globals(), "RATE", 2.0)


def tie(net, _):
    net.a = nn.Linear(2, 2).to(D)
    net.b = net.a


def hook(net, _):
    net.b.register_forward_hook(lambda module, given, out: out * 2)


def backward_hook(net, _):
    net.b.register_full_backward_hook(lambda module, into, out: tuple(3 * x for x in into))


CHANGES = {
    "attribute": lambda net, _: setattr(net, "rate", 1.5),
    "activation": lambda net, _: setattr(net, "act", nn.Softplus()),
    "layer": lambda net, _: setattr(net, "a", linear(2, 4).requires_grad_(False)),
    "global": set_global,
    "dict": lambda _, monkeypatch: monkeypatch.setitem(TABLE, "rate", 3.0),
    "activation by name": lambda _, monkeypatch: monkeypatch.setitem(TABLE, "act", "sin"),
    "array": lambda _, monkeypatch: monkeypatch.setitem(globals(), "ARRAY", np.array([0.5, 2.0])),
    "class attribute": lambda _, monkeypatch: monkeypatch.setattr(Net, "factor", 0.7),
    "class default overridden": lambda net, _: setattr(net, "mask", torch.tensor([1.0, 0.5], dtype=D)),
    "buffer replaced": lambda net, _: setattr(net, "shift", torch.tensor([0.3, -0.1], dtype=D)),
    "buffer in place": lambda net, _: net.shift.add_(0.4),
    "parameter replaced": lambda net, _: setattr(net.a, "weight", nn.Parameter(torch.ones(4, 2, dtype=D))),
    "frozen": lambda net, _: net.a.requires_grad_(False),
    "tied": tie,
    "forward hook": hook,
    "backward hook": backward_hook,
    "evaluation": lambda net, _: net.eval(),
}


def gradients(func, engine, compile, wanted, y0=None, args=()):
    y0 = (batch(3) if y0 is None else y0).detach().requires_grad_()
    ys = pyseminorm.solve(func, y0, T, args=args, params=wanted, backend=engine, compile=compile, rtol=1e-8).ys
    found = torch.autograd.grad(ys.pow(2).sum(), [y0, *wanted], allow_unused=True)
    return ys.detach(), [torch.zeros(()) if g is None or not g.any() else g for g in found]


def modes(engine):
    return ("trace", "auto") if engine == "torch" else ("trace", "julia", "auto")


def check(func, engine, change, wanted, **given):
    """Compiled gives what eager gives, before and after a change of which something comes."""
    before, _ = gradients(func, engine, None, wanted(), **given)
    for mode in modes(engine):
        for _ in range(2):
            torch.testing.assert_close(gradients(func, engine, mode, wanted(), **given)[0], before)
    change()
    after = gradients(func, engine, None, wanted(), **given)
    for mode in modes(engine):
        found = gradients(func, engine, mode, wanted(), **given)
        torch.testing.assert_close(found, after, rtol=1e-6, atol=1e-8, msg=lambda m, mode=mode: f"{mode}: {m}")
    return before, after[0]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_module_counts(name, engine, monkeypatch):
    net = Net()
    before, after = check(
        net, engine, lambda: CHANGES[name](net, monkeypatch), lambda: [p for p in net.parameters() if p.requires_grad]
    )
    assert torch.equal(before, after) == (name in ("frozen", "backward hook", "layer"))


def test_closures_defaults_and_partials_count(engine):
    settings, net = [1.0], linear()

    def func(t, y, rate=1.0):
        return -net(y) * settings[0] * rate

    check(func, engine, lambda: settings.__setitem__(0, 2.0), lambda: list(net.parameters()))
    check(func, engine, lambda: setattr(func, "__defaults__", (0.5,)), lambda: list(net.parameters()))
    partial = functools.partial(func, rate=2.0)
    check(partial, engine, lambda: partial.keywords.update(rate=1.5), lambda: list(net.parameters()))


@dataclasses.dataclass
class Decay:
    weight: torch.Tensor
    rate: float = 1.0

    def __call__(self, t, y):
        return -self.rate * y * self.weight


def test_a_default_of_a_dataclass_can_be_overridden(engine):
    decay = Decay(torch.tensor([1.0, 2.0], dtype=D), rate=0.3)
    check(decay, engine, lambda: setattr(decay, "rate", 2.0), list)


class Slots:
    __slots__ = ("rate",)

    def __init__(self):
        self.rate = torch.tensor([1.0, 2.0], dtype=D)

    def __call__(self, t, y):
        return -y * self.rate


def test_slots_count(engine):
    func = Slots()
    check(func, engine, lambda: setattr(func, "rate", torch.tensor([0.2, 3.0], dtype=D)), list)


def test_a_condition_on_the_time_that_holds_later_only(engine):
    """Which a call at the first time does not see: the function stays eager."""

    def func(t, y):
        return -y if t < 0.7 else -3 * y

    eager, expected = gradients(func, engine, None, [])
    for mode in modes(engine):
        ys, found = gradients(func, engine, mode, [])
        torch.testing.assert_close((ys, found), (eager, expected), rtol=1e-6, atol=1e-8)
    exact = batch(3) * math.exp(-0.7 - 0.9)
    torch.testing.assert_close(eager[-1], exact, rtol=1e-4, atol=1e-6)


def test_a_measured_input_that_numpy_interpolates(engine):
    """The usual way to feed one, which no graph may freeze at its first value."""
    grid, table = np.linspace(0.0, 1.0, 11), np.sin(np.linspace(0.0, 6.0, 11))

    def func(t, y):
        return -y + float(np.interp(t.detach().numpy(), grid, table))

    expected = gradients(func, engine, None, [])
    for mode in modes(engine):
        torch.testing.assert_close(gradients(func, engine, mode, []), expected, rtol=1e-6, atol=1e-8)


def test_dtypes_shapes_and_autocast_count(engine):
    net = linear()
    for y0 in (batch(3), batch(2), batch(2)[0]):
        expected = gradients(net_of(net), engine, None, list(net.parameters()), y0)
        for mode in modes(engine):
            found = gradients(net_of(net), engine, mode, list(net.parameters()), y0)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    net.float()
    wanted = list(net.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = gradients(net_of(net), engine, None, wanted, batch(3).float())
        for mode in modes(engine):
            torch.testing.assert_close(gradients(net_of(net), engine, mode, wanted, batch(3).float())[0], rough[0])
    fine = gradients(net_of(net), engine, None, wanted, batch(3).float())
    for mode in modes(engine):
        torch.testing.assert_close(gradients(net_of(net), engine, mode, wanted, batch(3).float())[0], fine[0])
    assert not torch.equal(rough[0], fine[0])


def net_of(net):
    return lambda t, y: torch.tanh(net(y))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")  # torch's own, for forward mode
def test_a_lagrangian_network_does_not_end_the_process(engine):
    """vmap of hessian, which make_fx alone answers with a segmentation fault; TorchDynamo refuses it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1)).to(D)

    def func(t, y):
        def energy(z):
            return net(z).sum()

        hessian = torch.func.vmap(torch.func.hessian(energy))(y)
        return -torch.einsum("bij,bj->bi", hessian, y)

    wanted = list(net.parameters())
    expected = gradients(func, engine, None, wanted)
    for mode in modes(engine):
        torch.testing.assert_close(gradients(func, engine, mode, wanted), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")  # torch's own, for forward mode
def test_what_a_refused_capture_leaves_does_no_harm_when_it_is_freed():
    net = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))

    def energy(z):
        return net(z).sum() + 2 * z[1] ** 2

    def rate(z):
        hessian, gradient = torch.func.hessian(energy)(z), torch.func.grad(energy)(z)
        return torch.stack([z[1], (gradient[0] - hessian[1, 0] * z[1]) / hessian[1, 1]])

    def func(t, y):
        return torch.func.vmap(rate)(y)

    pyseminorm.solve(func, torch.ones(3, 2), T, params=net.parameters(), backend="torch", compile="trace")
    gc.collect()
    assert net(torch.ones(2)).requires_grad


SHARED = torch.tensor([0.3, 0.7], dtype=D)


@pytest.mark.parametrize("where", ["a global", "a closure"])
def test_a_tensor_of_args_that_func_reads_in_another_place_too(where, engine):
    """TorchDynamo takes both for one, and would go on with another one in the place of both."""
    held = SHARED.clone()
    func = {"a global": lambda t, y, a: -a * y + SHARED * t, "a closure": lambda t, y, a: -a * y + held * t}[where]
    for a in (SHARED if where == "a global" else held, 2 * SHARED):
        found, right = (
            pyseminorm.solve(func, batch(3), T, args=(a,), compile=mode, backend=engine).ys for mode in ("trace", None)
        )
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-14)


def test_a_tensor_of_args_that_func_reads_there_alone_is_captured(engine, caplog):
    """Whether or not it is twice in args, and whatever else func reads."""
    caplog.set_level("INFO", logger="pyseminorm")
    for args in ((SHARED, 2 * SHARED), (SHARED, SHARED)):
        pyseminorm.solve(
            lambda t, y, a, b: -a * y + b * t * RATE, batch(3), T, args=args, compile="trace", backend=engine
        )
    assert "eager" not in caplog.text
