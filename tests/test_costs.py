"""What a backward pass costs, counted in evaluations, with the gradient error beside it."""

import pytest
import torch
from problems import MLP, Oscillating, batch, cotangents, relative
from thresholds import SCALED_LOSS_GRADIENTS, TIGHT

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint


def _backward(field, t, engine, *, scale=1.0, y0=None, **settings):
    for p in field.parameters():
        p.grad = None
    y0 = (batch(2) if y0 is None else y0).clone().requires_grad_()
    s = pyseminorm.solve(field, y0, t, backend=engine, **settings)
    (s.ys * cotangents(*s.ys.shape, dtype=y0.dtype) * scale).sum().backward()
    return s.stats, torch.cat([y0.grad.reshape(-1), *(p.grad.reshape(-1) for p in field.parameters())])


@pytest.mark.parametrize("problem", [MLP, Oscillating])
def test_the_seminorm_saves_evaluations_where_parameters_outnumber_the_state(engine, problem, capsys):
    field = problem()  # 4,482 parameters for 2 x 2 states: over 1,000 to 1
    t = torch.linspace(0, 2, 3, dtype=torch.float64)
    assert sum(p.numel() for p in field.parameters()) > 1000 * 4
    _, reference = _backward(field, t, "torch", **TIGHT)
    costs = {}
    for norm in ("torchdiffeq", "seminorm"):
        stats, gradient = _backward(field, t, engine, adjoint=BacksolveAdjoint(norm=norm), rtol=1e-5, atol=1e-7)
        costs[norm] = stats.backward.evaluations
        with capsys.disabled():
            print(
                f"\n  {problem.__name__}, {engine}, {norm}: {costs[norm]} backward evaluations, "
                f"{stats.backward.nreject} rejected steps, gradient error {relative(gradient, reference):.1e}"
            )
    assert costs["seminorm"] < costs["torchdiffeq"]


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
def test_dense_outputs_cost_at_most_8_products_each(engine, adjoint):
    """One accepted step spans an interval: 6 stages and one refreshed by the jump (torchdiffeq pays 14)."""
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    stats, _ = _backward(MLP(), t, engine, adjoint=adjoint(), rtol=1e-4, atol=1e-6)
    assert stats.backward.naccept <= 201
    assert stats.backward.evaluations / 200 <= 8


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
def test_a_loss_scaled_by_a_power_of_two_takes_the_very_same_steps(engine, adjoint):
    t = torch.linspace(0, 2, 4, dtype=torch.float64)
    stats, gradient = _backward(MLP(), t, engine, adjoint=adjoint())
    for scale in (2.0**20, 2.0**-20):
        scaled_stats, scaled = _backward(MLP(), t, engine, adjoint=adjoint(), scale=scale)
        assert scaled_stats.backward.times == stats.backward.times
        assert torch.equal(scaled, gradient * scale)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
def test_a_loss_scaled_by_a_million_takes_as_many_steps(engine, adjoint):
    t = torch.linspace(0, 2, 4, dtype=torch.float64)
    stats, gradient = _backward(MLP(), t, engine, adjoint=adjoint(), **TIGHT)
    for scale in (1e6, 1e-6):
        scaled_stats, scaled = _backward(MLP(), t, engine, adjoint=adjoint(), scale=scale, **TIGHT)
        for count in ("nvjp", "naccept", "nreject"):
            assert getattr(scaled_stats.backward, count) == getattr(stats.backward, count)
        assert relative(scaled / scale, gradient) < SCALED_LOSS_GRADIENTS


def test_without_scale_invariance_a_small_loss_is_solved_loosely(engine):
    t = torch.linspace(0, 2, 4, dtype=torch.float64)
    _, reference = _backward(Oscillating(), t, "torch", **TIGHT)
    errors = {}
    for invariant in (True, False):
        _, gradient = _backward(
            Oscillating(), t, engine, adjoint=InterpolatingAdjoint(scale_invariant=invariant, verbose=False), scale=1e-8
        )
        errors[invariant] = relative(gradient / 1e-8, reference)
    assert errors[True] < 0.2 * errors[False]


def test_backward_settings_of_their_own(engine):
    t = torch.linspace(0, 2, 3, dtype=torch.float64)
    loose, _ = _backward(MLP(), t, engine)
    tight, _ = _backward(MLP(), t, engine, adjoint=BacksolveAdjoint(rtol=1e-9, atol=1e-9))
    other, _ = _backward(MLP(), t, engine, adjoint=BacksolveAdjoint(method="bosh3", rtol=1e-6))
    assert tight.backward.naccept > 2 * loose.backward.naccept and tight.forward.naccept == loose.forward.naccept
    # Bosh3: 3 stages in an attempt, two evaluations to begin, one refreshed at the output inside
    assert other.backward.nvjp == 3 * (other.backward.naccept + other.backward.nreject) + 3
    assert other.backward.naccept > loose.backward.naccept


@pytest.mark.parametrize(("method", "stages"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), DiscreteAdjoint(), "stages"], ids=str)
@pytest.mark.parametrize("jump", [(), (0.3,)], ids=["smooth", "discontinuous"])
def test_fixed_steps_evaluate_their_stages_and_nothing_else(engine, method, stages, adjoint, jump):
    adjoint = DiscreteAdjoint(keep="stages") if adjoint == "stages" else adjoint
    calls = []

    def func(t, y, w):
        calls.append(float(t))
        return -w * y * (1.0 + (t > 0.3)) if jump else -w * y

    y0, w = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    t = torch.linspace(0, 1, 3, dtype=torch.float64)
    settings = {"method": method, "dt": 0.125, "discontinuities": jump, "adjoint": adjoint, "backend": engine}
    s = pyseminorm.solve(func, y0, t, args=(w,), **settings)
    steps = s.stats.forward.naccept
    assert steps == 9 if jump else steps == 8
    # Dense output is made of every step for an adjoint that reads it: then the end of a stretch is evaluated too.
    dense = (1 + len(jump)) * isinstance(adjoint, InterpolatingAdjoint)
    assert len(calls) == s.stats.forward.nf == stages * steps + dense
    calls.clear()
    s.ys[-1].sum().backward()
    backward = s.stats.backward
    kept = isinstance(adjoint, DiscreteAdjoint) and adjoint.keep == "stages"
    assert backward.nvjp == stages * backward.naccept
    assert kept or len(calls) == backward.nvjp
    assert torch.allclose(y0.grad, -w.grad / (1.7 if jump else 1.0), rtol=0.4)
