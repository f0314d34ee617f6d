"""The second look at a parameter gradient whose estimated error is in doubt."""

import logging
import warnings

import pytest
import torch
from forced import D, Forced, T, error_of, gradient

from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    Event,
    GaussAdjoint,
    InterpolatingAdjoint,
    PassStats,
    ReturnCode,
    StepCallbacks,
    WarmStart,
    solve,
)
from pyseminorm.graphs.step_graphs import StepGraphs
from pyseminorm.passes import second_look
from pyseminorm.passes.problems import AdjointResult
from pyseminorm.passes.second_look import in_doubt

HIDDEN = [(BacksolveAdjoint, 20, 1, 1e-3), (InterpolatingAdjoint, 40, 0, 1e-5), (DiscreteAdjoint, 10, 1, 1e-3)]
SEEN = [
    (BacksolveAdjoint, 80, 3, 1e-3),
    (InterpolatingAdjoint, 80, 1, 1e-5),
    (GaussAdjoint, 30, 4, 1e-3),
    (GaussAdjoint, 40, 6, 1e-5),
]


@pytest.mark.parametrize(("adjoint", "omega", "seed", "rtol"), HIDDEN)
def test_an_error_that_the_estimate_says_is_small_is_found(engine, adjoint, omega, seed, rtol):
    field = Forced(omega, seed)
    plain, estimated, warned = gradient(field, adjoint(verbose=False), rtol, engine)
    assert 0.025 < estimated.param_error < 0.1 and not warned
    found, stats, warned = gradient(field, adjoint(), rtol, engine)
    assert torch.equal(found, plain) and warned
    error = error_of(found, field)
    assert error > 0.3 and stats.param_error == pytest.approx(error, rel=0.1)
    assert stats.evaluations > estimated.evaluations and stats.naccept == estimated.naccept


@pytest.mark.parametrize(("adjoint", "omega", "seed", "rtol"), SEEN)
def test_an_estimate_of_errors_that_cancel_is_no_warning(engine, adjoint, omega, seed, rtol):
    field = Forced(omega, seed)
    _, estimated, _ = gradient(field, adjoint(verbose=False), rtol, engine)
    found, stats, warned = gradient(field, adjoint(), rtol, engine)
    error = error_of(found, field)
    assert stats.param_error < 0.06 < 0.1 < estimated.param_error and error < 0.05 and not warned


@pytest.mark.parametrize("keep", ["states", "stages", "checkpoints"])
def test_a_sweep_of_many_steps_whose_errors_cancel_is_no_warning(engine, keep):
    field = Forced(40, 0, silent=False)
    _, estimated, _ = gradient(field, DiscreteAdjoint(keep=keep, verbose=False), 1e-3, engine)
    found, stats, warned = gradient(field, DiscreteAdjoint(keep=keep), 1e-3, engine)
    assert stats.param_error < 0.05 < 0.1 < estimated.param_error and error_of(found, field) < 0.05 and not warned


@pytest.mark.capture
@pytest.mark.parametrize(("adjoint", "omega", "seed", "rtol"), HIDDEN)
def test_captured_functions_are_looked_at_too(engine, adjoint, omega, seed, rtol):
    compile = "trace" if engine == "torch" else "auto"
    found, stats, warned = gradient(Forced(omega, seed), adjoint(), rtol, engine, compile=compile)
    assert warned and stats.param_error == pytest.approx(error_of(found, Forced(omega, seed)), rel=0.1)


@pytest.mark.parametrize("norm", ["seminorm_joint", "torchdiffeq_seminorm"])
def test_it_takes_the_norm_of_the_pass_where_that_can_be(norm):
    field = Forced(20, 1)
    found, stats, _ = gradient(field, BacksolveAdjoint(norm=norm), 1e-3)
    assert stats.nvjp_param > 0 and stats.param_error == pytest.approx(error_of(found, field), rel=0.1)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
