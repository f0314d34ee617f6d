"""Events with the rest of what a solve does: limits, methods, outputs, callbacks, compiled functions."""

import inspect
import math

import pytest
import torch
from event_problems import FINE, bounces, bouncing, every_adjoint, fall, found, height, number, oscillate, sine

import pyseminorm
from pyseminorm import Event, InvalidInputError, ReturnCode, SolveError, StepCallbacks


def test_a_ball_at_rest_is_an_error(engine):
    """Infinitely many bounces before 5 s, and none is jumped over."""
    y0 = (number(9.81), number(10.0), number(0.5))
    with pytest.raises(SolveError, match=r"event\[0\] happens again and again") as caught:
        bouncing(engine, *y0, [0.0, 6.0])
    state = caught.value.last_good_state
    assert state.t == pytest.approx(3 * math.sqrt(20 / 9.81), abs=1e-9) and state.y.abs().max() < 1e-9
    s = bouncing(engine, *y0, [0.0, 1.0, 6.0], throw=False)
    assert s.retcode is ReturnCode.DtLessThanMin and s.ys[1].isfinite().all() and s.ys[2].isnan().all()
    torch.testing.assert_close(torch.stack([r.t for r in s.events[:20]]), bounces(*y0, 20), rtol=0, atol=1e-9)


def test_a_ball_at_rest_in_single_precision():
    y0 = torch.tensor([10.0, 0.0])
    bounce = Event(height, direction=-1, reset=lambda t, y: torch.stack([y[0], -0.5 * y[1]]))
    fallen = lambda t, y: fall(t, y, torch.tensor(9.81))  # noqa: E731
    s = pyseminorm.solve(fallen, y0, [0.0, 6.0], event=bounce, backend="torch", throw=False)
    assert not s.retcode.success or s.ys[-1, 0].abs() < 1e-4


def test_max_steps_counts_all_segments(engine):
    event = Event(lambda t, y: torch.sin(20 * t), reset=lambda t, y: y)
    y0 = torch.ones(1, dtype=torch.float64)
    with pytest.raises(SolveError) as caught:
        pyseminorm.solve(lambda t, y: -y, y0, [0.0, 5.0], event=event, max_steps=12, backend=engine)
    assert caught.value.retcode is ReturnCode.MaxIters
    assert 0.0 < caught.value.last_good_state.t < 4.0


def test_an_unfinished_solve_keeps_its_events(engine):
    blow_up = lambda t, y: y**2  # noqa: E731
    y0 = torch.ones(1, dtype=torch.float64)
    event = Event(lambda t, y: y[0] - 2, terminal=False)
    s = pyseminorm.solve(blow_up, y0, [0.0, 0.25, 2.0], event=event, throw=False, backend=engine)
    assert not s.retcode.success and s.ys[2].isnan().all() and s.events[0].t.item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("method, dt", [("euler", 1e-2), ("rk4", 0.1), ("bosh3", None), ("vern7", None)])
def test_every_kind_of_method(engine, method, dt):
    s = sine(engine, Event(height), end=5.0, method=method, dt=dt, rtol=1e-8, atol=1e-8)
    assert s.events[0].t.item() == pytest.approx(math.pi, abs=2e-2 if method == "euler" else 1e-5)


def test_steps_from_output_to_output(engine):
    s = sine(engine, Event(height, terminal=False), end=10.0, method="rk4", dt=0.05)
    outputs = pyseminorm.solve(
        oscillate, number([0.0, 1.0]), torch.linspace(0, 10, 201, dtype=torch.float64), method="rk4",
        event=Event(height, terminal=False), backend=engine,
    )  # fmt: skip
    times = [torch.stack([r.t for r in solution.events]) for solution in (s, outputs)]
    torch.testing.assert_close(*times, rtol=0, atol=1e-9)


@every_adjoint
def test_discontinuities(engine, adjoint):
    """A push that begins at 1.5, after an event that stops the motion."""
    a = number(2.0, grad=True)
    stop = Event(lambda t, y: y[0] - 1.0, reset=lambda t, y: 0 * y, direction=1)

    def push(t, y, a):
        return torch.where(t < 1.5, torch.ones_like(y), a * y + 1)

    s = pyseminorm.solve(
        push, number([0.0]), [0.0, 1.25, 1.75, 9.0], args=(a,), event=stop, discontinuities=[1.5], adjoint=adjoint,
        backend=engine, **FINE,
    )  # fmt: skip
    later = 1.5 + torch.log((1 + a) / (1 + a / 2)) / a  # from 0.5 to 1
    assert [r.t.item() for r in s.events[:2]] == pytest.approx([1.0, later.item()], abs=1e-9)
    ours, theirs = torch.autograd.grad(s.events[1].t, a), torch.autograd.grad(later, a)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def test_dense_output_of_all_segments(engine):
    g, h, e = number(9.81), number(10.0), number(0.8)
    t = torch.linspace(0, 5, 21, dtype=torch.float64)
    s = bouncing(engine, g, h, e, [0.0, 5.0], dense=True)
    torch.testing.assert_close(s.interpolate(t), bouncing(engine, g, h, e, t).ys, rtol=0, atol=1e-9)
    first = s.events[0]
    torch.testing.assert_close(s.interpolate(first.t), first.y, rtol=0, atol=1e-10)  # before the bounce
    ended = pyseminorm.solve(
        fall, torch.stack([h, 0 * h]), [0.0, 5.0], args=(g,), event=Event(height), dense=True, backend=engine
    )
    with pytest.raises(InvalidInputError, match="outside"):
        ended.interpolate(2.0)


