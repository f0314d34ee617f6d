"""Events: found to tolerance on both engines, and what is refused of them."""

import math

import pytest
import torch
from event_problems import FINE, bouncing, fall, found, height, number, sine

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, Event, GaussAdjoint, InvalidInputError, ReturnCode


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


def test_a_state_is_reset_on_the_way_back_as_on_the_way_there(engine):
    """A condition that is zero where the solve goes on has the sign that it goes to, in the direction of the solve."""
    bounce = Event(height, direction=-1, reset=lambda t, y: torch.stack([y[0], -0.8 * y[1]]))
    ball, times = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
    there, back = (
        pyseminorm.solve(
            lambda t, y, way=way: way * fall(t, y, number(4.0)), ball, way * times, event=bounce, backend=engine
        )
        for way in (1.0, -1.0)
    )
    assert [record.t.item() for record in back.events] == [-record.t.item() for record in there.events] != []
    assert torch.equal(back.ys, there.ys)
    halved = Event(lambda t, y: t - 0.75, reset=lambda t, y: y / 2)
    s = pyseminorm.solve(lambda t, y: -y, ball, [1.5, 0.0], event=halved, backend=engine, **FINE)
    assert s.ys[-1, 0].item() == pytest.approx(math.exp(1.5) / 2)


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
        (lambda t, y: y.mul_(0.5)[0], "changes the state y in place"),
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