def test_it_does_not_depend_on_the_scale_of_the_loss(engine, adjoint):
    field, errors = Forced(80, 1), []
    for scale in (1.0, 2.0**30):
        s = solve(field, field.y0, T, rtol=1e-3, atol=1e-6, adjoint=adjoint(), backend=engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.autograd.grad(s.ys.pow(2).mean() * scale, list(field.parameters()))
        assert s.stats.backward.nvjp_param > 100
        errors.append(s.stats.backward.param_error)
    assert errors[1] == pytest.approx(errors[0], rel=1e-9)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), DiscreteAdjoint()])
def test_states_that_are_wanted_late_are_part_of_it(engine, adjoint):
    field, found = Forced(60, 0), []
    params = list(field.parameters())
    for given in (adjoint, BacksolveAdjoint(norm="rms", rtol=1e-10, atol=1e-10)):
        s = solve(field, field.y0, T, rtol=1e-3, atol=1e-6, adjoint=given, backend=engine, dense=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = s.ys.pow(2).mean() + s.interpolate(torch.tensor([0.0, 1.7], dtype=D)).pow(2).mean()
            parts = torch.autograd.grad(loss, params)
        found.append((torch.cat([x.reshape(-1) for x in parts]), s.stats.backward))
    (ours, stats), (truth, _) = found
    assert stats.nvjp_param > 0
    assert stats.param_error == pytest.approx(float((ours - truth).norm() / truth.norm()), rel=0.1, abs=0.01)


def test_every_segment_between_events_is_looked_at():
    field = Forced(20, 1)
    event = Event(lambda t, y: t - 0.9, reset=lambda t, y: y)
    adjoint = DiscreteAdjoint()
    s = solve(field, field.y0, T, rtol=1e-3, atol=1e-6, adjoint=adjoint, backend="torch", event=event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.autograd.grad(s.ys[-1].pow(2).mean(), list(field.parameters()))
    assert [part.backward.nvjp_param > 0 for part in s.stats._parts] == [True, True]


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, DiscreteAdjoint])
def test_nobody_is_told_of_its_steps(adjoint):
    field, told = Forced(80, 3), []
    callbacks = StepCallbacks(
        accept_step_adjoint=lambda t, z, dt: told.append(t), accept_step=lambda t, y, dt: told.append(t)
    )
    s = solve(field, field.y0, T, rtol=1e-3, atol=1e-6, adjoint=adjoint(), backend="torch", callbacks=callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.autograd.grad(s.ys.pow(2).mean(), list(field.parameters()))
    stats = s.stats
    assert stats.backward.nvjp_param > 0 and len(told) == stats.forward.naccept + stats.backward.naccept


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
def test_the_estimate_stays_where_the_look_fails(adjoint):
    field = Forced(80, 1)
    plain, estimated, _ = gradient(field, adjoint(verbose=False), 1e-3)
    calls, func = [], field.forward

    def breaking(t, y):
        calls.append(1)
        return func(t, y) if len(calls) <= good else func(t, y) * torch.nan

    good = 10**9
    field.forward = breaking
    gradient(field, adjoint(verbose=False), 1e-3)
    good = len(calls)
    calls.clear()
    found, stats, _ = gradient(field, adjoint(), 1e-3)
    assert len(calls) > good
    assert torch.equal(found, plain) and stats.param_error == estimated.param_error


def test_it_is_logged_once(caplog):
    field = Forced(20, 1)
    with caplog.at_level(logging.INFO, "pyseminorm"):
        for _ in range(2):
            gradient(field, BacksolveAdjoint(), 1e-3)
    assert sum("second look" in record.message for record in caplog.records) == 1


def test_a_training_pays_for_ever_fewer(monkeypatch):
    looked, measure = [], second_look.measure_error
    monkeypatch.setattr(second_look, "measure_error", lambda *given: looked.append(len(seen)) or measure(*given))
    field, seen = Forced(20, 1), []
    for _ in range(35):
        _, stats, _ = gradient(field, BacksolveAdjoint(), 1e-3)
        seen.append(stats.param_error)
    assert looked == [*range(8), 15, 31]
    torch.testing.assert_close(seen, [seen[0]] * 35, rtol=1e-6, atol=0)  # between them what the last one saw is used


@pytest.mark.parametrize(
    ("steps", "error", "rejected", "doubted"),
    [
        (2, 0.009, 0, False), (2, 0.011, 0, True), (3, None, 0, False), (3, 0.024, 0, False), (3, 0.03, 0, True),
        (9, 0.03, 9, True), (10, 0.03, 0, False), (10, 0.06, 0, True), (10, 0.06, 9, False), (10, 0.11, 9, True),
    ],
)  # fmt: skip
def test_fewer_and_smoother_steps_leave_more_doubt(steps, error, rejected, doubted):
    forward = PassStats(naccept=16, nreject=rejected)
    assert in_doubt(PassStats(naccept=steps, param_error=error), forward) == doubted


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, DiscreteAdjoint])
def test_the_few_steps_of_a_warm_start_do_not_hide_an_error(engine, adjoint):
    field, warm = Forced(20, 1), WarmStart()
    for _ in range(5):
        gradient(field, adjoint(verbose=False), 1e-3, engine, dt=warm)
    found, stats, warned = gradient(field, adjoint(), 1e-3, engine, dt=warm)
    error = error_of(found, field)
    assert stats.naccept <= 2 and error > 0.3 and warned
    assert stats.param_error == pytest.approx(error, rel=0.2)


