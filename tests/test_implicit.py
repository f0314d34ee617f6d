"""Implicit fixed-step methods, against closed forms, their orders, and the installed torchdiffeq where it has them."""

import math
import sys
import warnings

import pytest
import torch
from iterative_methods import check_refused, every_adjoint
from problems import Pendulum, batch, relative
from torch.autograd import forward_ad

import pyseminorm
import pyseminorm.torchdiffeq
from pyseminorm import Algorithm, BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint, UnsupportedError
from pyseminorm.methods.implicit import IMPLICIT_TABLEAUS

GAMMA, BETA = 1 - math.sqrt(2) / 2, math.sqrt(2) / 4
STABILITY = {  # what a step multiplies the state of y' = y z / h by
    "implicit_euler": lambda z: 1 / (1 - z),
    "implicit_midpoint": lambda z: (1 + z / 2) / (1 - z / 2),
    "trapezoid": lambda z: (1 + z / 2) / (1 - z / 2),
    "radauIIA3": lambda z: (1 + z / 3) / (1 - 2 * z / 3 + z**2 / 6),
    "gl4": lambda z: (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12),
    "radauIIA5": lambda z: (1 + 2 * z / 5 + z**2 / 20) / (1 - 3 * z / 5 + 3 * z**2 / 20 - z**3 / 60),
    "gl6": lambda z: (1 + z / 2 + z**2 / 10 + z**3 / 120) / (1 - z / 2 + z**2 / 10 - z**3 / 120),
    "sdirk2": lambda z: (1 + (1 - 2 * GAMMA) * z) / (1 - GAMMA * z) ** 2,
    "trbdf2": lambda z: (1 + BETA * z + BETA * z * (1 + GAMMA * z) / (1 - GAMMA * z)) / (1 - GAMMA * z),
}


class Decay(torch.nn.Module):
    """y' = -rate y, for every element its own rate."""

    def __init__(self, *rates):
        super().__init__()
        self.rates = torch.nn.Parameter(torch.tensor(rates, dtype=torch.float64))

    def forward(self, t, y):
        return -self.rates * y


def steps(method, field, y0, n=1, h=0.3, **settings):
    return pyseminorm.solve(field, y0, [0.0, n * h], method=method, dt=h, adjoint=DirectAdjoint(), **settings).ys[-1]


def test_all_of_them_have_a_closed_form_here():
    assert STABILITY.keys() == IMPLICIT_TABLEAUS.keys()


@pytest.mark.parametrize("method", STABILITY)
def test_states_and_first_and_second_derivatives_are_those_of_the_stability_function(method):
    field, y0 = Decay(0.5, 2.0, 30.0), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    found = steps(method, field, y0, 3)
    expected = STABILITY[method](-0.3 * field.rates) ** 3 * y0
    assert torch.allclose(found, expected, rtol=0, atol=1e-8)
    inputs, rows = [y0, field.rates], []
    for ys in (found, expected):
        first = torch.autograd.grad(ys.pow(2).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)
        rows.append([*first, *second])
    assert all(torch.allclose(a, b, rtol=1e-7, atol=1e-7) for a, b in zip(*rows, strict=True))


