"""The estimate of the parameter gradient's error, its warning, and control by it."""

import math
import warnings
import weakref

import pytest
import torch
from forced import Forced as Oscillating
from forced import error_of, gradient
from problems import MLP

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    Event,
    GaussAdjoint,
    GradientErrorWarning,
    InterpolatingAdjoint,
    InvalidInputError,
    PassStats,
)
from pyseminorm.engines.torch.system import Integrals
from pyseminorm.methods.tableaus import TABLEAUS
from pyseminorm.passes.embedded_errors import StepSizes
from pyseminorm.passes.gradient_error import complete_estimate, local_error, read_by_control

T = torch.tensor([0.0, 2.0], dtype=torch.float64)
CONTINUOUS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint]
EVERY = [*CONTINUOUS, DiscreteAdjoint]


class Forced(torch.nn.Module):
    """A net with p sin(omega t), p = 0: only the gradient by p sees the forcing."""

    def __init__(self, omega, size=2, width=16):
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Linear(size, width), torch.nn.Tanh(), torch.nn.Linear(width, size)]
        self.net, self.omega = torch.nn.Sequential(*layers).double(), omega
        self.p = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, t, y):
        return self.net(y) + self.p * torch.sin(self.omega * t)


def _gradient(field, engine, adjoint, t=T, **settings):
    for p in field.parameters():
        p.grad = None
    size = field.net[0].in_features
    y0 = torch.linspace(-1.0, 1.0, 2 * size, dtype=torch.float64).view(2, size).requires_grad_()
    settings = {"rtol": 1e-4, "atol": 1e-7, **settings}
    s = pyseminorm.solve(field, y0, t, backend=engine, adjoint=adjoint, **settings)
    s.ys[1:].pow(2).mean().backward()
    return torch.cat([p.grad.reshape(-1) for p in field.parameters()]), s.stats


def _truth(field, t=T):
    adjoint = InterpolatingAdjoint(norm="rms", verbose=False)
    return _gradient(field, "torch", adjoint, t, method="vern7", rtol=1e-11, atol=1e-11)[0]


def _error(found, truth):
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("adjoint", EVERY)
@pytest.mark.parametrize("omega", [1, 5, 10, 20])
def test_the_estimate_is_near_the_error(engine, adjoint, omega):
    field = Forced(omega)
    found, stats = _gradient(field, engine, adjoint(verbose=False))
    error = _error(found, _truth(field))
    assert error / 15 < stats.backward.param_error < 15 * error


@pytest.mark.parametrize("norm", ["seminorm", "torchdiffeq_seminorm"])
@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
@pytest.mark.parametrize("outputs", [2, 5])
def test_so_it_is_in_torchdiffeqs_steps(outputs, method, norm):
    t = torch.linspace(0.0, 2.0, outputs, dtype=torch.float64)
    for omega in (5, 20):
        field, adjoint = Forced(omega), BacksolveAdjoint(norm=norm, verbose=False)
        found, stats = _gradient(field, "torch", adjoint, t, method=method, controller="torchdiffeq")
        error = _error(found, _truth(field, t))
        assert error / 15 < stats.backward.param_error < 15 * error


@pytest.mark.parametrize("adjoint", EVERY)
def test_it_does_not_depend_on_the_scale_of_the_loss(engine, adjoint):
    field = MLP(width=8)
    estimates = []
    for scale in (1.0, 2.0**20):
        y0 = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
        s = pyseminorm.solve(field, y0, T, backend=engine, adjoint=adjoint())
        (s.ys[-1].sum() * scale).backward()
        estimates.append(s.stats.backward.param_error)
    assert math.isclose(*estimates, rel_tol=1e-12) and 0.0 < estimates[0] < 1e-2


@pytest.mark.parametrize("adjoint", EVERY)
def test_a_sample_of_many_parameters_says_as_much(engine, adjoint, monkeypatch):
    from pyseminorm.passes import embedded_errors

    field = Forced(10, size=2, width=64)
    found, stats = _gradient(field, engine, adjoint(verbose=False))
    monkeypatch.setattr(embedded_errors, "KEPT_WHOLE", 0)
    monkeypatch.setattr(embedded_errors, "SAMPLED", 40)
    embedded_errors._spread.cache_clear()
    sampled, sampled_stats = _gradient(field, engine, adjoint(verbose=False))
    embedded_errors._spread.cache_clear()
    assert _error(sampled, found) < 1e-12
    assert 0.5 < sampled_stats.backward.param_error / stats.backward.param_error < 2.0


