"""Solves that begin with the step size that the one before proposed."""

import math
import shutil

import pytest
import torch
from adjoints import ADJOINTS
from problems import MLP, Oscillating, Pendulum, batch, cotangents, relative

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    Event,
    InterpolatingAdjoint,
    InvalidInputError,
    ReturnCode,
    WarmStart,
)
from pyseminorm.methods.tableaus import ADAPTIVE_METHODS

T = torch.linspace(0, 2, 3, dtype=torch.float64)
NAMES = ["backsolve", "interpolating", "gauss", "discrete", "stages"]
INDUCTOR = [pytest.mark.capture, pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler")]
COMPILED = [pytest.param("trace", x, id=f"trace, {name}") for x, name in zip(ADJOINTS, NAMES, strict=True)] + [
    pytest.param("inductor", ADJOINTS[i], marks=INDUCTOR, id=f"inductor, {NAMES[i]}") for i in (0, 4)
]


def train(field, engine, count, **settings):
    """The statistics and the gradient of every one of so many solves, one after the other."""
    found = []
    for _ in range(count):
        field.zero_grad()
        settings = {"rtol": 1e-6, "atol": 1e-8, **settings}
        s = pyseminorm.solve(field, batch(3), T, backend=engine, **settings)
        (s.ys * cotangents(*s.ys.shape)).sum().backward()
        found.append((s.stats, torch.cat([p.grad.reshape(-1) for p in field.parameters()])))
    return found


def first_step(stats):
    return abs(stats.times[1] - stats.times[0])


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=NAMES)
def test_later_solves_take_fewer_steps_to_the_same_gradient(engine, adjoint):
    warm = WarmStart()
    (cold, exact), *_, (last, found) = train(MLP(), engine, 6, adjoint=adjoint, dt=warm)
    assert last.forward.naccept < cold.forward.naccept
    assert last.forward.nf < cold.forward.nf
    assert relative(found, exact) < 1e-4
    assert first_step(last.forward) > 2 * first_step(cold.forward)
    if not isinstance(adjoint, DiscreteAdjoint):
        assert last.backward.evaluations < cold.backward.evaluations
        assert first_step(last.backward) > 2 * first_step(cold.backward)


def test_the_first_step_is_the_one_proposed_and_the_rest_is_as_ever(engine):
    warm = WarmStart(forward=0.01, backward=0.02)
    (first, gradient), (second, _) = train(Pendulum(), engine, 2, dt=warm)
    assert first_step(first.forward) == pytest.approx(0.01, rel=1e-6)
    assert first_step(first.backward) == pytest.approx(0.02, rel=1e-6)
    assert first_step(second.forward) == pytest.approx(first.forward.proposed, rel=1e-6)
    assert first_step(second.backward) == pytest.approx(first.backward.proposed, rel=1e-6)
    assert (warm.forward, warm.backward) == (second.forward.proposed, second.backward.proposed)
    (other, same), *_ = train(Pendulum(), engine, 1, dt=0.01)  # whose backward pass guesses
    assert other.forward.times == first.forward.times
    assert relative(gradient, same) < 1e-5


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=NAMES)
def test_both_engines_propose_the_same(adjoint):
    ours, theirs = (train(Pendulum(), engine, 4, adjoint=adjoint, dt=WarmStart()) for engine in ("torch", "julia"))
    for (mine, _), (other, _) in zip(ours, theirs, strict=True):
        for a, b in ((mine.forward, other.forward), (mine.backward, other.backward)):
            assert (a.naccept, a.nreject) == (b.naccept, b.nreject)
            assert a.proposed == (None if b.proposed is None else pytest.approx(b.proposed, rel=1e-5))


@pytest.mark.parametrize(("compile", "adjoint"), [(None, ADJOINTS[0]), *COMPILED])
def test_a_step_that_is_too_long_is_rejected(adjoint, compile):
    (cold, exact), *_ = train(Pendulum(), "torch", 1, adjoint=adjoint)
    warm = WarmStart(forward=1.7, backward=1.9)
    (stats, gradient), (again, same) = train(Pendulum(), "torch", 2, adjoint=adjoint, dt=warm, compile=compile)
    assert stats.forward.nreject > cold.forward.nreject
    assert again.forward.nreject <= stats.forward.nreject
    assert relative(gradient, exact) < 1e-4
    assert relative(same, exact) < 1e-4


@pytest.mark.parametrize(("compile", "adjoint"), COMPILED)
def test_compiled_fields_take_the_same_steps(adjoint, compile):
    ways = (train(Pendulum(), "torch", 4, adjoint=adjoint, dt=WarmStart(), compile=way) for way in (None, compile))
    for (mine, gradient), (other, expected) in zip(*ways, strict=True):
        for a, b in ((mine.forward, other.forward), (mine.backward, other.backward)):
            assert (a.naccept, a.nreject, a.nf) == (b.naccept, b.nreject, b.nf)
            assert a.proposed == (None if b.proposed is None else pytest.approx(b.proposed, rel=1e-4))
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ADAPTIVE_METHODS)
def test_every_adaptive_method(engine, method):
    settings = {"method": method, "adjoint": InterpolatingAdjoint(), "rtol": 1e-4, "atol": 1e-6}
    (cold, exact), *_, (last, found) = train(Pendulum(), engine, 4, dt=WarmStart(), **settings)
    assert last.forward.naccept <= cold.forward.naccept
    assert relative(found, exact) < 2e-2


def test_a_pass_by_fixed_steps_proposes_nothing(engine):
    warm = WarmStart()
    (stats, _), *_ = train(Pendulum(), engine, 2, dt=warm, adjoint=InterpolatingAdjoint(method="rk4"))
    assert warm.forward is not None
    assert (warm.backward, stats.backward.proposed) == (None, None)
    with pytest.raises(InvalidInputError, match="dt is a WarmStart, for adaptive methods: give a step size, since rk4"):
        pyseminorm.solve(Pendulum(), batch(3), T, method="rk4", dt=warm, backend=engine)


