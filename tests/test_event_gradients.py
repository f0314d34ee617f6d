"""Gradients of events: by the implicit function theorem, for every adjoint and both engines."""

import math

import pytest
import torch
from event_problems import FINE, bounces, bouncing, every_adjoint, fall, height, number, sine

import pyseminorm
from pyseminorm import DiscreteAdjoint, Event, InterpolatingAdjoint, UnsupportedError


@every_adjoint
def test_gradients_of_a_falling_ball(engine, adjoint):
    g, h = number(9.81, grad=True), number(10.0, grad=True)
    s = pyseminorm.solve(
        fall, torch.stack([h, 0 * h]), [0.0, 5.0], args=(g,), event=Event(height), adjoint=adjoint, backend=engine,
        **FINE,
    )  # fmt: skip
    (record,) = s.events
    closed = torch.sqrt(2 * h / g), -torch.sqrt(2 * h * g)
    for value, expected in zip((record.t, record.y[1]), closed, strict=True):
        ours = torch.autograd.grad(value, (g, h), retain_graph=True)
        torch.testing.assert_close(ours, torch.autograd.grad(expected, (g, h), retain_graph=True), rtol=1e-8, atol=1e-8)
    assert s.stats.backward.evaluations > 0
    assert torch.autograd.grad(record.y[0], h)[0].abs() < 1e-12  # it stays on the ground