@pytest.mark.parametrize(("adjoint", "omega"), [(BacksolveAdjoint, 50), (InterpolatingAdjoint, 50), (GaussAdjoint, 60)])
def test_a_forcing_that_no_step_sees_is_warned_of_and_controlled(engine, adjoint, omega):
    field = Forced(omega)
    truth = _truth(field)
    settings = {"rtol": 1e-3, "atol": 1e-6}
    with pytest.warns(GradientErrorWarning, match=r"may be off by .*%.*param_rtol=1e-2.*verbose=False") as told:
        found, looked = _gradient(field, engine, adjoint(), **settings)
    assert {warning.filename for warning in told} == {__file__}  # where backward() is called
    assert _error(found, truth) > 0.05
    assert looked.backward.param_error == pytest.approx(_error(found, truth), rel=0.1)
    found, stats = _gradient(field, engine, adjoint(verbose=False), **settings)
    found, controlled = _gradient(field, engine, adjoint(param_rtol=1e-2), **settings)
    assert _error(found, truth) < 3e-2
    assert controlled.backward.param_error < 5e-2
    assert controlled.backward.evaluations > stats.backward.evaluations


@pytest.mark.parametrize("settings", [{}, {"rtol": 1e-3, "dtmin": 0.3}, {"dt": 0.5, "tstops": [1.2]}])
def test_a_forcing_that_torchdiffeqs_steps_do_not_see_is_warned_of(settings):
    t = torch.linspace(0.0, 2.0, 5, dtype=torch.float64)
    field, settings = Forced(50), {"method": "dopri5", "controller": "torchdiffeq", **settings}
    error = _error(_gradient(field, "torch", BacksolveAdjoint(verbose=False), t, **settings)[0], _truth(field, t))
    with pytest.warns(GradientErrorWarning):
        _, looked = _gradient(field, "torch", BacksolveAdjoint(), t, **settings)
    assert error > 0.1 and looked.backward.param_error == pytest.approx(error, rel=0.1)


def test_so_it_is_of_odeint_adjoint_that_begins_anew_at_every_output():
    field, y0 = Forced(50), torch.ones(2, 2, dtype=torch.float64)
    options = {"controller": "torchdiffeq"}
    ys = pyseminorm.odeint_adjoint(field, y0, T, rtol=1e-3, atol=1e-6, method="dopri5", options=options)
    with pytest.warns(GradientErrorWarning):
        ys[-1].sum().backward()


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_control_costs_little_where_the_gradient_is_right(engine, adjoint):
    field = MLP(width=8)
    plain, stats = _plain(field, engine, adjoint())
    found, controlled = _plain(field, engine, adjoint(param_rtol=1e-2))
    assert _error(found, plain) < 1e-3
    assert controlled.backward.evaluations <= 1.25 * stats.backward.evaluations


def _plain(field, engine, adjoint):
    field.zero_grad()
    y0 = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    t = torch.linspace(0.0, 2.0, 5, dtype=torch.float64)
    s = pyseminorm.solve(field, y0, t, backend=engine, adjoint=adjoint)
    s.ys.pow(2).sum().backward()
    return torch.cat([p.grad.reshape(-1) for p in field.parameters()]), s.stats


def test_parts_that_agree_by_chance_are_halved_with_smaller_ones_that_do_not(engine):
    field, gradients = Forced(40), []
    torch.manual_seed(1)
    field.net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).double()
    y0 = torch.randn(4, 2, dtype=torch.float64)
    for adjoint, rtol in ((GaussAdjoint(param_rtol=1e-2), 1e-3), (InterpolatingAdjoint(norm="rms"), 1e-9)):
        s = pyseminorm.solve(field, y0, T, rtol=rtol, atol=1e-3 * rtol, backend=engine, adjoint=adjoint)
        parts = torch.autograd.grad(s.ys.pow(2).mean(), list(field.parameters()))
        gradients.append(torch.cat([part.reshape(-1) for part in parts]))
    assert _error(*gradients) < 3e-2


def test_a_quadrature_that_is_clearly_right_costs_two_nodes_more_with_control(engine):
    _, plain = _gradient(Forced(1), engine, GaussAdjoint())
    _, controlled = _gradient(Forced(1), engine, GaussAdjoint(param_rtol=1e-2))
    assert controlled.backward.evaluations == plain.backward.evaluations + 2


