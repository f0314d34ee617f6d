"""Where steps end, and how long they may be: tstops, dtmin, dtmax, and a grid for fixed steps; on both engines."""

import itertools

import pytest
import torch
from problems import Pendulum, batch, relative

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    ReturnCode,
    SolveError,
)

ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint]
TIMES = {"increasing": [0.1, 0.8, 2.0], "decreasing": [2.0, 0.8, 0.1]}
STOPS = [0.31, 0.77, 1.5, 7.0]
GRID = sorted(
    {
        *torch.linspace(0.1, 1.2, 40, dtype=torch.float64).tolist(),
        *torch.linspace(1.2, 2.0, 15, dtype=torch.float64).tolist(),
        0.1,
        0.8,
        2.0,
    }
)


def sizes(times):
    return [abs(b - a) for a, b in itertools.pairwise(times)]


def solved(engine, order="increasing", adjoint=BacksolveAdjoint, field=None, **settings):
    field, y0 = field or Pendulum(), batch(3).requires_grad_()
    s = pyseminorm.solve(field, y0, TIMES[order], backend=engine, adjoint=adjoint(), **settings)
    gradients = torch.autograd.grad(s.ys.pow(2).sum(), [y0, *field.parameters()])
    return s, gradients


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_steps_end_at_tstops_in_both_passes(engine, adjoint, order):
    s, gradients = solved(engine, order, adjoint, tstops=STOPS, rtol=1e-6, atol=1e-8)
    for times in (s.stats.forward.times, s.stats.backward.times):
        assert {0.31, 0.77, 1.5} < set(times) and 7.0 not in times
    plain, exact = solved(engine, order, adjoint, rtol=1e-6, atol=1e-8)
    assert not {0.31, 0.77, 1.5} & set(plain.stats.forward.times)
    assert all(relative(a, b) < 1e-4 for a, b in zip(gradients, exact, strict=True))


def test_fixed_steps_end_at_tstops_too(engine):
    s, _ = solved(engine, method="rk4", dt=0.3, tstops=STOPS)
    assert s.stats.forward.times == pytest.approx([0.1, 0.31, 0.61, 0.77, 1.07, 1.37, 1.5, 1.8, 2.0])
    s, _ = solved(engine, method="rk4", tstops=STOPS)
    assert s.stats.forward.times == pytest.approx([0.1, 0.31, 0.77, 0.8, 1.5, 2.0])


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_no_step_is_longer_than_dtmax(engine, adjoint):
    s, gradients = solved(engine, adjoint=adjoint, dtmax=0.07, rtol=1e-4)
    for times in (s.stats.forward.times, s.stats.backward.times):
        assert max(sizes(times)) == pytest.approx(0.07)
    _, exact = solved(engine, adjoint=adjoint, rtol=1e-9, atol=1e-9)
    assert all(relative(a, b) < 1e-4 for a, b in zip(gradients, exact, strict=True))


def test_a_solve_that_wants_a_step_below_dtmin_fails(engine):
    with pytest.raises(SolveError) as caught:
        solved(engine, rtol=1e-8, atol=1e-8, dtmin=0.5)
    assert caught.value.retcode is ReturnCode.DtLessThanMin
    s, _ = solved(engine, field=Pendulum(), dtmin=1e-6)
    assert s.retcode.success


def test_a_first_stop_may_be_nearer_than_dtmin(engine):
    rate, y0 = torch.ones(2, dtype=torch.float64, requires_grad=True), torch.ones(2, dtype=torch.float64)
    given = {"rtol": 1e-3, "atol": 1e-3, "dtmin": 0.15, "backend": engine, "params": [rate]}
    for stops in ({"tstops": [0.1]}, {"discontinuities": [0.1]}):
        s = pyseminorm.solve(lambda t, y: -rate * y, y0, [0.0, 0.9, 1.0], **given, **stops)
        s.ys.sum().backward()  # whose first stop is at 0.9
        assert s.stats.forward.times[1] == 0.1 and s.stats.backward.times[1] == 0.9
    with pytest.raises(SolveError, match="below its minimum"):
        pyseminorm.solve(lambda t, y: -rate * y, y0, [0.0, 1.0], **given, dt=0.05)


