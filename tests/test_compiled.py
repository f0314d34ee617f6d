"""`compile`: a function that is captured once, and what its contract says of changes."""

import copy
import logging
import pickle

import numpy as np
import pytest
import torch
from problems import MLP, batch
from torch import nn

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    CompiledField,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
)

pytestmark = pytest.mark.capture
T = [0.0, 0.4, 1.0]
D = torch.float64
MODE = {"torch": "trace", "julia": "julia"}


def gradients(func, engine, y0=None, wanted=(), **settings):
    y0 = (batch(3) if y0 is None else y0).detach().requires_grad_()
    solution = pyseminorm.solve(func, y0, T, backend=engine, **settings)
    return solution, torch.autograd.grad(solution.ys.pow(2).sum(), [y0, *wanted], allow_unused=True)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()])
def test_steps_and_gradients_are_those_of_the_function(engine, adjoint):
    net = MLP(width=8)
    field = pyseminorm.compile(net, mode=MODE[engine])
    plain, expected = gradients(net, engine, wanted=list(net.parameters()), adjoint=adjoint)
    for _ in range(2):
        solution, found = gradients(field, engine, wanted=list(field.parameters()), adjoint=adjoint)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert solution.stats.forward.naccept == plain.stats.forward.naccept
        assert solution.stats.backward.nvjp == plain.stats.backward.nvjp


class Counted(nn.Module):
    """Counts its calls without changing itself, by a hook that TorchDynamo does not see."""

    def __init__(self):
        super().__init__()
        self.net, self.rate = MLP(width=8), 1.0

    def forward(self, t, y):
        return self.net(t, y) * self.rate


@pytest.fixture
def calls(monkeypatch):
    """The calls of Counted by Python."""
    made, forward = [], Counted.forward

    def counted(self, t, y):
        if not torch.compiler.is_compiling():
            made.append(t)
        return forward(self, t, y)

    monkeypatch.setattr(Counted, "forward", counted)
    return made


def test_func_is_not_called_after_the_capture(engine, calls):
    field = pyseminorm.compile(Counted(), mode=MODE[engine])
    gradients(field, engine)
    calls.clear()
    gradients(field, engine)
    assert calls == []


def test_tensors_are_looked_up_at_every_solve(engine):
    net = Counted()
    net.register_buffer("offset", torch.zeros(2, dtype=D))
    net.forward = lambda t, y: net.net(t, y) + net.offset
    field = pyseminorm.compile(net, mode=MODE[engine])
    gradients(field, engine)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.3)
    net.offset = torch.tensor([0.3, -0.2], dtype=D)
    _, found = gradients(field, engine, wanted=list(net.parameters()))
    _, expected = gradients(net, engine, wanted=list(net.parameters()))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_python_values_are_those_of_the_capture(engine):
    """The contract, and `check`, which tells."""
    net = Counted()
    field = pyseminorm.compile(net, mode=MODE[engine])
    before, _ = gradients(field, engine)
    field.check(0.2, batch(3))
    net.rate = 2.0
    after, _ = gradients(field, engine)
    assert torch.equal(before.ys, after.ys)
    with pytest.raises(InvalidInputError, match=r"disagrees with func at t = 0\.2 in f, the product with df/dy"):
        field.check(0.2, batch(3))


def test_check_wants_something_to_compare():
    with pytest.raises(InvalidInputError, match="nothing has been captured"):
        pyseminorm.compile(MLP(width=8), mode="trace").check(0.0, batch(3))


def frozen(net):
    net.net.net[0].weight.requires_grad_(False)


def wider(net):
    net.net = MLP(width=16)


def in_evaluation(net):
    net.eval()


class Training(Counted):
    def forward(self, t, y):
        return self.net(t, y) * (2.0 if self.training else 1.0)


@pytest.mark.parametrize("change", [frozen, wider, in_evaluation])
def test_another_form_is_captured_anew(engine, change):
    net = Training()
    field = pyseminorm.compile(net, mode=MODE[engine])
    gradients(field, engine)
    change(net)
    wanted = [p for p in net.parameters() if p.requires_grad]
    _, found = gradients(field, engine, wanted=wanted)
    _, expected = gradients(net, engine, wanted=wanted)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_shapes_dtypes_and_arguments_are_captured_anew(engine):
    field = pyseminorm.compile(lambda t, y, u, k: -u * y * k, mode=MODE[engine])
    for y0, u, k in (
        (batch(3), torch.ones(2, dtype=D), 1.0),
        (batch(4), torch.ones(2, dtype=D), 1.0),
        (batch(4), torch.full((1,), 2.0, dtype=D), 1.0),
        (batch(4), torch.full((1,), 3.0, dtype=D), 2.0),
        (batch(4).float(), torch.ones(2), 2.0),
    ):
        u = u.requires_grad_()
        _, found = gradients(field, engine, y0, [u], args=(u, k))
        _, expected = gradients(field.func, engine, y0, [u], args=(u, k))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_arrays_of_numpy_are_read_at_every_solve(engine):
    rates = np.array([1.0, 2.0])
    field = pyseminorm.compile(lambda t, y: -torch.as_tensor(rates) * y, mode=MODE[engine])
    gradients(field, engine)
    rates *= 2
    found, _ = gradients(field, engine)
    torch.testing.assert_close(found.ys, gradients(field.func, engine)[0].ys, rtol=1e-9, atol=1e-12)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2).double()
        self.b = self.a

    def forward(self, t, y, u, v):
        return torch.sin(self.a(y)) * u - torch.cos(self.b(y)) * v