@pytest.mark.parametrize(("rejected", "of_states"), [(0, 1e-4), (9, 3.1e-3), (1, None)])
def test_errors_of_the_states_weigh_more_where_many_steps_are_rejected(rejected, of_states):
    forward, backward = PassStats(naccept=9, nreject=rejected, state_error=1e-3), PassStats(param_error=0.0)
    complete_estimate(backward, forward, 0.0)
    if of_states is None:  # between the two
        assert 1.2e-4 < backward.param_error < 2e-3
    else:
        assert backward.param_error == pytest.approx(of_states)


@pytest.mark.parametrize(("state_error", "weight"), [(1e-3, 0.1), (3e-5, 0.1), (3e-5 / 32, 0.05), (3e-5 / 1024, 0.025)])
def test_small_errors_of_the_states_weigh_less(state_error, weight):
    backward = PassStats(param_error=0.0)
    complete_estimate(backward, PassStats(naccept=9, state_error=state_error), 0.0)
    assert backward.param_error == pytest.approx(weight * state_error)


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri5", "vern7"])
def test_local_errors_are_those_of_a_wave(method):
    tableau = TABLEAUS[method]
    c, b, e = (torch.tensor(x, dtype=torch.float64) for x in (tableau.c, tableau.b, tableau.integral_error))
    for angle in (2.0, 4.0, 8.0):  # omega h
        wave = torch.exp(1j * angle * c)
        true = abs(complex(b.to(wave) @ wave) - (complex(torch.exp(torch.tensor(1j * angle))) - 1) / (1j * angle))
        found = local_error(StepSizes(1.0, abs(complex(e.to(wave) @ wave))), tableau)
        assert 0.2 < found / true < 4.0


@pytest.mark.parametrize("adjoint", EVERY)
def test_the_warning_can_be_switched_off(engine, adjoint):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _gradient(Forced(40), engine, adjoint(verbose=False), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, DiscreteAdjoint])
def test_fixed_steps_have_no_estimate(engine, adjoint):
    _, stats = _gradient(Forced(1), engine, adjoint(), method="rk4", dt=0.1)
    assert stats.backward.param_error is None and stats.forward.state_error is None


@pytest.mark.parametrize("norm", ["rms", "torchdiffeq", lambda s: s.adjoint.abs().max()])
def test_norms_that_see_the_parameters_gradient_have_none(engine, norm):
    """Whatever the steps; the embedded engine alone has those of torchdiffeq."""
    for controller in (None, "torchdiffeq") if engine == "torch" else (None,):
        adjoint = BacksolveAdjoint(norm=norm)
        _, stats = _gradient(Forced(1), engine, adjoint, method="dopri5", controller=controller)
        assert stats.backward.param_error is None


def test_direct_adjoint_has_none():
    _, stats = _gradient(Forced(1), "torch", DirectAdjoint())
    assert stats.backward is None


@pytest.mark.parametrize("adjoint", EVERY)
def test_without_parameters_there_is_none(engine, adjoint):
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: -y, y0, T, backend=engine, adjoint=adjoint())
    s.ys[-1].sum().backward()
    assert s.stats.backward.param_error is None


def test_complex_parameters_and_unused_ones_are_part_of_it():
    rate = torch.tensor(-0.5 + 2.0j, dtype=torch.complex128, requires_grad=True)
    unused = torch.ones(3, dtype=torch.complex128, requires_grad=True)
    y0 = torch.ones(2, dtype=torch.complex128, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: rate * y, y0, T, params=[rate, unused], backend="torch")
    s.ys[-1].abs().sum().backward()
    assert 0.0 < s.stats.backward.param_error < 1e-2
    assert unused.grad is None or not unused.grad.any()


def test_segments_between_events_have_the_largest_estimate():
    field = Forced(5)
    event = Event(lambda t, y: t - 1.0, reset=lambda t, y: y)
    y0 = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    s = pyseminorm.solve(field, y0, T, backend="torch", event=event)
    s.ys[-1].sum().backward()
    parts = [part.backward.param_error for part in s.stats._parts]
    assert len(parts) == 2 and s.stats.backward.param_error == max(parts)