@pytest.mark.julia
@pytest.mark.parametrize(
    ("bounds", "apart"),
    [
        ({"dtmin": 1e-3, "dtmax": 0.1}, 1e-8),
        ({"dtmax": 0.02}, 1e-8),
        ({"tstops": STOPS}, 1e-8),
        ({"tstops": [0.14, 1.96]}, 1e-5),  # near the ends: the first steps are tiny, and their errors rounding
    ],
    ids=str,
)
def test_both_engines_take_the_same_steps_within_bounds(bounds, apart):
    (a, ga), (b, gb) = (solved(x, field=Pendulum(), rtol=1e-4, **bounds) for x in ("torch", "julia"))
    for x, y in ((a.stats.forward, b.stats.forward), (a.stats.backward, b.stats.backward)):
        assert x.times == pytest.approx(y.times, abs=apart) and (x.naccept, x.nreject) == (y.naccept, y.nreject)
    assert all(relative(x, y) < 1e-8 for x, y in zip(ga, gb, strict=True))


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_fixed_steps_follow_a_grid(engine, adjoint, order):
    grid = GRID if order == "increasing" else GRID[::-1]
    s, gradients = solved(engine, order, adjoint, method="rk4", dt=torch.tensor(grid, dtype=torch.float64))
    assert s.stats.forward.times == grid and s.stats.backward.times == grid[::-1]
    _, exact = solved(engine, order, adjoint, rtol=1e-9, atol=1e-9)
    assert all(relative(a, b) < 1e-2 for a, b in zip(gradients, exact, strict=True))


def test_outputs_between_the_points_of_a_grid_are_dense_output(engine):
    y0, grid = batch(3), [0.1, 0.45, 1.1, 2.0]
    s = pyseminorm.solve(Pendulum(), y0, [0.1, 0.8, 2.0], method="rk4", dt=grid, backend=engine, dense=True)
    assert s.stats.forward.times == grid
    assert torch.allclose(s.interpolate(0.8), s.ys[1], rtol=0, atol=1e-15)
    ends = pyseminorm.solve(Pendulum(), y0, grid, method="rk4", backend=engine)
    assert torch.equal(s.ys[-1], ends.ys[-1])


def test_a_grid_can_be_made_for_the_outputs(engine):
    calls = []

    def halves(times):
        calls.append(times)
        return [x for a, b in itertools.pairwise(times) for x in (a, (a + b) / 2)] + [times[-1]]

    s, _ = solved(engine, method="euler", dt=halves)
    assert s.stats.forward.times == pytest.approx([0.1, 0.45, 0.8, 1.4, 2.0])
    assert s.stats.backward.times == pytest.approx([2.0, 1.4, 0.8, 0.45, 0.1])
    assert {(0.1, 0.8, 2.0), (2.0, 0.8), (0.8, 0.1)} == set(calls)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"method": "rk4", "dt": lambda t: [0.0, 2.0]}, "grid goes from 0.0 to 2.0: expected times from 0.1 to 2.0"),
        ({"method": "rk4", "dt": [0.1, 0.5, 0.4, 2.0]}, None),
        ({"method": "rk4", "dt": lambda t: [t[0], 3.0, t[-1]]}, "not sorted"),
        ({"method": "rk4", "dt": ["a"]}, "expected a step size, or a vector of times"),
        ({"dt": [0.1, 2.0]}, "dt is a grid, and tsit5 chooses its steps"),
        ({"method": "rk4", "dtmax": 0.1}, "dtmin and dtmax are for adaptive methods"),
        ({"dtmin": 1.0, "dtmax": 0.1}, "dtmin=1.0 is larger than dtmax=0.1"),
        ({"dtmax": 0.0}, "dtmax=0.0"),
        ({"tstops": [float("nan")]}, "tstops contains NaN"),
        ({"tstops": 0.5}, "tstops=0.5: expected a sequence of times"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    def solve():
        return pyseminorm.solve(lambda t, y: -y, batch(1), TIMES["increasing"], backend="torch", **settings)

    if message is None:  # a vector is a set of times
        assert solve().stats.forward.times == [0.1, 0.4, 0.5, 2.0]
        return
    with pytest.raises(InvalidInputError, match=message):
        solve()
