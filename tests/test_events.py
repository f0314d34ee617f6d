"""Events: found to tolerance on both engines, differentiated by the implicit function theorem, for every adjoint."""

import inspect
import math

import pytest
import torch

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    Event,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    ReturnCode,
    SolveError,
    StepCallbacks,
    UnsupportedError,
)

ADJOINTS = [
    BacksolveAdjoint(),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    DiscreteAdjoint(),
    DiscreteAdjoint(keep="stages"),
    DiscreteAdjoint(keep="checkpoints"),
]
FINE = {"rtol": 1e-11, "atol": 1e-11}


@pytest.fixture(params=ADJOINTS, ids=lambda adjoint: f"{type(adjoint).__name__}-{getattr(adjoint, 'keep', '')}")
def adjoint(request):
    """Every adjoint in turn."""
    return request.param


def number(value, *, grad=False):
    return torch.tensor(value, dtype=torch.float64, requires_grad=grad)


def fall(t, y, g):
    return torch.stack([y[1], -g])


def oscillate(t, y):
    return torch.stack([y[1], -y[0]])


def height(t, y):
    return y[0]


def sine(backend, event, end=20.0, **keywords):
    """The solution of an oscillator, which is (sin t, cos t)."""
    return pyseminorm.solve(
        oscillate, torch.tensor([0.0, 1.0], dtype=torch.float64), [0.0, end], event=event, backend=backend,
        **{**FINE, **keywords},
    )  # fmt: skip


def found(solution):
    """Which event happened when, in halves of pi."""
    return [(record.event, round(record.t.item() / (math.pi / 2), 6)) for record in solution.events]


def bouncing(backend, g, h, e, t, **keywords):
    bounce = Event(height, direction=-1, reset=lambda t, y: torch.stack([y[0], -e * y[1]]))
    y0 = torch.stack([h, torch.zeros_like(h)])
    return pyseminorm.solve(fall, y0, t, args=(g,), event=bounce, backend=backend, **{**FINE, **keywords})


def bounces(g, h, e, count):
    """The times of a ball's bounces."""
    times, speed = [torch.sqrt(2 * h / g)], torch.sqrt(2 * h * g)
    for _ in range(count - 1):
        speed = speed * e
        times.append(times[-1] + 2 * speed / g)
    return torch.stack(times)


# ---- where and when


def test_a_falling_ball(engine):
    g, h = number(9.81), number(10.0)
    s = pyseminorm.solve(
        fall, torch.stack([h, 0 * h]), [0.0, 1.0, 5.0], args=(g,), event=Event(height), backend=engine, **FINE
    )
    (record,) = s.events
    assert s.retcode is ReturnCode.Terminated and s.retcode.success
    assert record.t.item() == pytest.approx(math.sqrt(20 / 9.81), abs=1e-12)
    torch.testing.assert_close(record.y, torch.stack([0 * h, -torch.sqrt(2 * g * h)]), rtol=0, atol=1e-10)
    assert s.ts.tolist() == [0.0, 1.0] and s.ys.shape == (2, 2)
    assert s.stats.forward.times[-1] == record.t.item()


@pytest.mark.parametrize("direction, halves", [(0, [2, 4, 6, 8, 10, 12]), (1, [4, 8, 12]), (-1, [2, 6, 10])])
def test_directions(engine, direction, halves):
    """A condition that is zero at the first time does not happen there."""
    s = sine(engine, Event(height, terminal=False, direction=direction))
    assert [t for _, t in found(s)] == halves and s.retcode is ReturnCode.Success


def test_directions_are_those_of_the_solve(engine):
    """Backwards in time, sin t first falls below zero from t = 0 on."""
    s = sine(engine, Event(height, terminal=False, direction=1), end=-10.0)
    assert [t for _, t in found(s)] == [-2.0, -6.0]


def test_several_events_and_several_conditions(engine):
    watched, both = Event(lambda t, y: y[1], terminal=False), Event(lambda t, y: y - 0.5, terminal=False, direction=1)
    s = sine(engine, [watched, both, Event(lambda t, y: t - 6.0)])
    expected = [(1, 0, math.pi / 6), (0, 0, math.pi / 2), (0, 0, 3 * math.pi / 2), (1, 1, 5 * math.pi / 3), (2, 0, 6.0)]
    assert [(r.event, r.condition) for r in s.events] == [(event, condition) for event, condition, _ in expected]
    torch.testing.assert_close(
        torch.stack([r.t for r in s.events]), number([t for *_, t in expected]), rtol=0, atol=1e-10
    )
    assert s.retcode is ReturnCode.Terminated and s.ts.tolist() == [0.0]


