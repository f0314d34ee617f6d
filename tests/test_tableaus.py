"""The coefficients of every method, and the engine that has it."""

import functools
import operator

import pytest
import torch
from problems import Pendulum, batch

import pyseminorm
from pyseminorm import InvalidInputError
from pyseminorm.methods.tableaus import ADAPTIVE_METHODS, JULIA_METHODS, METHODS, TABLEAUS

ALONE = [name for name in METHODS if name not in JULIA_METHODS]
HEUN = {"adaptive_heun": {"rtol": 1e-4, "atol": 1e-6}, "heun2": {"dt": 0.05}}
# At least the order that dense output has in the middle of a step.
DENSE = {"tsit5": 4, "dopri5": 4, "vern7": 7, "dopri8": 5, "euler": 1, "midpoint": 2, "adaptive_heun": 2, "heun2": 2}


def field(t, y):
    return torch.stack([y[1] * torch.cos(t), -torch.sin(y[0]) - 0.1 * y[1]])


def error(method, dt, t, exact):
    """Of a solve by steps of one size, at its end and at an output inside."""
    adaptive = {"controller": pyseminorm.PIController(qmin=1.0, qmax=1.0, qmax_first_step=1.0), "rtol": 1e3}
    settings = adaptive if method in ADAPTIVE_METHODS else {}
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
    ys = pyseminorm.solve(field, y0, t, method=method, dt=dt, backend="torch", **settings).ys
    return (ys - exact).abs().amax(dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_methods_and_their_dense_output_have_their_orders(method):
    t, order = [0.0, 1.0, 2.0 / 3.0 + 1.0, 2.0], TABLEAUS[method].order
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
    exact = pyseminorm.solve(field, y0, t, method="vern7", rtol=1e-13, atol=1e-13, backend="torch").ys
    coarse, fine = (error(method, dt, t, exact) for dt in ((0.5, 0.25) if order > 5 else (0.125, 0.0625)))
    assert fine[3] < coarse[3] / 2 ** (order - 0.6)
    assert fine[2] < coarse[2] / 2 ** (min(order, DENSE.get(method, 3)) - 0.6)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_consistent(method):
    tableau = TABLEAUS[method]
    rows, c = tableau.a + tableau.extra_a, tableau.c + tableau.extra_c
    # Added up as a solver does: sum() compensates for rounding since Python 3.12.
    assert [functools.reduce(operator.add, row, 0.0) for row in rows] == pytest.approx(list(c), abs=1e-14)
    assert sum(tableau.b) == pytest.approx(1.0) and sum(tableau.b_error or (0.0,)) == pytest.approx(0.0, abs=1e-14)
    assert [sum(row) for row in tableau.dense] == pytest.approx([*tableau.b, *(0.0,) * len(tableau.extra_c)], abs=1e-11)
    assert [row[0] for row in tableau.dense] == [1.0, *(0.0,) * (len(c) - 1)]  # it begins with f(t, y)
    assert not tableau.fsal or (tableau.a[-1], tableau.c[-1], tableau.b[-1]) == (tableau.b[:-1], 1.0, 0.0)


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4_38"])
def test_fixed_steps_are_those_of_torchdiffeq(method):
    import torchdiffeq

    y0, t, options = batch(3), torch.linspace(0.0, 1.0, 5, dtype=torch.float64), {"step_size": 0.1, "interp": "cubic"}
    theirs = torchdiffeq.odeint(Pendulum(), y0, t, method={"rk4_38": "rk4"}.get(method, method), options=options)
    ours = pyseminorm.solve(Pendulum(), y0, t, method=method, dt=0.1, backend="torch").ys
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("method", ALONE)
def test_a_method_of_the_embedded_engine_alone_chooses_it(method):
    y0, t = torch.ones(2), [0.0, 0.1]
    assert pyseminorm.solve(lambda t, y: -y, y0, t, method=method).backend == "torch"
    with pytest.raises(InvalidInputError, match=f"{method}.*not one of OrdinaryDiffEq: give backend=.torch"):
        pyseminorm.solve(lambda t, y: -y, y0, t, method=method, backend="julia")
    with pytest.raises(InvalidInputError, match=f"{method}.*Vern9"):
        pyseminorm.solve(lambda t, y: -y, y0, t, method=method, adjoint=pyseminorm.InterpolatingAdjoint(method="Vern9"))


@pytest.mark.julia
@pytest.mark.parametrize("method", HEUN)
def test_heun_takes_the_same_steps_in_both_engines(method):
    found = []
    for engine in ("torch", "julia"):
        y0 = batch(2).requires_grad_()
        s = pyseminorm.solve(Pendulum(), y0, [0.0, 1.0, 2.0], method=method, backend=engine, **HEUN[method])
        s.ys.pow(2).sum().backward()
        found.append((s.ys.detach(), y0.grad, s.stats.forward.times, s.stats.backward.times, s.stats.forward.nf))
    (ys, grad, *steps, nf), (others, other, *theirs, other_nf) = found
    torch.testing.assert_close(ys, others, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, other, rtol=1e-8, atol=1e-8)
    assert [pytest.approx(times, abs=1e-8) for times in theirs] == steps and nf == other_nf
