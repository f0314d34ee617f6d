"""Backward passes made again by finer tolerances, where their gradient is not as exact as its param_rtol asks for."""

import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from forced import D, Forced, T, error_of, gradient

from pyseminorm import BacksolveAdjoint, Event, GaussAdjoint, InterpolatingAdjoint, PassStats, StepCallbacks, solve
from pyseminorm.passes import finer_passes
from pyseminorm.passes.gradient_error import out_of_reach

ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint]


@pytest.fixture
def left_as_they_are(monkeypatch):
    """Let no pass be made again."""
    monkeypatch.setattr(finer_passes, "_find_shares", lambda *given: finer_passes.Shares(1.0, 1.0))


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("compile", [None, "trace"])
def test_a_gradient_that_cancels_is_as_exact_as_asked(engine, adjoint, compile):
    """Of 300 parts of it one is left: what the states err, at rtol=1e-3, counts as many times."""
    field = Forced(60, 3, silent=False)
    found, stats, _ = gradient(field, adjoint(param_rtol=1e-2), 1e-3, engine, compile=compile)
    assert error_of(found, field) < 0.03
    assert stats.cancellation > 200 and stats.param_error < 0.02
    assert stats.nf > 100  # the forward solve


@pytest.mark.parametrize(("adjoint", "seed", "rtol"), [(BacksolveAdjoint, 3, 3e-3), (InterpolatingAdjoint, 0, 1e-3)])
def test_which_it_is_not_along_the_states_as_they_were(adjoint, seed, rtol, left_as_they_are):
    field = Forced(60, seed, silent=False)
    found, stats, warned = gradient(field, adjoint(param_rtol=1e-2), rtol)
    assert error_of(found, field) > 0.04 and stats.nf == 0
    assert warned


@pytest.mark.parametrize("compile", [None, "trace"])
def test_nor_is_a_quadrature(engine, compile):
    """`GaussAdjoint` knows from the parts that it looks at how much of its sums cancels."""
    field = Forced(60, 0, silent=False)
    found, stats, _ = gradient(field, GaussAdjoint(param_rtol=1e-2), 1e-3, engine, compile=compile)
    assert error_of(found, field) < 0.03 and stats.nf > 100
    assert stats.cancellation > 50


def test_a_quadrature_along_the_states_as_they_were_is_wrong(left_as_they_are):
    field = Forced(60, 0, silent=False)
    found, stats, warned = gradient(field, GaussAdjoint(param_rtol=1e-2), 1e-3)
    assert error_of(found, field) > 0.1 and stats.nf == 0
    assert warned


def test_how_much_of_a_quadrature_cancels(engine):
    """The gradient by p of p t: all steps add alike."""
    p = torch.zeros(1, dtype=D, requires_grad=True)
    for param_rtol, expected in ((1e-2, 1.0), (None, None)):
        y0, adjoint = torch.ones(1, dtype=D), GaussAdjoint(param_rtol=param_rtol)
        s = solve(lambda t, y: p * torch.ones_like(y), y0, [0.0, 1.0, 2.5], params=[p], adjoint=adjoint, backend=engine)
        s.ys[-1].sum().backward()
        assert s.stats.backward.cancellation == (expected and pytest.approx(expected, rel=1e-6))


def test_control_is_finer_where_less_is_left_than_it_saw():
    """At rtol=1e-5 the states are right."""
    field = Forced(60, 0, silent=False)
    found, stats, warned = gradient(field, InterpolatingAdjoint(param_rtol=1e-2), 1e-5)
    assert error_of(found, field) < 0.02 and not warned
    assert stats.nf == 0 and stats.nvjp > 600


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_what_is_right_is_made_once(engine, adjoint):
    for field in (Forced(20, 1), Forced(40, 5, silent=False)):
        found, stats, _ = gradient(field, adjoint(param_rtol=1e-2), 1e-3, engine)
        assert stats.nf == 0 and stats.nvjp < 260
        assert error_of(found, field) < 0.01


def test_a_log_line_says_so_once(caplog):
    finer_passes._tell.cache_clear()
    with caplog.at_level(logging.INFO, logger="pyseminorm"):
        for _ in range(2):
            gradient(Forced(60, 3, silent=False), BacksolveAdjoint(param_rtol=1e-2), 1e-3)
    assert sum("as its param_rtol asks for" in line for line in caplog.messages) == 1


def test_callbacks_see_both_passes():
    seen = []
    watch = StepCallbacks(accept_step_adjoint=lambda t, state, dt: seen.append(t))
    field = Forced(60, 3, silent=False)
    _, stats, _ = gradient(field, BacksolveAdjoint(param_rtol=1e-2), 1e-3, callbacks=watch)
    assert len(seen) > stats.naccept and seen.count(2.0) == 2