def test_the_state_has_an_estimate_in_both_passes(engine):
    _, stats = _gradient(Forced(0), engine, BacksolveAdjoint(), rtol=1e-6, atol=1e-6)
    for one in (stats.forward, stats.backward):
        assert one.state_error is None or 1e-10 < one.state_error < 1e-4


@pytest.mark.parametrize("norm", ["rms", "torchdiffeq", lambda s: 0.0])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
def test_param_rtol_is_for_norms_that_leave_the_parameters_out(adjoint, norm):
    with pytest.raises(InvalidInputError, match=rf"{adjoint.__name__}\(norm=.*param_rtol"):
        adjoint(norm=norm, param_rtol=1e-2)


def test_param_rtol_with_torchdiffeqs_steps_is_refused():
    with pytest.raises(InvalidInputError, match="param_rtol"):
        _gradient(Forced(1), "torch", BacksolveAdjoint(param_rtol=1e-2), controller="torchdiffeq", method="dopri5")


@pytest.mark.parametrize("adjoint", [InterpolatingAdjoint(), GaussAdjoint()])
def test_an_adjoint_that_decays_to_nothing_is_no_error_of_the_gradient(engine, adjoint):
    rate = torch.tensor([30.0, 20.0], dtype=torch.float64, requires_grad=True)
    y0, times = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0, 2, 4, dtype=torch.float64)
    settings = {"params": [rate], "rtol": 1e-6, "atol": 1e-6, "adjoint": adjoint, "backend": engine}
    s = pyseminorm.solve(lambda t, y: rate * (torch.cos(t) - y), y0, times, **settings)
    s.ys[-1].sum().backward()
    assert s.stats.backward.state_error > 10.0  # of dL/dy0, of size exp(-40)
    assert s.stats.backward.param_error < 0.08  # and no warning, which is an error in tests


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
def test_no_stage_of_a_large_gradient_waits_for_the_next_one(adjoint, monkeypatch):
    given, alive, add_stage = [], [], Integrals.add_stage
    weight = torch.eye(140, dtype=torch.float64).div(140).requires_grad_()

    def func(t, y):
        alive.append(sum(reference() is not None for reference in given))
        return torch.tanh(y @ weight) * torch.sin(20 * t)

    def watch(integrals, i, derivatives):
        given.extend(map(weakref.ref, derivatives))
        add_stage(integrals, i, derivatives)

    def gradient(adjoint, rtol):
        y0, t = torch.ones(2, 140, dtype=torch.float64), torch.linspace(0, 2, 4)
        s = pyseminorm.solve(func, y0, t, params=[weight], rtol=rtol, atol=rtol, backend="torch", adjoint=adjoint)
        return torch.autograd.grad(s.ys.pow(2).sum(), weight)[0], s.stats.backward

    truth, _ = gradient(adjoint(norm="rms"), 1e-8)
    monkeypatch.setattr(Integrals, "add_stage", watch)
    found, stats = gradient(adjoint(param_rtol=1e-4), 1e-4)
    assert stats.nreject > 0 and _error(found, truth) < 1e-3
    assert len(given) > 50 and not any(alive)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
def test_a_long_step_does_not_follow_one_that_saw_nothing_by_chance(engine, adjoint):
    """Three of its periods in a step, p sin 30t hides: the gradient was off by 8 %."""
    field = Oscillating(30, 1)
    found, stats, _ = gradient(field, adjoint(param_rtol=1e-2), 1e-7, engine)
    assert error_of(found, field) < 0.01
    assert stats.nvjp < 120


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
@pytest.mark.parametrize("omega", [1, 2])
def test_control_does_not_slow_steps_that_are_far_from_its_limit(engine, adjoint, omega):
    _, free, _ = gradient(Oscillating(omega, 0), adjoint(), 1e-3, engine)
    _, controlled, _ = gradient(Oscillating(omega, 0), adjoint(param_rtol=1e-2), 1e-3, engine)
    assert controlled.evaluations == free.evaluations


def test_control_reads_the_square_of_an_error_and_no_less_than_a_share_of_the_step_before():
    for share, before, expected in ((0.5, 0.0, 0.25), (0.1, 0.5, 0.3), (0.1, 7.0, 0.6), (2.0, 1.0, 4.0)):
        assert read_by_control(share, before) == pytest.approx(expected)
    assert math.isnan(read_by_control(math.nan, 1.0))
