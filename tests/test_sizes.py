"""Numbers of any size that float64 holds: states, cotangents, error estimates."""

import math

import pytest
import torch

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    PIController,
    ReturnCode,
    SolveError,
)

ADJOINTS = [BacksolveAdjoint(atol=1e-10), InterpolatingAdjoint(atol=1e-10), GaussAdjoint(atol=1e-10), DiscreteAdjoint()]
SIZES = [1e150, 1e200, 1e300, 1e-150, 1e-200, 1e-300]
D = torch.float64


def decay(w):
    return lambda t, y: -w * y


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_follow_the_size_of_the_loss(engine, adjoint, size):
    y0 = torch.ones(2, dtype=D, requires_grad=True)
    w = torch.ones(2, dtype=D, requires_grad=True)
    s = pyseminorm.solve(decay(w), y0, [0.0, 1.0], params=[w], backend=engine, adjoint=adjoint, rtol=1e-8, atol=1e-10)
    (s.ys[-1] * size).sum().backward()
    assert (y0.grad / size).tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-6)
    assert (w.grad / size).tolist() == pytest.approx([-math.exp(-1)] * 2, rel=1e-6)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("size", SIZES)
def test_states_of_any_size_are_solved_and_differentiated(engine, adjoint, size):
    y0 = torch.full((2,), size, dtype=D, requires_grad=True)
    w = torch.ones(2, dtype=D, requires_grad=True)
    s = pyseminorm.solve(
        decay(w), y0, [0.0, 1.0], params=[w], backend=engine, adjoint=adjoint, rtol=1e-8, atol=max(size * 1e-9, 1e-307)
    )
    assert (s.ys[-1] / size).tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-6)
    s.ys[-1].div(size).sum().backward()
    assert (y0.grad * size).tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-6)
    assert w.grad.tolist() == pytest.approx([-math.exp(-1)] * 2, rel=1e-6)


@pytest.mark.parametrize("size", [1e-37, 1e30, 1e-30])
def test_float32_cotangents_of_any_size(engine, size):
    y0 = torch.ones(2, requires_grad=True)
    (pyseminorm.solve(decay(1.0), y0, [0.0, 1.0], backend=engine, rtol=1e-5, atol=1e-6).ys[-1] * size).sum().backward()
    assert (y0.grad / size).tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-4)


def robertson(t, y):
    a, b, c = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return torch.stack([b - a, a - b - c, c])


BLOW_UPS = {
    "exponential": (lambda t, y: torch.exp(y), [1.0], 1.0),
    "cubic": (lambda t, y: y**3, [3.0], 1.0),
    "robertson": (robertson, [1.0, 0.0, 0.0], 100.0),
}


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7"])
@pytest.mark.parametrize("name", BLOW_UPS)
def test_an_error_estimate_beyond_float32_is_a_rejected_step(engine, name, method):
    func, y0, end = BLOW_UPS[name]
    with pytest.raises(SolveError) as info:
        pyseminorm.solve(func, torch.tensor(y0, dtype=D), [0.0, end], method=method, backend=engine, max_steps=500)
    state = info.value.last_good_state
    assert info.value.retcode in (ReturnCode.MaxIters, ReturnCode.Unstable)
    assert 0.0 < state.t < end and torch.isfinite(state.y).all() and state.stats.naccept > 0


@pytest.mark.parametrize("gains", [{"beta1": 300.0}, {"beta2": 300.0}, {"beta1": -300.0}, {"beta1": 3e38}])
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_controller_with_gains_of_any_size_ends(gains, dtype):
    y0 = torch.ones(2, dtype=dtype)
    s = pyseminorm.solve(
        decay(1.0), y0, [0.0, 1.0], backend="torch", controller=PIController(**gains), max_steps=50, throw=False
    )
    assert s.retcode in (ReturnCode.Success, ReturnCode.MaxIters, ReturnCode.Unstable)


def test_a_backward_solve_of_contracting_dynamics_names_the_adjoints_that_do_not_mind(engine):
    y0 = torch.ones(1, dtype=D, requires_grad=True)
    s = pyseminorm.solve(
        lambda t, y: -50.0 * (y - torch.cos(t)) - 1e3 * y**3, y0, [0.0, 2.0], backend=engine, max_steps=3000
    )
    with pytest.raises(SolveError, match=r"InterpolatingAdjoint\(\) or GaussAdjoint\(\)") as info:
        s.ys[-1].sum().backward()
    assert "scale it down" not in str(info.value)


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_fixed_steps_from_output_to_output_where_only_the_last_one_matters(engine, method, adjoint):
    y0 = torch.ones(2, dtype=D, requires_grad=True)
    t = torch.linspace(0, 1, 101, dtype=D)
    s = pyseminorm.solve(decay(1.0), y0, t, method=method, backend=engine, adjoint=adjoint)
    s.ys[-1].sum().backward()
    assert y0.grad.tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-2)


@pytest.mark.parametrize("method", ["euler", "rk4"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_one_fixed_step_over_the_whole_interval(engine, method, adjoint):
    y0 = torch.ones(2, dtype=D, requires_grad=True)
    s = pyseminorm.solve(decay(1.0), y0, [0.0, 0.1], method=method, backend=engine, adjoint=adjoint)
    s.ys[-1].sum().backward()
    assert y0.grad.tolist() == pytest.approx([math.exp(-0.1)] * 2, rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_an_absolute_tolerance_below_the_dtype_is_no_division_by_zero(engine, dtype):
    y0 = torch.zeros(2, dtype=dtype, requires_grad=True)
    adjoint = BacksolveAdjoint(atol=1e-320 if dtype == D else 1e-60)
    s = pyseminorm.solve(
        lambda t, y: -y, y0, [0.0, 1.0], backend=engine, atol=5e-324 if dtype == D else 1e-60, adjoint=adjoint
    )
    s.ys[-1].sum().backward()
    assert s.ys.abs().max() == 0.0 and y0.grad.tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-2)


@pytest.mark.parametrize("compile", [None, pytest.param("trace", marks=pytest.mark.capture)])
@pytest.mark.parametrize("method", ["tsit5", "rk4", "gl4"])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint(), DirectAdjoint()])
def test_a_batch_of_nothing(adjoint, method, compile):
    """Its rows are none, and gradients are zero: a process among several may get no data."""
    if method == "gl4" and isinstance(adjoint, DiscreteAdjoint):
        return
    net, y0 = torch.nn.Linear(2, 2), torch.zeros(0, 2, requires_grad=True)
    t = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    s = pyseminorm.solve(
        lambda t, y: net(y), y0, t, params=net.parameters(), method=method, adjoint=adjoint, compile=compile, dense=True
    )
    assert s.ys.shape == (3, 0, 2) and s.interpolate(0.3).shape == (0, 2)
    by_start, *rest = torch.autograd.grad(s.ys.sum(), [y0, t, *net.parameters()])
    assert by_start.shape == (0, 2) and not any(x.any() for x in rest)


@pytest.mark.parametrize("norm", ["rms", "torchdiffeq"])
@pytest.mark.parametrize("n", [3, 100])
def test_a_leaf_of_nothing_has_no_norm(norm, n):
    y0 = (torch.zeros(0, 2), torch.ones(n))
    s = pyseminorm.solve(lambda t, y: (y[0], -y[1]), y0, [0.0, 1.0], norm=norm, rtol=1e-6)
    torch.testing.assert_close(s.ys[1][-1], torch.full((n,), math.exp(-1)), rtol=1e-5, atol=0)