@pytest.mark.parametrize("tied", [True, False])
def test_what_was_one_tensor_and_comes_apart_is_captured_anew(engine, tied):
    net, y0 = Tied(), torch.ones(2, dtype=torch.float64)
    field, u = pyseminorm.compile(net, backend=engine), torch.tensor(0.7, dtype=torch.float64)

    def outcome(func, *args):
        ys = pyseminorm.solve(func, y0, [0.0, 1.0], args=args, backend=engine).ys
        return ys.detach(), *torch.autograd.grad(ys[-1].sum(), [*net.parameters()])

    outcome(field, u, u)
    args = (u, u) if tied else (u, 0.3 * u)
    if tied:
        net.b = nn.Linear(2, 2).double()
    for _ in range(2):
        torch.testing.assert_close(outcome(field, *args), outcome(net, *args), rtol=1e-6, atol=1e-8)


def test_what_cannot_be_captured_runs_as_itself(engine):
    field = pyseminorm.compile(lambda t, y: -y if bool(y.sum() > 0) else y, mode=MODE[engine])
    for _ in range(2):
        found, _ = gradients(field, engine)
        torch.testing.assert_close(found.ys, gradients(field.func, engine)[0].ys)


def test_it_is_called_like_the_function_and_taken_by_the_others(engine):
    net = MLP(width=8)
    field = pyseminorm.compile(net, mode=MODE[engine])
    assert isinstance(field, CompiledField)
    assert torch.equal(field(torch.zeros((), dtype=D), batch(3)), net(torch.zeros((), dtype=D), batch(3)))
    assert [id(p) for p in field.parameters()] == [id(p) for p in net.parameters()]
    ys = pyseminorm.odeint_adjoint(field, batch(3), torch.tensor(T, dtype=D), adjoint_params=tuple(net.parameters()))
    torch.testing.assert_close(ys, pyseminorm.odeint_adjoint(net, batch(3), torch.tensor(T, dtype=D)))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies_have_parameters_and_captures_of_their_own(engine, again):
    field = pyseminorm.compile(MLP(width=8), mode=MODE[engine])
    before, _ = gradients(field, engine)
    copied = again(field)
    with torch.no_grad():
        for p in copied.parameters():
            p.mul_(1.3)
    found, expected = (gradients(x, engine, wanted=list(copied.parameters())) for x in (copied, copied.func))
    torch.testing.assert_close((found[0].ys, found[1]), (expected[0].ys, expected[1]), rtol=1e-9, atol=1e-12)
    assert copied.mode == field.mode and torch.equal(gradients(field, engine)[0].ys, before.ys)


def test_names_are_checked():
    with pytest.raises(InvalidInputError, match="func is a int"):
        pyseminorm.compile(3)
    with pytest.raises(InvalidInputError, match="mode='fast'"):
        pyseminorm.compile(MLP(), mode="fast")
    with pytest.raises(InvalidInputError, match='backend="julia" or "auto"'):
        pyseminorm.compile(MLP(), mode="julia", backend="torch")
    with pytest.raises(InvalidInputError, match="backend='cuda' is not known"):
        pyseminorm.compile(MLP(), backend="cuda")
    field = pyseminorm.compile(MLP(), backend="torch", mode="trace")
    with pytest.raises(InvalidInputError, match="leave compile out"):
        pyseminorm.solve(field, batch(3), T, compile="inductor")
    with pytest.raises(InvalidInputError, match="was compiled with backend='torch'"):
        pyseminorm.solve(field, batch(3), T, backend="julia")


def test_each_form_has_a_limit_of_captures_for_itself(caplog):
    """TorchDynamo's is eight; batches of ten sizes are all captured."""
    caplog.set_level(logging.INFO, logger="pyseminorm")
    net = MLP(width=8)
    field = pyseminorm.compile(net, mode="trace")
    for rows in range(1, 11):
        y0 = torch.ones(rows, 2, dtype=D)
        expected = pyseminorm.solve(net, y0, T, backend="torch").ys
        torch.testing.assert_close(pyseminorm.solve(field, y0, T, backend="torch").ys, expected)
        torch.testing.assert_close(pyseminorm.solve(net, y0, T, backend="torch", compile="trace").ys, expected)
    assert not [r for r in caplog.records if r.name == "pyseminorm"]


@pytest.mark.parametrize(
    "tolerance", [lambda x: x, lambda x: x.expand(2).clone(), lambda x: [x]], ids=["number", "vector", "list"]
)
def test_a_tolerance_that_changes_in_place_is_read_at_every_solve(tolerance):
    field = pyseminorm.compile(lambda t, y: torch.cos(3.0 * y), mode="trace", backend="torch")
    rtol, y0 = tolerance(torch.tensor(1e-2, dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    steps = []
    for _ in range(2):
        steps.append(pyseminorm.solve(field, y0, [0.0, 3.0], rtol=rtol, atol=1e-9).stats.forward.naccept)
        (rtol[0] if isinstance(rtol, list) else rtol).mul_(1e-5)
    assert steps[1] > 2 * steps[0]
