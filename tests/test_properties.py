"""What holds for every solve: linear systems by the matrix exponential, the way back, symmetries, events in time."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, Event, GaussAdjoint, InterpolatingAdjoint, solve

D = torch.float64
METHODS = st.sampled_from(["tsit5", "dopri5", "vern7"])
ADJOINTS = st.sampled_from([BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()])
EXACT = {"rtol": 1e-9, "atol": 1e-9}
some = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def systems(draw):
    """A matrix (n, n), a start (rows, n), two times."""
    n, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    matrix, y0 = (torch.randn(rows, n, dtype=D, generator=generator) for rows in (n, 3))
    start, length = draw(st.floats(-2, 2)), draw(st.floats(0.1, 1.5))
    return matrix.requires_grad_(), y0.requires_grad_(), [start, start + draw(st.sampled_from([-1, 1])) * length]


def _linear(matrix):
    return lambda t, y: y @ matrix.T


def _wave(t, y):
    return torch.stack([y[..., 1], -torch.sin(y[..., 0]) + torch.cos(t)], dim=-1)


@given(system=systems(), method=METHODS, adjoint=ADJOINTS)
@some
def test_linear_systems_follow_the_matrix_exponential(engine, system, method, adjoint):
    matrix, y0, t = system
    exact = y0 @ torch.linalg.matrix_exp(matrix * (t[1] - t[0])).T
    s = solve(_linear(matrix), y0, t, params=[matrix], method=method, adjoint=adjoint, backend=engine, **EXACT)
    size = exact.abs().max().item()
    assert torch.allclose(s.ys[1], exact, rtol=1e-6, atol=1e-6 * size)
    weights = torch.cos(torch.arange(exact.numel(), dtype=D)).view_as(exact)
    ours, theirs = (torch.autograd.grad((x * weights).sum(), [matrix, y0]) for x in (s.ys[1], exact))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * max(b.abs().max().item(), 1e-3))


STARTS = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=5).map(
    lambda rows: torch.tensor(rows, dtype=D)
)
ENDS = st.floats(0.2, 3)


@given(y0=STARTS, end=ENDS, method=METHODS)
@some
def test_there_and_back(engine, y0, end, method):
    there = solve(_wave, y0, [0.0, end], method=method, backend=engine, **EXACT).ys[1]
    back = solve(_wave, there, [end, 0.0], method=method, backend=engine, **EXACT).ys[1]
    assert torch.allclose(back, y0, atol=1e-5)


@given(y0=STARTS, end=ENDS, inner=st.sets(st.floats(0.01, 0.99), max_size=5), method=METHODS)
@some
def test_further_output_times_change_nothing(engine, y0, end, inner, method):
    t = sorted({0.0, end, *(end * x for x in inner)})
    few, many = (solve(_wave, y0, times, method=method, backend=engine) for times in ([0.0, end], t))
    assert torch.allclose(few.ys[-1], many.ys[-1], rtol=1e-12, atol=1e-12)
    assert few.stats.forward.naccept == many.stats.forward.naccept


@given(y0=STARTS, end=ENDS, parts=st.lists(st.floats(0, 1), min_size=1, max_size=5), method=METHODS, adjoint=ADJOINTS)
@some
def test_interpolated_times_are_outputs(engine, y0, end, parts, method, adjoint):
    """In any order, some of them twice, near each other or at the ends: the same values and gradients."""
    start, late = y0.clone().requires_grad_(), torch.tensor(parts, dtype=D) * end
    t, places = torch.cat([torch.tensor([0.0, end], dtype=D), late]).unique(return_inverse=True)
    kept = solve(_wave, start, [0.0, end], method=method, adjoint=adjoint, dense=True, backend=engine, **EXACT)
    ys = solve(_wave, start, t, method=method, adjoint=adjoint, backend=engine, **EXACT).ys[places[2:]]
    values = kept.interpolate(late)
    assert torch.allclose(values, ys, rtol=1e-10, atol=1e-10)
    found, wanted = (torch.autograd.grad(x.sin().sum(), start)[0] for x in (values, ys))
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)


@given(y0=STARTS, end=ENDS, adjoint=ADJOINTS, data=st.data())
@some
def test_a_permuted_batch_is_the_permuted_solution(engine, y0, end, adjoint, data):
    order = torch.tensor(data.draw(st.permutations(range(len(y0)))))
    gradients, values = [], []
    for rows in (torch.arange(len(y0)), order):
        start = y0[rows].requires_grad_()
        s = solve(_wave, start, [0.0, end], adjoint=adjoint, backend=engine)
        values.append(s.ys.detach())
        gradients += torch.autograd.grad(s.ys.sin().sum(), start)
    assert torch.allclose(values[1], values[0][:, order], rtol=1e-9, atol=1e-9)
    assert torch.allclose(gradients[1], gradients[0][order], rtol=1e-6, atol=1e-6)


@given(y0=STARTS, end=ENDS, adjoint=ADJOINTS, a=st.floats(-3, 3), b=st.floats(-3, 3))
@some
def test_gradients_are_linear_in_the_cotangent(engine, y0, end, adjoint, a, b):
    start = y0.clone().requires_grad_()
    ys = solve(_wave, start, [0.0, end / 2, end], adjoint=adjoint, backend=engine, rtol=1e-6, atol=1e-8).ys
    first, second = torch.cos(torch.arange(ys.numel(), dtype=D)).view_as(ys), torch.ones_like(ys)

    def gradient(cotangent):
        return torch.autograd.grad(ys, start, cotangent, retain_graph=True)[0]

    together, apart = gradient(a * first + b * second), a * gradient(first) + b * gradient(second)
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-4)
    assert torch.equal(gradient(8 * first), 8 * gradient(first))  # a power of two is exact


@given(rate=st.floats(0.2, 3), start=st.floats(1.5, 20), method=METHODS, adjoint=ADJOINTS)
@some
def test_a_decay_reaches_one_when_it_should(rate, start, method, adjoint):
    rate, y0 = (torch.tensor([x], dtype=D, requires_grad=True) for x in (rate, start))
    s = solve(
        lambda t, y: -rate * y, y0, [0.0, 40.0], params=[rate], event=Event(lambda t, y: y[0] - 1), method=method,
        adjoint=adjoint, backend="torch", **EXACT,
    )  # fmt: skip
    exact = torch.log(y0) / rate
    assert s.events[0].t.item() == pytest.approx(exact.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(x.sum(), [rate, y0]) for x in (s.events[0].t, exact))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)


@given(height=st.floats(0.5, 50), speed=st.floats(-5, 5), gravity=st.floats(1, 20), method=METHODS)
@some
def test_a_ball_hits_the_ground_when_it_should(height, speed, gravity, method):
    force = torch.tensor(-gravity, dtype=D)
    s = solve(
        lambda t, y: torch.stack([y[1], force]), torch.tensor([height, speed], dtype=D), [0.0, 100.0],
        event=Event(lambda t, y: y[0], direction=-1), method=method, backend="torch",
    )  # fmt: skip
    impact = math.sqrt(speed**2 + 2 * gravity * height)
    assert s.events[0].t.item() == pytest.approx((speed + impact) / gravity, rel=1e-6)
    assert s.events[0].y[1].item() == pytest.approx(-impact, rel=1e-6)
