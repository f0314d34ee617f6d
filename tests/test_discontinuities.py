"""Controls that jump: steps end there, and every stage sees its own side."""

import itertools

import pytest
import torch
from thresholds import GRADCHECK, TIGHT

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError

JUMPS = (0.3, 0.8)


def switched(closed):
    """y' = -y + u(t), u = 0, 5, -3 between the jumps; ``closed`` says on which side the jump itself counts."""

    def func(t, y, w):
        passed = (lambda d: t >= d) if closed else (lambda d: t > d)
        u = torch.where(passed(0.8), -3.0, torch.where(passed(0.3), 5.0, 0.0)).to(y.dtype)
        return -w * y + u

    return func


def exact(y0, t):
    """By pieces: y(s + h) = u + (y(s) - u) exp(-h) for w = 1."""
    y, start = y0, 0.0
    for end, u in ((0.3, 0.0), (0.8, 5.0), (2.0, -3.0)):
        stop = min(end, t)
        if stop > start:
            y, start = u + (y - u) * torch.exp(torch.tensor(-(stop - start), dtype=y0.dtype)), stop
    return y


@pytest.mark.parametrize("closed", [True, False], ids=[">=", ">"])
@pytest.mark.parametrize("method", ["tsit5", "vern7", "dopri5"])
def test_a_jump_costs_no_accuracy_and_no_rejections(engine, closed, method):
    y0, w = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.ones((), dtype=torch.float64)
    t = [0.0, 0.5, 0.8, 1.5]
    known = pyseminorm.solve(
        switched(closed), y0, t, args=(w,), method=method, discontinuities=JUMPS, backend=engine, rtol=1e-8, atol=1e-8
    )
    unknown = pyseminorm.solve(switched(closed), y0, t, args=(w,), method=method, backend=engine, rtol=1e-8, atol=1e-8)
    for row, time in zip(known.ys, t, strict=True):
        assert torch.allclose(row, exact(y0, time), rtol=1e-6, atol=1e-7)
    assert set(JUMPS) <= set(known.stats.forward.times)
    assert known.stats.forward.nreject < unknown.stats.forward.nreject
    assert known.stats.forward.nf < unknown.stats.forward.nf


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
@pytest.mark.parametrize("times", [[0.0, 0.5, 0.8, 1.5], [1.5, 0.8, 0.1]], ids=["increasing", "decreasing"])
def test_gradients_through_jumps(engine, adjoint, times):
    t = torch.tensor(times, dtype=torch.float64)
    weights = torch.randn(len(times), 2, dtype=torch.float64)

    def loss(y0, w):
        ys = pyseminorm.solve(
            switched(True), y0, t, args=(w,), discontinuities=JUMPS, adjoint=adjoint(), backend=engine, **TIGHT
        ).ys
        return (ys * weights).sum()

    y0 = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (y0, w), **GRADCHECK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_stage_sees_the_other_side_or_the_jump_itself(engine, dtype):
    seen = []

    def func(t, y):
        seen.append(t.item())
        return torch.cos(t) * y

    y0 = torch.ones(2, dtype=dtype, requires_grad=True)
    s = pyseminorm.solve(func, y0, [0.0, 1.0], discontinuities=(0.0, 0.3, 1.0), backend=engine, rtol=1e-3)
    s.ys.sum().backward()
    jump = torch.tensor(0.3, dtype=dtype).item()
    assert len(seen) > 20 and all(0.0 < t < 1.0 and t != jump for t in seen)


def test_bad_discontinuities_are_refused():
    for bad in (0.3, ["now"], [float("nan")]):
        with pytest.raises(InvalidInputError, match="discontinuities"):
            pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], discontinuities=bad)


def test_the_backward_solve_has_a_limit_of_its_own(engine):
    ys = pyseminorm.solve(
        lambda t, y: -y, torch.ones(2, requires_grad=True), [0.0, 9.0], backend=engine, rtol=1e-6,
        adjoint=BacksolveAdjoint(max_steps=3),
    ).ys  # fmt: skip
    with pytest.raises(pyseminorm.SolveError, match="max_steps"):
        ys.sum().backward()


@pytest.mark.parametrize("method", ["tsit5", "rk4"])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
@pytest.mark.parametrize(
    "jumps", [(0.3, 0.8, 0.8, 0.3), (0.3, 0.8, 0.8 + 2**-53, 0.8 + 2**-52)], ids=["twice", "close"]
)
def test_a_discontinuity_given_twice_counts_once(engine, method, adjoint, jumps):
    y0 = torch.tensor([2.0, -1.0], dtype=torch.float64)

    def gradients(discontinuities):
        y, w = y0.clone().requires_grad_(), torch.ones((), dtype=torch.float64, requires_grad=True)
        settings = {"method": method, "discontinuities": discontinuities, "dt": 0.02 if method == "rk4" else None}
        ys = pyseminorm.solve(
            switched(True), y, [0.0, 0.5, 1.5], args=(w,), adjoint=adjoint(), backend=engine, **settings, **TIGHT
        ).ys
        assert torch.allclose(ys[-1], exact(y0, 1.5), rtol=1e-6, atol=1e-6)
        return torch.cat([x.reshape(-1) for x in torch.autograd.grad(ys.sum(), (y, w))])

    assert torch.allclose(gradients(jumps), gradients(JUMPS), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
@pytest.mark.parametrize("method", ["tsit5", "rk4"])
@pytest.mark.parametrize("times", [[0.0, 0.3, 0.8], [0.3, 0.8], [0.8, 0.3, 0.0], [0.8, 0.3]], ids=str)
def test_a_time_gradient_at_a_discontinuity_is_that_of_the_solves_own_side(engine, adjoint, method, times):
    slopes = {0.0: 1.0, 0.3: -2.0, 0.8: 4.0}  # of y from these times on

    def func(t, y):
        return torch.where(t >= 0.8, 4.0, torch.where(t >= 0.3, -2.0, 1.0)).to(y.dtype).expand(1)

    t = torch.tensor(times, dtype=torch.float64, requires_grad=True)
    settings = {"method": method, "dt": 0.2 if method == "rk4" else None, "discontinuities": JUMPS}
    s = pyseminorm.solve(func, torch.zeros(1, dtype=torch.float64), t, adjoint=adjoint(), backend=engine, **settings)
    (gradient,) = torch.autograd.grad(s.ys[-1].sum(), t)
    between = [slopes[min(pair)] for pair in itertools.pairwise(times)]
    assert gradient[0].item() == pytest.approx(-between[0]) and gradient[-1].item() == pytest.approx(between[-1])