@every_adjoint
def test_gradients_of_dense_output(engine, adjoint):
    """As if the times had been outputs, to the times too."""
    inputs = number(9.81, grad=True), number(10.0, grad=True), number(0.8, grad=True)
    t = number([0.5, 1.2, 2.0, 3.5, 4.5], grad=True)
    weights = torch.linspace(1, 2, 8, dtype=torch.float64).reshape(4, 2)
    late = bouncing(engine, *inputs, [0.0, 5.0], dense=True, adjoint=adjoint).interpolate(t[[3, 0, 2, 1]])
    ours = torch.autograd.grad((late * weights[[3, 0, 2, 1]]).sum(), (*inputs, t))
    outputs = bouncing(engine, *inputs, torch.cat([number([0.0]), t]), adjoint=adjoint).ys[1:5]
    theirs = torch.autograd.grad((outputs * weights).sum(), (*inputs, t))
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def test_callbacks_see_all_segments(engine):
    starts = []
    watch = StepCallbacks(accept_step=lambda t, y, dt: starts.append(t))
    s = bouncing(engine, number(9.81), number(10.0), number(0.8), [0.0, 5.0], callbacks=watch)
    assert len(starts) == s.stats.forward.naccept and set(starts) <= set(s.stats.forward.times)
    assert s.stats.forward.times == sorted(s.stats.forward.times)


@every_adjoint
@pytest.mark.capture
@pytest.mark.parametrize("form", ["trace", "auto"])
def test_compiled_functions(engine, form, adjoint):
    inputs = number(9.81, grad=True), number(10.0, grad=True), number(0.8, grad=True)
    eager, compiled = (
        bouncing(engine, *inputs, [0.0, 5.0], adjoint=adjoint, compile=compile) for compile in (None, form)
    )
    torch.testing.assert_close(eager.ys, compiled.ys, rtol=0, atol=1e-10)
    ours, theirs = (torch.autograd.grad(s.events[-1].t + s.ys[-1, 0], inputs) for s in (eager, compiled))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.capture
def test_a_compiled_field(engine):
    field = pyseminorm.compile(oscillate, backend=engine)
    for _ in range(2):
        assert found(sine(engine, Event(height), end=5.0)) == [(0, 2.0)]
        assert found(pyseminorm_sine(field, engine)) == [(0, 2.0)]


def pyseminorm_sine(field, engine):
    y0 = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return pyseminorm.solve(field, y0, [0.0, 5.0], event=Event(height), backend=engine, **FINE)


def test_every_argument_of_solve_reaches_every_segment(monkeypatch):
    """Those that came later, too: a segment without them would be solved as if they had not been given."""
    segments = []
    monkeypatch.setattr("pyseminorm.solving.solve_segments", lambda segment, *rest: segments.append(segment))
    whole = pyseminorm.solve
    names = set(inspect.signature(whole).parameters)
    others = {name: object() for name in names - {"y0", "t", "event"}}
    others |= {"func": height, "args": (1.0,), "params": [], "max_steps": 7, "callbacks": StepCallbacks()}
    whole(y0=number(1.0), t=[0.0, 1.0], event=Event(height), **others)
    given = {**segments[0].keywords, "func": segments[0].args[0]}
    assert set(given) == names - {"y0", "t", "event"}
    assert all(given[name] is value for name, value in others.items())


def test_bounds_of_steps_hold_between_events_too(engine):
    event = Event(height, terminal=False)
    with_event, without = (sine(engine, e, 7.0, tstops=[0.5, 4.0], dtmax=0.1) for e in (event, None))
    assert with_event.stats.forward.times == without.stats.forward.times
    assert {0.5, 4.0} <= set(with_event.stats.forward.times)


@pytest.mark.parametrize("own", [False, True])
def test_the_last_good_state_counts_the_segments_before(engine, own):
    """1/(1 - t) is reset from 2 to 4 at t = 1/2, and blows up at t = 3/4, or where func raises."""

    resets = []

    def blow_up(t, y):
        if own and resets and t > 0.6:
            raise ZeroDivisionError("func")
        return y**2

    def double(t, y):
        resets.append(t)
        return 2 * y

    condition = lambda t, y: y - 2.0  # noqa: E731
    event = Event(condition, terminal=False, direction=1, reset=double)
    first = pyseminorm.solve(blow_up, number(1.0), [0.0, 10.0], event=Event(condition), backend=engine)
    with pytest.raises(ZeroDivisionError if own else SolveError) as caught:
        pyseminorm.solve(blow_up, number(1.0), [0.0, 10.0], event=event, backend=engine)
    good = caught.value.last_good_state
    assert 0.5 < good.t < 0.76
    assert good.stats.times[0] == 0.0 and good.stats.times == sorted(good.stats.times)
    assert good.stats.naccept > first.stats.forward.naccept and good.stats.nf >= first.stats.forward.nf