def test_two_crossings_in_one_step(engine):
    """A step is looked at in ten places."""
    rise_and_fall = lambda t, y: (1 - 2 * t)[None]  # noqa: E731
    y0 = torch.zeros(1, dtype=torch.float64)
    s = pyseminorm.solve(
        rise_and_fall, y0, [0.0, 1.0], event=Event(lambda t, y: y[0] - 0.2, terminal=False), method="tsit5", dt=1.0,
        backend=engine,
    )  # fmt: skip
    assert s.stats.forward.naccept == 1
    roots = [(1 - math.sqrt(0.2)) / 2, (1 + math.sqrt(0.2)) / 2]
    assert [r.t.item() for r in s.events] == pytest.approx(roots, abs=1e-12)


def test_the_steps_are_those_without_events(engine):
    plain, watched = (sine(engine, event) for event in (None, Event(height, terminal=False)))
    assert plain.stats.forward.times == watched.stats.forward.times
    torch.testing.assert_close(plain.ys, watched.ys, rtol=0, atol=0)


@pytest.mark.julia
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7", "rk4"])
def test_the_engines_agree(method):
    g, h, e, t = number(9.81), number(10.0), number(0.8), [0.0, 3.0, 6.0]
    keywords = {"method": method, "rtol": 1e-4, "atol": 1e-7} | ({"dt": 0.1} if method == "rk4" else {})
    one, other = (bouncing(backend, g, h, e, t, **keywords) for backend in ("torch", "julia"))
    assert len(one.events) == len(other.events) == 3
    torch.testing.assert_close(
        torch.stack([r.t for r in one.events]), torch.stack([r.t for r in other.events]), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(one.ys, other.ys, rtol=0, atol=1e-10)


@pytest.mark.julia
def test_scimls_own_callback_agrees():
    """OrdinaryDiffEq's ContinuousCallback finds the same times: three bounces of a ball."""
    import juliacall

    s = bouncing("julia", number(9.81), number(10.0), number(0.8), [0.0, 6.0])
    julia = juliacall.Main.seval("""
        let m = PySeminorm, times = Float64[]
            fall(du, u, p, t) = (du[1] = u[2]; du[2] = -9.81; nothing)
            bounce!(integrator) = (push!(times, integrator.t); integrator.u[2] *= -0.8; nothing)
            callback = m.SciMLBase.ContinuousCallback((u, t, integrator) -> u[1], nothing, bounce!)
            problem = m.ODEProblem(fall, [10.0, 0.0], (0.0, 6.0))
            m.solve!(m.init(problem, m.Tsit5(); callback, abstol = 1e-11, reltol = 1e-11))
            times
        end
    """)
    assert [record.t.item() for record in s.events] == pytest.approx(list(julia), abs=1e-10)


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint(keep="stages")])
def test_a_function_of_julia(adjoint):
    """It runs in Julia; only the condition is called in Python."""
    product = "(dλ, dp, λ, u, p, t) -> (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)"
    decay = pyseminorm.JuliaFunction("(du, u, p, t) -> (du .= .-p .* u)", number([0.7]), vjp=product)
    k, c = decay.params, number(0.25, grad=True)
    s = pyseminorm.solve(
        decay, number([1.0]), [0.0, 9.0], event=Event(lambda t, y: y[0] - c), adjoint=adjoint, backend="julia", **FINE
    )
    ours = torch.autograd.grad(s.events[0].t, (k, c))
    torch.testing.assert_close(ours, torch.autograd.grad(-torch.log(c) / k[0], (k, c)), rtol=1e-8, atol=1e-8)


def test_an_event_at_an_output(engine):
    """The output is the state at the event, before a reset; later ones follow from the state after it."""
    double = Event(lambda t, y: t - 1.0, reset=lambda t, y: 2 * y)
    y0 = torch.ones(1, dtype=torch.float64)
    s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0, 2.0], event=double, backend=engine, **FINE)
    torch.testing.assert_close(s.ys[:, 0], number([1.0, math.exp(-1), 2 * math.exp(-2)]), rtol=0, atol=1e-9)
    s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], event=Event(lambda t, y: t - 1.0), backend=engine, **FINE)
    assert s.retcode is ReturnCode.Terminated and s.ts.tolist() == [0.0, 1.0] and s.events[0].t.item() == 1.0


def test_events_at_one_time_happen_together(engine):
    add, double = (Event(lambda t, y: t - 1.0, reset=reset) for reset in (lambda t, y: y + 1, lambda t, y: 2 * y))
    y0 = torch.zeros(2, dtype=torch.float64)
    s = pyseminorm.solve(lambda t, y: 0 * y, y0, [0.0, 2.0], event=[add, double], backend=engine)
    assert s.ys[-1].tolist() == [2.0, 2.0] and [r.event for r in s.events] == [0, 1]


