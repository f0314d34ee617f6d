"""What backward() reads is what the forward pass read: saved for it, copied, or refused by name once it was changed."""

import math

import pytest
import torch
from test_shared_tensors import ADJOINTS, Field, close, loss, named, reference, states
from torch import nn

import pyseminorm
from pyseminorm import UnsupportedError

D = torch.float64


@pytest.fixture(params=ADJOINTS, ids=named)
def adjoint(request):
    return request.param


@pytest.fixture(params=[None, "trace"], ids=["eager", "trace"])
def solve(request, engine, adjoint):
    def run(func, y0, t=(0.0, 1.0), **settings):
        settings = {"rtol": 1e-8, "atol": 1e-10, "adjoint": adjoint, "backend": engine, **settings}
        return pyseminorm.solve(func, y0, t, compile=request.param, **settings)

    return run


@pytest.mark.parametrize("steps", [1, 3])
def test_a_rollout_in_one_buffer(solve, steps):
    field, state, total = Field(), states(), 0.0
    for _ in range(steps):
        ys = solve(field, state).ys
        total = total + loss(ys[-1])
        state.copy_(ys[-1].detach())
    right, y = 0.0, states()
    for _ in range(steps):
        y = reference(field, y.detach())
        right = right + loss(y)
    found = torch.autograd.grad(total, list(field.parameters()))
    assert all(map(close, found, torch.autograd.grad(right, list(field.parameters()))))


def test_y0_that_requires_grad_is_overwritten(solve):
    y0 = states().requires_grad_()
    total = loss(solve(lambda t, y: -y, y0).ys[-1])
    with torch.no_grad():
        y0.fill_(100.0)
    (found,) = torch.autograd.grad(total, y0)
    assert close(found, 2 * states() * math.exp(-2))


def test_a_tensor_in_args_without_gradient_is_overwritten(solve):
    u, y0 = torch.ones(3, dtype=D), states().requires_grad_()
    total = loss(solve(lambda t, y, u: -u * y, y0, args=(u,)).ys[-1])
    u.fill_(5.0)
    try:
        (found,) = torch.autograd.grad(total, y0)
    except UnsupportedError as error:
        assert "changed in place" in str(error)
    else:
        assert close(found, 2 * states() * math.exp(-2))


def test_a_tensor_in_args_with_gradient_is_overwritten(solve):
    u, y0 = torch.ones(3, dtype=D, requires_grad=True), states()
    total = loss(solve(lambda t, y, u: -u * y, y0, args=(u,)).ys[-1])
    with torch.no_grad():
        u.fill_(5.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_parameter_is_overwritten(solve):
    field = Field()
    total = loss(solve(field, states()).ys[-1])
    with torch.no_grad():
        field.linear.weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_parameter_is_overwritten_where_hooks_switch_autograds_own_look_off(solve):
    field, identity = Field(), lambda x: x
    with torch.autograd.graph.saved_tensors_hooks(identity, identity):
        total = loss(solve(field, states()).ys[-1])
    with torch.no_grad():
        field.linear.weight.mul_(2.0)
    with pytest.raises(UnsupportedError, match="changed in place"):
        total.backward()


def test_a_buffer_is_overwritten(solve):
    field = Field()
    field.scale = torch.full((3,), 0.5, dtype=D)
    y0 = states().requires_grad_()
    total = loss(solve(field, y0).ys[-1])
    (right,) = torch.autograd.grad(loss(reference(field, y0)), y0)
    field.scale.fill_(3.0)
    try:
        (found,) = torch.autograd.grad(total, y0)
    except UnsupportedError as error:
        assert "changed in place" in str(error)
    else:
        assert close(found, right)


def test_a_buffer_that_func_itself_writes_into_is_no_reason_to_refuse(engine, adjoint):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3).double()
            self.register_buffer("calls", torch.zeros((), dtype=D))

        def forward(self, t, y):
            self.calls += 1
            return torch.tanh(self.linear(y)) + 0 * self.calls

    field = Counting()
    ys = pyseminorm.solve(field, states(), [0.0, 1.0], adjoint=adjoint, backend=engine, rtol=1e-8, atol=1e-10).ys
    (found,) = torch.autograd.grad(loss(ys[-1]), field.linear.weight)
    assert close(found, torch.autograd.grad(loss(reference(field, states())), field.linear.weight)[0])


def test_interpolate_after_y0_and_the_outputs_were_overwritten(engine):
    y0 = torch.tensor([1.0, -2.0], dtype=D)
    s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 0.5, 1.0], dense=True, backend=engine, rtol=1e-8, atol=1e-10)
    times = [0.0, 0.05, 0.5, 1.0]
    before = s.interpolate(times).clone()
    y0.fill_(100.0)
    s.ys.fill_(50.0)
    assert torch.equal(s.interpolate(times), before)
    assert close(before[1], torch.tensor([1.0, -2.0], dtype=D) * math.exp(-0.05))


def test_gradient_by_times_where_func_returns_its_state(solve):
    y0, t = torch.full((3,), 0.5, dtype=D), torch.tensor([0.0, 1.0], dtype=D, requires_grad=True)
    total = solve(lambda t, y: y, y0, t).ys[-1].sum()
    y0.fill_(100.0)
    (found,) = torch.autograd.grad(total, t)
    assert close(found, torch.tensor([-1.5, 1.5], dtype=D) * math.e)


def test_func_that_writes_its_value_into_one_buffer(engine, adjoint):
    out = torch.empty(2, 3, dtype=D)

    def func(t, y):
        if torch.is_grad_enabled():
            return -y * w
        torch.mul(y, -w, out=out)
        return out

    w = torch.tensor([0.5, 1.0, 2.0], dtype=D, requires_grad=True)
    ys = pyseminorm.solve(
        func, states(), [0.0, 1.0], params=[w], adjoint=adjoint, backend=engine, rtol=1e-8, atol=1e-10
    ).ys
    (found,) = torch.autograd.grad(loss(ys[-1]), w)
    (right,) = torch.autograd.grad(loss(states() * torch.exp(-w)), w)
    assert close(found, right)