@pytest.mark.parametrize(
    "adjoint", [BacksolveAdjoint(verbose=False), InterpolatingAdjoint(param_rtol=1e-2), GaussAdjoint(param_rtol=1e-2)]
)
def test_who_wants_no_warning_or_controls_the_error_pays_nothing(adjoint, monkeypatch):
    monkeypatch.setattr(second_look, "measure_error", None)  # cannot be called
    monkeypatch.setattr(second_look, "in_doubt", lambda stats, forward: True)
    gradient(Forced(20, 1), adjoint, 1e-3)
    with pytest.raises(TypeError):
        gradient(Forced(20, 1), BacksolveAdjoint(), 1e-3)


@pytest.mark.parametrize("size", [1e-3, 0.2])
@pytest.mark.parametrize("rejected", [0, 9])
def test_what_control_cannot_reach_is_warned_of(rejected, size):
    passes = [PassStats(naccept=16, nreject=rejected, state_error=size, param_error=1e-4) for _ in range(2)]
    result = AdjointResult(torch.zeros(1), [], ReturnCode.Success, passes[0], 0.0)
    adjoint = BacksolveAdjoint(param_rtol=5e-3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        second_look.judge(None, adjoint, None, result, passes[1], None)
    if rejected and size < 0.05:  # sqrt(2) sqrt(16) 1e-3
        assert "off by 0.6%, and param_rtol=0.005 does not help" in str(said[0].message)
    else:  # smooth states, or ones that have decayed
        assert not said


@pytest.mark.capture
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, DiscreteAdjoint])
def test_no_whole_step_is_compiled_for_it(adjoint, monkeypatch):
    asked = []

    def run(graphs, kind, constants, arguments):  # uncompiled
        asked.append(type(kind).__name__)
        with torch.no_grad():
            return kind.make(graphs.field)(*constants, *arguments)

    monkeypatch.setattr(StepGraphs, "run", run)
    _, plain, _ = gradient(Forced(80, 3), adjoint(verbose=False), 1e-3, compile="inductor")
    wanted = asked.copy()
    asked.clear()
    _, stats, _ = gradient(Forced(80, 3), adjoint(), 1e-3, compile="inductor")
    assert asked == wanted != [] and stats.nvjp_param > plain.nvjp_param


