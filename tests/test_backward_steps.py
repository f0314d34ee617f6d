"""Steps that the backward solve has of its own: `dt` of an adjoint."""

import pytest
import torch
from problems import MLP, batch

from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError, WarmStart, solve

T = torch.linspace(0, 2, 3, dtype=torch.float64)
ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint]


def gradient(adjoint, engine="torch", **settings):
    field, y0 = MLP(width=8), batch(4)
    s = solve(field, y0, T, rtol=1e-9, atol=1e-9, adjoint=adjoint, backend=engine, **settings)
    s.ys.square().sum().backward()
    return torch.cat([p.grad.reshape(-1) for p in field.parameters()]), s.stats.backward


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_size_of_fixed_steps_is_the_adjoints(engine, adjoint):
    truth, _ = gradient(adjoint())
    for settings in ({"method": "tsit5"}, {"method": "rk4", "dt": 0.02}):
        found, stats = gradient(adjoint(method="rk4", dt=0.1), engine, **settings)
        assert stats.naccept == 20
        torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-5)
        halved, stats = gradient(adjoint(method="rk4", dt=0.05), engine, **settings)
        assert stats.naccept == 40
        assert (halved - truth).norm() < 0.2 * (found - truth).norm()


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_so_are_the_times_at_which_they_end(engine, adjoint):
    ends = [0.0, 0.1, 0.3, 0.7, 1.0, 1.2, 1.5, 2.0]
    for dt in (ends, lambda outputs: [t for t in reversed(ends) if outputs[-1] <= t <= outputs[0]]):
        _, stats = gradient(adjoint(method="midpoint", dt=dt), engine)
        assert stats.times == pytest.approx(ends[::-1])


def test_without_it_fixed_steps_are_those_of_the_forward_solve_or_go_from_output_to_output(engine):
    _, stats = gradient(BacksolveAdjoint(method="midpoint"), engine, method="rk4", dt=0.25)
    assert stats.naccept == 8
    _, stats = gradient(BacksolveAdjoint(method="midpoint"), engine)
    assert stats.naccept == 2


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_first_step_of_an_adaptive_method_is_the_adjoints(engine, adjoint):
    for settings in ({}, {"method": "rk4", "dt": 0.01}, {"dt": WarmStart()}):
        _, stats = gradient(adjoint(method="dopri5", dt=1e-3), engine, **settings)
        assert stats.times[1] == pytest.approx(2.0 - 1e-3)


def test_a_warm_start_that_knows_a_step_is_followed():
    warm = WarmStart(backward=5e-3)
    _, stats = gradient(BacksolveAdjoint(dt=1e-3), dt=warm)
    assert stats.times[1] == pytest.approx(2.0 - 5e-3)


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), "0.1", WarmStart()])
def test_what_is_no_size_is_refused(dt):
    with pytest.raises(InvalidInputError, match="dt="):
        BacksolveAdjoint(dt=dt)


def test_times_are_for_fixed_steps():
    with pytest.raises(InvalidInputError, match="tsit5 chooses its steps"):
        gradient(BacksolveAdjoint(dt=[0.0, 1.0, 2.0]))


def test_tolerances_are_numbers_as_before():
    with pytest.raises(InvalidInputError, match="expected a number"):
        BacksolveAdjoint(rtol=lambda: 1e-3)