def backward(s):
    """The gradient by the parameters, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        s.ys.pow(2).mean().backward()
    return [str(x.message) for x in said]


def test_the_parts_of_a_solve_with_events_are_warned_of():
    field = Forced(60, 3, silent=False)
    event = Event(lambda t, y: y.sum() + 1e3, terminal=True)
    adjoint = BacksolveAdjoint(param_rtol=1e-2)
    s = solve(field, field.y0, T, rtol=1e-3, atol=1e-6, adjoint=adjoint, backend="torch", event=event)
    said = backward(s)
    assert s.stats.backward.nf == 0 and s.stats.backward.cancellation > 200
    assert any("most of the gradient cancels" in line for line in said)


@pytest.mark.parametrize("compile", [None, "auto"])
def test_an_initial_state_that_was_changed_since_is_not_solved_from(engine, compile):
    field = Forced(60, 3, silent=False)
    y0, adjoint = field.y0.clone(), BacksolveAdjoint(param_rtol=1e-2)
    s = solve(field, y0, T, rtol=1e-3, atol=1e-6, adjoint=adjoint, backend=engine, compile=compile)
    y0.mul_(2.0)  # no gradient is wanted of it; Julia code reads it where it is, the others have a copy
    said = backward(s)
    found = torch.cat([p.grad.reshape(-1) for p in field.parameters()])
    assert error_of(found, field) < (0.15 if said else 0.03)


def test_a_finer_pass_that_fails_leaves_what_there_was():
    field = Forced(60, 0, silent=False)
    found, stats, warned = gradient(field, InterpolatingAdjoint(param_rtol=1e-2, max_steps=70), 1e-3)
    assert stats.naccept < 70 and warned
    assert stats.nf > 100 and stats.nvjp > 6 * (70 + stats.naccept)  # of both, and of the forward solve
    assert 0.04 < error_of(found, field) < 0.2


@pytest.mark.parametrize(
    ("adjoint", "error", "shares"),
    [
        (BacksolveAdjoint(param_rtol=1e-2), 0.009, (1.0, 1.0)),
        (BacksolveAdjoint(param_rtol=1e-2), 0.02, (1.0, 0.25)),
        (InterpolatingAdjoint(param_rtol=1e-2), 0.5, (1.0, 0.1)),
        (GaussAdjoint(param_rtol=1e-2), 0.5, (1.0, 1.0)),  # it has refined its quadrature as far as it can
        (BacksolveAdjoint(), 0.5, (1.0, 1.0)),
    ],
)
def test_control_is_as_much_finer_as_the_estimate_is_too_large(adjoint, error, shares):
    problem = SimpleNamespace(adjoint=adjoint, ys=torch.zeros(2, 1, dtype=D))
    options = SimpleNamespace(rtol=1e-3, traits=SimpleNamespace(adaptive=True))
    assert finer_passes._find_shares(problem, PassStats(param_error=error), options, PassStats()) == shares


def test_what_the_states_make_is_as_many_times_as_large_as_the_gradient_cancels():
    forward = PassStats(naccept=20, state_error=1e-3)
    for cancellation, expected in ((None, 0.0), (5.0, 0.0), (20.0, 2e-3), (200.0, 2e-2)):
        backward = PassStats(naccept=20, state_error=1e-4, cancellation=cancellation)
        assert out_of_reach(backward, forward) == pytest.approx(expected)


def test_how_much_cancels_is_known(engine):
    """The gradient by p of p sin(pi t) over two periods: what steps add is 2 / pi in each half, and cancels."""
    p = torch.zeros(1, dtype=D, requires_grad=True)
    y0 = torch.ones(1, dtype=D)
    s = solve(
        lambda t, y: p * torch.sin(torch.pi * t), y0, [0.0, 1.0], params=[p], rtol=1e-6, dtmax=0.05,
        adjoint=BacksolveAdjoint(), backend=engine,
    )  # fmt: skip
    s.ys[-1].sum().backward()
    assert s.stats.backward.cancellation == pytest.approx(1.0, rel=1e-6)
    s = solve(
        lambda t, y: p * torch.sin(torch.pi * t), y0, [0.0, 2.5], params=[p], rtol=1e-6, dtmax=0.05, tstops=[1.0, 2.0],
        adjoint=BacksolveAdjoint(), backend=engine,
    )  # fmt: skip
    s.ys[-1].sum().backward()
    assert s.stats.backward.cancellation == pytest.approx(5.0, rel=1e-6)
