"""Solves that do not finish: the caller's own exception, or ours with the last good state; and then life goes on."""

import math

import pytest
import torch
from problems import LotkaVolterra, batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError, ReturnCode, SolveError

T = torch.linspace(0, 2, 9, dtype=torch.float64)


class Broken(Exception):
    pass


def works_again(engine):
    y = pyseminorm.solve(lambda t, y: -y, torch.ones(2, dtype=torch.float64), [0.0, 1.0], backend=engine, rtol=1e-8).ys
    assert abs(y[-1, 0].item() - math.exp(-1)) < 1e-6


@pytest.mark.parametrize("kind", [Broken, KeyboardInterrupt])
def test_an_exception_in_func_arrives_as_itself_with_the_last_good_state(engine, kind):
    raised = kind("here")

    def func(t, y):
        if t > 1.0:
            raise raised
        return -y

    with pytest.raises(kind, match="here") as info:
        pyseminorm.solve(func, torch.ones(2, dtype=torch.float64), T, backend=engine)
    assert info.value is raised
    state = info.value.last_good_state
    assert 0 < state.t <= 1.0 and state.stats.naccept >= 1
    assert torch.allclose(state.y, torch.full((2,), math.exp(-state.t), dtype=torch.float64), rtol=1e-2)
    works_again(engine)


def test_an_exception_in_the_backward_pass_arrives_as_itself(engine):
    w = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    armed = []

    def func(t, y):
        if armed:
            raise Broken("in the vjp")
        return w * y

    ys = pyseminorm.solve(func, torch.ones(2, dtype=torch.float64), T, params=[w], backend=engine).ys
    armed.append(True)
    with pytest.raises(Broken, match="in the vjp"):
        ys.sum().backward()
    works_again(engine)


def test_an_exception_in_a_norm_arrives_as_itself(engine):
    def norm(y):
        raise Broken("in the norm")

    with pytest.raises(Broken, match="in the norm"):
        pyseminorm.solve(lambda t, y: -y, torch.ones(2, dtype=torch.float64), T, norm=norm, backend=engine)
    works_again(engine)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blow_up_raises_ours_with_the_last_good_state(engine, dtype):
    """y' = y^2 from 1 is 1/(1 - t): it ends at t = 1."""
    with pytest.raises(SolveError, match="last_good_state") as info:
        pyseminorm.solve(lambda t, y: y**2, torch.ones(1, dtype=dtype), T, backend=engine, max_steps=2000)
    error = info.value
    assert error.retcode in (ReturnCode.Unstable, ReturnCode.DtLessThanMin, ReturnCode.MaxIters, ReturnCode.DtNaN)
    assert 0.9 < error.last_good_state.t < 1.01
    assert torch.isfinite(error.last_good_state.y).all() and error.last_good_state.y.item() > 5
    works_again(engine)


@pytest.mark.parametrize(("end", "shape"), [(2.0, (1,)), (4.0, (1,)), (2.0, ())])
def test_blow_up_with_fixed_steps_raises_ours_too(engine, end, shape):
    """Fixed steps have no error estimate that would see it."""
    times = [0.0, 1.0, end]
    func = lambda t, y: y**2 * 20  # noqa: E731
    with pytest.raises(SolveError) as info:
        pyseminorm.solve(func, torch.ones(shape), times, method="euler", dt=0.25, backend=engine)
    assert info.value.retcode is ReturnCode.Unstable
    seen = "is not finite: steps of a fixed size go on" in str(info.value)
    assert seen == (engine == "torch")  # OrdinaryDiffEq looks at every step's state
    state = info.value.last_good_state
    assert state.t in times[:2] and torch.isfinite(state.y).all()
    s = pyseminorm.solve(func, torch.ones(shape), times, method="euler", dt=0.25, backend=engine, throw=False)
    assert s.retcode is ReturnCode.Unstable and s.ys[-1].isnan().all() and torch.isfinite(s.ys[0]).all()
    works_again(engine)


def test_max_steps_raises_ours(engine):
    with pytest.raises(SolveError, match="max_steps") as info:
        pyseminorm.solve(LotkaVolterra(), batch(1).abs() + 1, [0.0, 50.0], backend=engine, max_steps=10, rtol=1e-8)
    assert info.value.retcode is ReturnCode.MaxIters
    assert info.value.last_good_state.stats.naccept + info.value.last_good_state.stats.nreject == 10
    works_again(engine)


def test_throw_false_hands_back_what_was_reached(engine):
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: y**2, y0, T, backend=engine, throw=False, max_steps=2000)
    assert not s.retcode.success
    reached = T < 0.99
    assert torch.isfinite(s.ys[reached]).all() and s.ys[T > 1.01].isnan().all()
    # The reached rows can be trained on; the others cannot.
    (gradient,) = torch.autograd.grad(s.ys[3].sum(), y0, retain_graph=True)
    assert abs(gradient.item() - 1 / (1 - T[3].item()) ** 2) < 0.3
    with pytest.raises(SolveError, match="did not reach"):
        s.ys[-1].sum().backward()


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
def test_a_failing_backward_solve_raises_ours(engine, adjoint):
    field = LotkaVolterra()
    ys = pyseminorm.solve(
        field,
        torch.ones(2, dtype=torch.float64),
        [0.0, 3.0],
        backend=engine,
        max_steps=60,
        rtol=1e-4,
        adjoint=adjoint(rtol=1e-12, atol=1e-12),
    ).ys
    with pytest.raises(SolveError, match="the backward solve stopped") as info:
        ys[-1].sum().backward()
    assert info.value.retcode is ReturnCode.MaxIters
    assert info.value.last_good_state.stats.evaluations > 0
    works_again(engine)


def test_a_non_finite_cotangent_names_its_output(engine):
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ys = pyseminorm.solve(lambda t, y: -y, y0, T, backend=engine).ys
    with pytest.raises(SolveError, match="output 4"):
        (ys[4] * float("inf")).sum().backward()


def test_retcodes_are_sentences():
    assert all(len(code.value.split()) > 4 for code in ReturnCode)


@pytest.mark.parametrize("t", [[0.0, 0.5, 2.0], [0.0, -0.5, -2.0]], ids=["increasing", "decreasing"])
def test_a_failed_solve_interpolates_as_far_as_it_came(engine, t):
    way = math.copysign(1.0, t[-1])
    y0 = torch.ones(1, dtype=torch.float64)
    s = pyseminorm.solve(
        lambda t, y: way * y**2, y0, t, backend=engine, throw=False, max_steps=2000, dense=True, rtol=1e-6, atol=1e-8
    )
    assert not s.retcode.success
    assert s.interpolate(way * 0.25).item() == pytest.approx(1 / 0.75, rel=1e-4)
    assert s.interpolate([]).shape == (0, 1)
    for beyond in (1.5, 2.0):
        with pytest.raises(InvalidInputError, match="lies outside"):
            s.interpolate(way * beyond)


def test_a_solve_without_steps_interpolates_nothing(engine):
    s = pyseminorm.solve(
        lambda t, y: torch.where(t > 0, math.nan, 1.0) * y, torch.ones(2, dtype=torch.float64), [0.0, 1.0],
        backend=engine, throw=False, dense=True, max_steps=50,
    )  # fmt: skip
    assert not s.retcode.success and s.stats.forward.naccept == 0
    with pytest.raises(InvalidInputError, match="made no step"):
        s.interpolate(0.0)