@pytest.mark.parametrize("method", STABILITY)
def test_derivatives_are_those_of_a_step_at_rest_too_where_no_iteration_is_made(method):
    field, y0 = Decay(0.5, 2.0), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(steps(method, field, y0).sum(), y0)
    assert torch.allclose(found, STABILITY[method](-0.3 * field.rates).detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", STABILITY)
def test_second_derivatives_of_coupled_equations_are_those_of_differences(method):
    field, y0 = Pendulum(), batch(2).requires_grad_()
    inputs = [y0, *field.parameters()]

    def slope():
        ys = steps(method, field, y0, 2)
        return torch.autograd.grad(ys.pow(3).sum(), inputs, create_graph=True)

    (found,) = torch.autograd.grad(slope()[0].sum(), inputs[1])
    with torch.no_grad():
        size, ends = 1e-4, []
        for sign in (1, -1, -1):
            inputs[1].view(-1)[0] += sign * size
            with torch.enable_grad():
                ends.append(slope()[0].sum().detach())
    assert float((ends[0] - ends[2]) / (2 * size)) == pytest.approx(float(found.view(-1)[0]), rel=1e-5)


def test_no_graph_of_second_derivatives_is_made():
    field, y0 = Decay(0.5), torch.ones(1, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(steps("gl4", field, y0).sum(), field.rates, create_graph=True)
    with pytest.raises(UnsupportedError, match="first and second derivatives"):
        torch.autograd.grad(first.sum(), field.rates, create_graph=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script")  # torch's own
def test_transforms_and_forward_mode_are_refused_by_name():
    y0, refused = torch.ones(1, dtype=torch.float64), r"method='gl4' inside a torch\.func transform or forward mode"
    with pytest.raises(UnsupportedError, match=refused):
        torch.func.grad(lambda y: steps("gl4", Decay(0.5), y).sum())(y0)
    with forward_ad.dual_level(), pytest.raises(UnsupportedError, match=refused):
        steps("gl4", Decay(0.5), forward_ad.make_dual(y0, y0))


@pytest.mark.parametrize("method", STABILITY)
def test_they_converge_in_their_order_where_time_matters(method):
    y0, errors, order = torch.ones(1, dtype=torch.float64), [], IMPLICIT_TABLEAUS[method].order
    for n in {4: (8, 16), 5: (8, 16), 6: (4, 8)}.get(order, (20, 40)):
        ys = pyseminorm.solve(lambda t, y: y * torch.cos(2 * t), y0, [0.0, 2.0], method=method, dt=2.0 / n).ys
        errors.append(abs(float(ys[-1]) - math.exp(math.sin(4.0) / 2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@every_adjoint
@pytest.mark.parametrize("method", ["radauIIA5", "gl6", "trbdf2"])
@pytest.mark.parametrize("t", [[0.0, 0.33, 1.0], [1.0, 0.33, 0.0]], ids=["increasing", "decreasing"])
def test_gradients_of_every_adjoint_that_needs_no_tableau(method, adjoint, t):
    field, gradients = Pendulum(), []
    moments = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    for settings in ({"method": method, "dt": 0.02}, {"method": "vern7", "rtol": 1e-10, "atol": 1e-10}):
        y0 = batch(2).requires_grad_()
        ys = pyseminorm.solve(field, y0, moments, backend="torch", adjoint=adjoint(), **settings).ys
        gradients.append(torch.autograd.grad(ys.pow(2).sum(), [y0, moments, *field.parameters()]))
    most = 2e-3 if method == "trbdf2" else 1e-5
    assert all(relative(a, b) < most for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("norm", ["seminorm", "torchdiffeq"])
def test_integrals_of_parameters_are_the_same_inside_the_state_and_beside_it(norm):
    field, y0 = Pendulum(), batch(2).requires_grad_()
    ys = pyseminorm.solve(field, y0, [0.0, 1.0], method="radauIIA3", dt=0.1, adjoint=BacksolveAdjoint(norm=norm)).ys
    found = torch.autograd.grad(ys.pow(2).sum(), list(field.parameters()))
    ys = pyseminorm.solve(field, y0, [0.0, 1.0], method="radauIIA3", dt=0.1, adjoint=BacksolveAdjoint()).ys
    expected = torch.autograd.grad(ys.pow(2).sum(), list(field.parameters()))
    assert all(relative(a, b) < 1e-7 for a, b in zip(found, expected, strict=True))


def test_an_iteration_that_does_not_converge_warns():
    with pytest.warns(UserWarning, match="Functional iteration did not converge"):
        steps(Algorithm("gl4", max_iters=1), Decay(2.0), torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"method": "gl4", "adjoint": DiscreteAdjoint()}, "DiscreteAdjoint does not know the steps"),
        ({"method": Algorithm("gl4", max_order=5)}, "expected no options but max_iters and interp"),
        ({"method": Algorithm("gl4", max_iters=0)}, "max_iters=0"),
        ({"method": "radauIIA5", "backend": "julia"}, "not one of OrdinaryDiffEq"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    check_refused(settings, message)


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("solver", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize("method", STABILITY)
def test_numbers_and_gradients_are_those_of_torchdiffeq(method, solver):
    import torchdiffeq

    if method not in sys.modules["torchdiffeq._impl.odeint"].SOLVERS:
        pytest.skip(f"this torchdiffeq has no {method}")
    field, y0, t = Pendulum(), batch(3).requires_grad_(), torch.tensor([0.0, 0.33, 1.0], dtype=torch.float64)
    rows = []
    with warnings.catch_warnings(action="ignore"):
        for module in (torchdiffeq, pyseminorm.torchdiffeq):
            ys = getattr(module, solver)(field, y0, t, method=method, options={"step_size": 0.05})
            rows.append([ys.detach(), *torch.autograd.grad(ys.pow(2).sum(), [y0, *field.parameters()])])
    assert all(relative(a, b) < 1e-7 for a, b in zip(*rows, strict=True))


@pytest.mark.parametrize(("method", "dt"), [("radauIIA5", 0.05), ("sdirk2", 0.02), ("implicit_adams", 0.002)])
def test_auto_reads_the_states_of_stiff_dynamics_from_the_forward_solve(method, dt):
    """Robertson's reaction, whose states cannot be solved backwards: BacksolveAdjoint fails, or gives 1e34."""
    rates = torch.log(torch.tensor([0.04, 3e3, 1e2], dtype=torch.float64)).requires_grad_()

    def func(t, y):
        a, b, c = y.unbind(-1)
        first, second, third = rates.exp().unbind()
        first, second, third = first * a, second * b * b, third * b * c
        return torch.stack([third - first, first - second - third, second], dim=-1)

    y0 = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.0, 0.2]], dtype=torch.float64)  # more elements than parameters
    found, tight = [], {"adjoint": DirectAdjoint(), "rtol": 1e-9, "atol": 1e-12}
    for settings in ({"method": method, "dt": dt, "adjoint": "auto"}, tight):
        ys = pyseminorm.solve(func, y0, [0.0, 2.0], params=[rates], backend="torch", **settings).ys
        found += torch.autograd.grad(ys[-1, :, 0].sum(), rates)
    assert relative(*found) < 1e-3