def test_a_solve_that_fails_leaves_nothing(engine):
    warm = WarmStart(forward=0.1, backward=0.1)
    s = pyseminorm.solve(lambda t, y: y**2, torch.ones(1), T, dt=warm, backend=engine, throw=False)
    assert s.retcode is not ReturnCode.Success
    assert (warm.forward, warm.backward) == (None, 0.1)


def test_a_backward_solve_that_fails_leaves_nothing(engine):
    warm = WarmStart(backward=0.1)
    s = pyseminorm.solve(MLP(), batch(3), T, dt=warm, backend=engine, adjoint=BacksolveAdjoint(max_steps=1))
    with pytest.raises(pyseminorm.SolveError):
        s.ys.sum().backward()
    assert warm.forward is not None
    assert warm.backward is None


def test_a_step_out_of_all_bounds_comes_back(engine):
    warm = WarmStart(forward=1e6)
    s = pyseminorm.solve(lambda t, y: torch.exp(-y), torch.zeros(2), [0.0, 1e6], dt=warm, backend=engine)
    assert s.ys[-1].tolist() == pytest.approx([math.log(1e6 + 1)] * 2, rel=1e-2)
    assert warm.forward < 1e3


@pytest.mark.parametrize(("t", "dtmin"), [(T, 1e-4), (T + 1e6, None), (1e6 - T, None)])
def test_a_step_that_is_shorter_than_steps_may_be_is_none(engine, t, dtmin):
    y0, warm = batch(3).requires_grad_(), WarmStart(forward=1e-12, backward=1e-12)
    s = pyseminorm.solve(Pendulum(), y0, t, dt=warm, dtmin=dtmin, backend=engine)
    s.ys.sum().backward()
    assert first_step(s.stats.forward) > 1e-3 and first_step(s.stats.backward) > 1e-3
    assert warm.forward > 1e-3 and warm.backward > 1e-3


def test_no_step_is_longer_than_the_solve():
    t, warm = torch.linspace(0, 1, 4, dtype=torch.float64), WarmStart()
    for _ in range(20):  # a step has no error, whatever its size, and torchdiffeq's go beyond the end
        ys = pyseminorm.odeint(lambda t, y: t**3 + 0 * y, torch.zeros_like(t[:1]), t, options={"first_step": warm})
        assert relative(ys[:, 0], t**4 / 4) < 1e-6


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, "a"])
def test_sizes_are_positive_numbers(value):
    with pytest.raises(InvalidInputError, match="WarmStart"):
        WarmStart(backward=value)
    warm = WarmStart(forward=0.1)
    with pytest.raises(InvalidInputError, match="WarmStart"):
        warm.forward = value
    assert warm.forward == 0.1
    warm.forward = torch.tensor(0.25)
    assert isinstance(warm.forward, float)


def test_direct_adjoint_and_the_steps_of_torchdiffeq():
    for settings in ({"adjoint": DirectAdjoint()}, {"method": "dopri5", "controller": "torchdiffeq"}):
        (cold, exact), *_, (last, found) = train(MLP(), "torch", 5, dt=WarmStart(), **settings)
        assert last.forward.naccept < cold.forward.naccept
        assert relative(found, exact) < 1e-4


@pytest.mark.parametrize("solve", [pyseminorm.odeint, pyseminorm.odeint_adjoint])
def test_torchdiffeq_functions_take_it_as_first_step(solve):
    field, warm, settings = MLP(), WarmStart(), {"rtol": 1e-6, "atol": 1e-8}
    cold = solve(field, batch(3), T, **settings)
    for _ in range(5):
        ys = solve(field, batch(3), T, options={"first_step": warm}, **settings)
        ys.sum().backward()
    assert warm.forward > 0.1
    assert (warm.backward is None) == (solve is pyseminorm.odeint)
    assert relative(ys, cold) < 1e-5


def test_a_second_look_solves_along_the_same_steps(engine):
    field = Oscillating()
    with pytest.warns(pyseminorm.GradientErrorWarning):
        (*_, (stats, _)) = train(field, engine, 3, adjoint=DiscreteAdjoint(), dt=WarmStart(), rtol=1e-2, atol=1e-2)
    assert stats.backward.nvjp_param > 0  # it was made


def test_parts_between_events_count_as_solves(engine):
    warm, ground = WarmStart(), Event(lambda t, y: y[0], reset=lambda t, y: y * torch.tensor([0.0, -0.8]))
    fall = lambda t, y: torch.stack([y[1], -9.81 * torch.cos(y[0] * 0.1)])  # noqa: E731
    heights = []
    for _ in range(3):
        s = pyseminorm.solve(
            fall, torch.tensor([1.0, 0.0]), [0.0, 1.5], event=ground, dt=warm, backend=engine, rtol=1e-6, atol=1e-6
        )
        heights.append(float(s.ys[-1, 0]))
    assert heights[1:] == pytest.approx(heights[:1] * 2, abs=1e-4)
    assert s.stats.forward.proposed is not None
    assert warm.forward is not None


@pytest.mark.parametrize("compile", [None, "trace", pytest.param("inductor", marks=INDUCTOR)])
def test_a_field_that_is_not_finite_at_the_start_is_named(compile):
    with pytest.raises(InvalidInputError, match="non-finite values at the first time"):
        pyseminorm.solve(
            lambda t, y: y / t, torch.ones(2), [0.0, 1.0], dt=WarmStart(forward=0.1), backend="torch", compile=compile
        )
