"""Tolerances for every element of the state, forward and backward, and which engine takes them."""

import pytest
import torch
from problems import MLP, batch, relative

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError

T = torch.linspace(0, 1, 4, dtype=torch.float64)


def _run(rtol, atol, y0=None, func=None, adjoint=None, **settings):
    field, y0 = func or MLP(width=16), (batch(3) if y0 is None else y0).requires_grad_()
    solution = pyseminorm.solve(
        field, y0, T, rtol=rtol, atol=atol, adjoint=adjoint or BacksolveAdjoint(), backend="torch", **settings
    )
    solution.ys[-1].pow(2).sum().backward()
    return solution, y0.grad


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()])
@pytest.mark.parametrize("settings", [{}, {"method": "dopri5", "controller": "torchdiffeq"}])
def test_equal_tolerances_are_one(adjoint, settings):
    one, gradient = _run(1e-5, 1e-6, adjoint=adjoint, **settings)
    many, same = _run(torch.full((3, 2), 1e-5), torch.full((1, 2), 1e-6), adjoint=adjoint, **settings)
    assert many.stats.forward.times == pytest.approx(one.stats.forward.times, rel=1e-6)
    assert relative(many.ys, one.ys) < 1e-9 and relative(same, gradient) < 1e-9
    backward = one.stats.backward, many.stats.backward
    assert backward[0].naccept == backward[1].naccept and backward[0].nvjp == backward[1].nvjp


def test_what_has_a_loose_tolerance_takes_no_steps():
    """A fast element beside a slow one: steps are as small as the fast one's tolerance asks for."""

    def func(t, y):
        return torch.stack([-y[0], 60 * torch.cos(60 * t)])

    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    steps = [_run(1e-6, torch.tensor([1e-6, x]), y0.clone(), func)[0].stats.forward.naccept for x in (1e-6, 1e6)]
    assert steps[1] < steps[0] / 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_parts_of_a_nested_state_have_theirs(dtype):
    y0 = (torch.ones(2, dtype=dtype), torch.ones((), dtype=dtype))
    runs = [
        pyseminorm.solve(lambda t, y: (-y[0], 2 * y[1]), y0, T, rtol=rtol, atol=(1e-8, torch.tensor(1e-8)))
        for rtol in (1e-6, (1e-6, 1e-6), (torch.tensor([1e-6, 1e-6]), 1e-6))
    ]
    for run in runs[1:]:
        assert run.stats.forward.times == pytest.approx(runs[0].stats.forward.times, rel=1e-6)
    assert relative(torch.view_as_real(runs[0].ys[1] + 0j), torch.view_as_real((2 * T).exp() + 0j)) < 1e-5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rtol": torch.ones(3)}, r"rtol has shape \(3,\): expected one that expands to \(3, 2\)"),
        ({"atol": torch.tensor([1.0, -1.0])}, "atol contains numbers that are not positive"),
        ({"rtol": (1e-3, 1e-3)}, "rtol has 2 parts: expected 1"),
        ({"rtol": torch.ones(3, 2), "backend": "julia"}, "a tolerance for every element"),
    ],
)
def test_others_are_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        pyseminorm.solve(MLP(), batch(3), T, **given)


def test_a_compiled_field_sees_a_changed_tolerance():
    rtol = torch.full((3, 2), 1e-3)
    field = pyseminorm.compile(MLP(), backend="torch")
    steps = []
    for scale in (1.0, 1e-6):
        steps.append(pyseminorm.solve(field, batch(3), T, rtol=rtol.mul_(scale), atol=1e-10).stats.forward.naccept)
    assert steps[0] < steps[1]