def test_other_states(engine):
    """Nested states in single precision, complex ones where the engine has them, as the user sees them."""
    dtype = torch.complex64 if engine == "torch" else torch.float32
    y0 = {"a": torch.ones(2, dtype=dtype), "b": (torch.zeros(3, dtype=dtype),)}

    def grow(t, y):
        return {"a": -y["a"], "b": (torch.ones_like(y["b"][0]),)}

    def reset(t, y):
        assert t.dtype == torch.float32
        return {"a": 2 * y["a"], "b": (y["b"][0] - 1,)}

    event = Event(lambda t, y: y["b"][0].real - 1.0, reset=reset)
    s = pyseminorm.solve(grow, y0, torch.tensor([0.0, 0.5, 2.5]), event=event, backend=engine, rtol=1e-6, atol=1e-6)
    assert [r.condition for r in s.events] == [0, 1, 2] * 2 and s.events[0].t.dtype == torch.float32
    assert s.events[0].y["a"].shape == (2,)
    torch.testing.assert_close(s.ys["a"][-1].real, torch.full((2,), 4 * math.exp(-2.5)), rtol=0, atol=1e-5)
    torch.testing.assert_close(s.ys["b"][0][-1].real, torch.full((3,), 0.5), rtol=0, atol=1e-5)


def test_no_event(engine):
    s = sine(engine, Event(lambda t, y: y[0] + 2))
    assert s.events == [] and s.retcode is ReturnCode.Success and s.ys.shape == (2, 2)


# ---- gradients


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


# ---- with the rest of what a solve does


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


# ---- refused


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"fn": 1.0}, "fn=.* is a float"),
        ({"direction": 2}, "direction=2"),
        ({"direction": True}, "direction=True"),
        ({"terminal": 1}, "terminal=1"),
        ({"reset": 0.5}, "reset=.* is a float"),
        ({"terminal": True, "reset": lambda t, y: y}, "no use for a changed state"),
    ],
)
def test_bad_events(keywords, message):
    with pytest.raises(InvalidInputError, match=message):
        Event(**{"fn": height, **keywords})


@pytest.mark.parametrize(
    "fn, message",
    [
        (lambda t, y: 1.0, "a float"),
        (lambda t, y: y[0] * 1j, "complex128"),
        (lambda t, y: y[0] > 0, "bool"),
        (lambda t, y: y[None], r"shape \(1, 2\)"),
        (lambda t, y: y[:0], r"shape \(0,\)"),
        (lambda t, y: y[0] / 0 * 0, "NaN or infinity at t = 0.0"),
        (lambda t, y: y[: 1 + int(t > 0)], "returned 2 conditions at t = .* and 1"),
    ],
)
def test_bad_conditions(engine, fn, message):
    with pytest.raises(InvalidInputError, match=message):
        sine(engine, Event(fn))


@pytest.mark.parametrize("event", [height, [], [height], 3])
def test_what_is_no_event(event):
    with pytest.raises(InvalidInputError, match=r"expected a pyseminorm\.Event|empty sequence"):
        sine("torch", event)


@pytest.mark.parametrize(
    "reset, message",
    [
        (lambda t, y: None, "must return a state like y0"),
        (lambda t, y: y[:1], r"shapes \[\(1,\)\]"),
        (lambda t, y: y.float(), "float32"),
        (lambda t, y: y / 0, "NaN or infinite"),
    ],
)
def test_bad_resets(engine, reset, message):
    with pytest.raises(InvalidInputError, match=message):
        sine(engine, Event(height, reset=reset))


def test_what_a_condition_raises_arrives(engine):
    def fails(t, y):
        if t > 1:
            raise ZeroDivisionError("condition")
        return y[0] + 2

    with pytest.raises(ZeroDivisionError, match="condition") as caught:
        sine(engine, Event(fails))
    assert caught.value.last_good_state.t < 1.1


def test_every_argument_of_solve_reaches_every_segment(monkeypatch):
    """Those that came later, too: a segment without them would be solved as if they had not been given."""
    segments, given = [], {}
    monkeypatch.setattr("pyseminorm.solving.solve_segments", lambda segment, *rest: segments.append(segment))
    whole = pyseminorm.solve
    names = set(inspect.signature(whole).parameters)
    others = {name: object() for name in names - {"y0", "t", "event"}}
    others |= {"func": height, "args": (1.0,), "params": [], "max_steps": 7, "callbacks": StepCallbacks()}
    whole(y0=number(1.0), t=[0.0, 1.0], event=Event(height), **others)
    monkeypatch.setattr("pyseminorm.solving.solve", lambda func, y, t, **keywords: given.update(keywords, func=func))
    segments[0](number(1.0), number([0.0, 1.0]), object())
    assert set(given) == names - {"y0", "t"}
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
