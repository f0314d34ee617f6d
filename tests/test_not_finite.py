"""A function that misbehaves in the backward pass: right gradients, or an error that names the time."""

import math

import pytest
import torch

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, SolveError
from pyseminorm.adjoints import KEEPS

D = torch.float64
ADJOINTS = [
    BacksolveAdjoint(),
    BacksolveAdjoint(norm="rms"),
    InterpolatingAdjoint(),
    InterpolatingAdjoint(norm="torchdiffeq"),
    GaussAdjoint(),
    GaussAdjoint(interpolate=False),
    *(DiscreteAdjoint(keep=keep) for keep in KEEPS),
]
WRONG = {
    "NaN": lambda dy: dy * math.nan,
    "NaN in one element": lambda dy: torch.cat([dy[:1], dy[1:] * math.nan]),
    "infinity in one element": lambda dy: torch.cat([dy[:1], torch.full_like(dy[1:], math.inf)]),
    "minus infinity, detached": lambda dy: torch.full_like(dy, -math.inf) + 0 * dy.detach(),
}


class Misbehaving:
    """y' = -w y, but for the k-th call of the backward pass (from 1)."""

    def __init__(self, wrong, k):
        self.wrong, self.k, self.calls = wrong, k, None

    def __call__(self, t, y, w):
        dy = -w * y
        if self.calls is None:
            return dy
        self.calls += 1
        return self.wrong(dy) if self.calls == self.k else dy


def gradients(func, engine, **settings):
    y0 = torch.tensor([1.0, 2.0], dtype=D, requires_grad=True)
    w = torch.ones(2, dtype=D, requires_grad=True)
    s = pyseminorm.solve(func, y0, [0.0, 0.4, 1.0], args=(w,), backend=engine, rtol=1e-7, atol=1e-9, **settings)
    func.calls = 0
    s.ys[-1].sum().backward()
    return [*(y0.grad / math.exp(-1)).tolist(), *(w.grad / math.exp(-1)).tolist()]


def right_or_refused(func, engine, **settings):
    """Whether the gradients came out, and were right; else the error named the time."""
    try:
        found = gradients(func, engine, **settings)
    except SolveError as error:
        assert "t = " in str(error)
        assert 0.0 <= error.last_good_state.t <= 1.0 and error.last_good_state.y is not None
        return False
    tolerance = 1e-4 if "dt" not in settings else 0.05
    assert found == pytest.approx([1.0, 1.0, -1.0, -2.0], rel=tolerance)
    return True


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_value_is_no_wrong_gradient(engine, adjoint, wrong):
    settings = {"adjoint": adjoint}
    good = Misbehaving(WRONG[wrong], 0)
    assert right_or_refused(good, engine, **settings)
    for k in sorted({*range(1, 12), *range(12, good.calls + 1, 7), good.calls}):
        right_or_refused(Misbehaving(WRONG[wrong], k), engine, **settings)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
@pytest.mark.parametrize("wrong", ["NaN", "infinity in one element"])
def test_fixed_steps_do_not_get_over_it(engine, adjoint, method, wrong):
    settings = {"adjoint": adjoint, "method": method, "dt": 0.05}
    good = Misbehaving(WRONG[wrong], 0)
    assert right_or_refused(good, engine, **settings)
    for k in range(1, good.calls + 1, 5):
        right_or_refused(Misbehaving(WRONG[wrong], k), engine, **settings)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.parametrize("compile", [None, "trace", "auto"])
def test_a_product_by_a_parameter_that_is_not_finite_is_named(engine, adjoint, compile):
    w = torch.tensor([1.0, 0.0], dtype=D, requires_grad=True)
    y0 = torch.ones(2, dtype=D, requires_grad=True)

    def root(t, y):
        return -w.sqrt() * y

    s = pyseminorm.solve(root, y0, [0.0, 1.0], params=[w], backend=engine, adjoint=adjoint, compile=compile)
    with pytest.raises(SolveError, match="t = ") as info:
        s.ys[-1].sum().backward()
    assert 0.0 <= info.value.last_good_state.t <= 1.0


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
def test_a_product_by_the_state_that_is_not_finite_is_named(engine, adjoint):
    y0 = torch.tensor([1.0, 0.0], dtype=D, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: y.abs().sqrt(), y0[:1], [0.0, 1.0], backend=engine, adjoint=adjoint)
    assert torch.isfinite(torch.autograd.grad(s.ys.sum(), y0)[0]).all()
    s = pyseminorm.solve(lambda t, y: 0.0 * y.abs().sqrt(), y0, [0.0, 1.0], backend=engine, adjoint=adjoint)
    with pytest.raises(SolveError, match="t = "):
        s.ys[-1].sum().backward()


def test_a_gradient_beyond_float32_is_an_error(engine):
    y0 = torch.ones(2, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: 5.0 * y, y0, [0.0, 1.0], backend=engine)
    with pytest.raises(SolveError, match="not finite"):
        (s.ys[-1] * 1e38).sum().backward()


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), GaussAdjoint()], ids=repr)
def test_a_time_gradient_that_is_not_finite_names_its_output(engine, adjoint):
    def run(k):
        func, t = Misbehaving(WRONG["NaN"], k), torch.tensor([0.0, 0.5, 1.0], dtype=D, requires_grad=True)
        w = torch.ones(2, dtype=D)
        s = pyseminorm.solve(func, torch.ones(2, dtype=D), t, args=(w,), backend=engine, adjoint=adjoint)
        func.calls = 0
        s.ys[-1].sum().backward()
        return func.calls, t.grad

    calls, gradient = run(0)
    assert gradient[-1].item() == pytest.approx(-2 * math.exp(-1), rel=1e-3)
    with pytest.raises(SolveError, match=r"t = 1.0: dL/dt"):
        run(calls)