@every_adjoint
def test_gradients_of_a_bouncing_ball(engine, adjoint):
    """To the acceleration, the height, and the parameter of the reset; of times, states and outputs."""
    inputs = g, h, e = number(9.81, grad=True), number(10.0, grad=True), number(0.8, grad=True)
    s = bouncing(engine, *inputs, [0.0, 2.0, 7.5], adjoint=adjoint)
    times = bounces(*inputs, len(s.events))
    assert len(s.events) == 4
    torch.testing.assert_close(torch.stack([r.t for r in s.events]), times, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(torch.stack([r.t for r in s.events]).square().sum(), inputs, retain_graph=True)
    theirs = torch.autograd.grad(times.square().sum(), inputs, retain_graph=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
    speed, since = e**4 * torch.sqrt(2 * h * g), 7.5 - times[-1]
    last = speed * since - g * since**2 / 2
    torch.testing.assert_close(s.ys[-1, 0], last, rtol=0, atol=1e-9)
    ours, theirs = torch.autograd.grad(s.ys[-1, 0], inputs), torch.autograd.grad(last, inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@every_adjoint
def test_a_learnable_threshold(engine, adjoint):
    """The time of exp(-k t) = c is -log(c) / k, and its state is c."""
    k, c = number(0.7, grad=True), number(0.25, grad=True)
    y0 = torch.ones(1, dtype=torch.float64)
    s = pyseminorm.solve(
        lambda t, y: -k * y, y0, [0.0, 9.0], params=[k], event=Event(lambda t, y: y[0] - c), adjoint=adjoint,
        backend=engine, **FINE,
    )  # fmt: skip
    (record,) = s.events
    ours = torch.autograd.grad(record.t, (k, c), retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(-torch.log(c) / k, (k, c)), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.autograd.grad(record.y[0], (k, c)), (0 * k, 1 + 0 * c), rtol=0, atol=1e-8)


def test_only_the_condition_needs_a_gradient(engine):
    at = number(1.5, grad=True)
    s = sine(engine, Event(lambda t, y: t - at, reset=lambda t, y: torch.zeros_like(y)))
    slope = number([math.cos(1.5), -math.sin(1.5)])
    assert torch.autograd.grad(s.events[0].t, at, retain_graph=True)[0].item() == 1.0
    for i in range(2):
        gradient = torch.autograd.grad(s.events[0].y[i], at, retain_graph=True)[0]
        torch.testing.assert_close(gradient, slope[i], rtol=0, atol=1e-9)


@every_adjoint
def test_gradcheck(engine, adjoint):
    """Everything that may move an event: y0, args, t, parameters of func, fn and reset; a reset makes a new segment."""

    def values(y0, u, t, matrix, threshold, factor):
        first = Event(lambda t, y: y.sum() - threshold * torch.cos(t), reset=lambda t, y: y * factor + t * u)
        watched = Event(lambda t, y: y[0] * y[1] - 0.05 * threshold, terminal=False)
        s = pyseminorm.solve(
            lambda t, y, u: torch.tanh(matrix @ y) + u * t, y0, t, args=(u,), params=[matrix], event=[first, watched],
            adjoint=adjoint, backend=engine, method="vern7", **FINE,
        )  # fmt: skip
        assert [r.event for r in s.events] == [1, 0]
        return (s.ys, *(x for r in s.events for x in (r.t, r.y)))

    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 2, dtype=torch.float64, generator=generator)
    inputs = number([0.1, 0.2]), number([0.4, 0.6]), number([0.1, 0.5, 1.4, 2.0]), matrix, number(1.2), number(0.3)
    inputs = tuple(x.requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(values, inputs, eps=1e-5, atol=1e-5, rtol=1e-4, nondet_tol=1e-9, fast_mode=True)


def test_the_discrete_adjoint_differentiates_the_numbers(engine):
    """Of coarse fixed steps too: the time is that of a crossing of their dense output."""

    def time(h, c):
        s = pyseminorm.solve(
            lambda t, y: -y * torch.sin(3 * t), h[None], [0.0, 4.0], method="rk4", dt=0.5, adjoint=DiscreteAdjoint(),
            event=Event(lambda t, y: y[0] ** 2 - c), backend=engine,
        )  # fmt: skip
        return s.events[0].t, s.events[0].y

    assert torch.autograd.gradcheck(time, (number(1.2, grad=True), number(0.8, grad=True)), atol=1e-9, rtol=1e-8)


def test_an_event_time_is_trained(engine):
    """The half period of theta'' = -w^2 theta is pi / w: Newton's method finds the w of a wanted one."""
    w = number(1.4, grad=True)
    for _ in range(4):
        s = pyseminorm.solve(
            lambda t, y, w: torch.stack([y[1], -(w**2) * y[0]]), number([0.0, 1.0]), [0.0, 9.0], args=(w,),
            event=Event(height), adjoint=InterpolatingAdjoint(), backend=engine, rtol=1e-9, atol=1e-9,
        )  # fmt: skip
        time = s.events[0].t
        (slope,) = torch.autograd.grad(time, w)
        with torch.no_grad():
            w -= (time - 2.0) / slope
    assert w.item() == pytest.approx(math.pi / 2, abs=1e-7)


def test_no_gradient_where_autograd_does_not_see(engine):
    """Outputs do not depend on such a time; asking for its gradient is refused."""
    w = number(1.0, grad=True)
    s = pyseminorm.solve(
        lambda t, y: w * y, number([0.25]), [0.0, 2.0], params=[w], backend=engine,
        event=Event(lambda t, y: y[0].detach() - 0.5, terminal=False),
    )  # fmt: skip
    s.ys.sum().backward()
    with pytest.raises(UnsupportedError, match="not differentiable"):
        s.events[0].t.backward()


def test_a_step_function_has_no_rate(engine):
    w = number(-1.0, grad=True)
    s = pyseminorm.solve(
        lambda t, y: w + 0 * y, number([0.5]), [0.0, 2.0], params=[w], event=Event(lambda t, y: y[0].sign() + 0.5),
        backend=engine,
    )  # fmt: skip
    assert s.events[0].t.item() == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(UnsupportedError, match=r"changes at the rate 0\.0"):
        s.events[0].t.backward()


def test_double_backward_is_refused(engine):
    g, h = number(9.81, grad=True), number(10.0, grad=True)
    s = pyseminorm.solve(fall, torch.stack([h, 0 * h]), [0.0, 5.0], args=(g,), event=Event(height), backend=engine)
    (gradient,) = torch.autograd.grad(s.events[0].t, h, create_graph=True)
    with pytest.raises(UnsupportedError, match="double backward"):
        gradient.backward()


def test_no_grad_gives_values(engine):
    with torch.no_grad():
        s = bouncing(engine, number(9.81), number(10.0, grad=True), number(0.8), [0.0, 4.0])
    assert (
        len(s.events) == 2 and not any(x.requires_grad for r in s.events for x in (r.t, r.y)) and not s.ys.requires_grad
    )