class Relaxing(torch.nn.Module):
    """y' = rate (net(y) - y), float64: what it forgets grows by e^rate backwards."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()

    def forward(self, t, y):
        return self.rate * (self.net(y) - y)


def robertson(rates):
    def func(t, y):
        a, b, c = y.unbind(-1)
        first, second, third = rates.exp().unbind()
        first, second, third = first * a, second * b * b, third * b * c
        return torch.stack([third - first, first - second - third, second], dim=-1)

    return func


def _backsolved(func, params, y0, end, engine, adjoint, **settings):
    ys = solve(func, y0, [0.0, end], params=params, backend=engine, adjoint=adjoint, **settings)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = torch.autograd.grad(ys.ys[-1, :, 0].sum(), params)
    return torch.cat([x.flatten() for x in found]), ys.stats.backward, [str(x.message) for x in told]


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), BacksolveAdjoint(norm="rms"), GaussAdjoint(interpolate=False)])
@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_states_that_are_lost_on_the_way_back_may_do_no_harm(engine, adjoint, rate):
    """Where they are wrong lambda is small: the error is measured, and nothing is warned of."""
    field, y0 = Relaxing(rate), torch.linspace(0.1, 1.0, 6, dtype=D).view(2, 3)
    params, settings = list(field.parameters()), {"rtol": 1e-4, "atol": 1e-6}
    found, stats, told = _backsolved(field, params, y0, 1.0, engine, adjoint, **settings)
    right, by_gauss, _ = _backsolved(field, params, y0, 1.0, engine, GaussAdjoint(param_rtol=1e-3), **settings)
    assert (stats.drift > 0.1) == (rate > 1.0) and by_gauss.drift is None and not told
    assert (found - right).norm() < 0.01 * right.norm() and (stats.param_error or 0.0) < 0.01
    assert (stats.param_error is None) == (adjoint.norm == "rms" and rate == 1.0)  # measured where it is not estimated


def test_a_gradient_along_lost_states_is_measured_and_warned_of():
    """Robertson's reaction by an implicit method, of the embedded engine alone: the gradient is off by 1e35."""
    rates = torch.log(torch.tensor([0.04, 3e3, 1e2], dtype=D)).requires_grad_()
    y0 = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.0, 0.2]], dtype=D)
    settings = {"method": "implicit_adams", "dt": 0.002}
    found, stats, told = _backsolved(robertson(rates), [rates], y0, 5.0, "torch", BacksolveAdjoint(), **settings)
    right, _, _ = _backsolved(robertson(rates), [rates], y0, 5.0, "torch", GaussAdjoint(), **settings)
    error = ((found - right).norm() / right.norm()).item()
    assert error > 1e3 and stats.param_error == pytest.approx(error, rel=0.1) and stats.drift > 0.1
    (message,) = told
    assert "BacksolveAdjoint solves y backwards" in message and "InterpolatingAdjoint() or GaussAdjoint()" in message
    _, stats, told = _backsolved(
        robertson(rates), [rates], y0, 5.0, "torch", BacksolveAdjoint(verbose=False), **settings
    )
    assert not told and stats.drift > 0.1 and stats.param_error is None


def test_lost_states_of_a_segment_up_to_an_event_are_looked_at_too(engine):
    field, y0 = Relaxing(40.0), torch.linspace(0.1, 1.0, 6, dtype=D).view(2, 3).requires_grad_()
    event = Event(lambda t, y: t - 0.8, reset=lambda t, y: y + 1.0)
    s = solve(field, y0, [0.0, 1.5], event=event, backend=engine, rtol=1e-4, atol=1e-6)
    s.ys[-1].sum().backward()
    lost = max((part.backward for part in s.stats._parts), key=lambda stats: stats.drift)
    assert s.stats.backward.drift == lost.drift > 0.1 and lost.param_error < 0.01 and lost.nvjp_param > 0


def test_lost_states_are_looked_at_ever_less_often(engine):
    field, y0, evaluations = Relaxing(20.0), torch.linspace(0.1, 1.0, 6, dtype=D).view(2, 3), []
    for _ in range(10):
        s = solve(field, y0, [0.0, 1.0], backend=engine, rtol=1e-4, atol=1e-6)
        s.ys[-1].sum().backward()
        evaluations.append(s.stats.backward.evaluations)
    assert evaluations[0] == evaluations[7] > evaluations[8] == evaluations[9]
