"""Jacobians through torch against torch.autograd.functional, in every mode."""

import pytest
import torch
from problems import ContinuousFlow, Hamiltonian, Oscillating, batch, relative

from pyseminorm.problem.jacobian import JACOBIANS, Jacobian
from pyseminorm.problem.state import StateSpec
from pyseminorm.problem.vector_field import EagerVectorField

TOLERANCE = {"reverse": 1e-13, "forward": 1e-13, "finite": 1e-5}


class Forced(torch.nn.Module):
    """Nonlinear in y and in t."""

    def forward(self, t, y):
        return torch.stack(
            [y[..., 0] * y[..., 1] * torch.sin(3 * t), torch.cos(y[..., 0]) - t**2 * y[..., 1] ** 3], dim=-1
        )


def _made(module, y0, mode, intervals=((0.0, 1.0),)):
    spec = StateSpec(y0)
    return Jacobian(EagerVectorField(module, (), spec, None), mode, intervals), spec


def _exact(module, spec, t, y):
    def flat(t, y):
        return spec.flatten(module(t, spec.unflatten(y)))

    by_time, by_state = torch.autograd.functional.jacobian(flat, (torch.tensor(t, dtype=y.dtype), y))
    return by_state, by_time


@pytest.mark.parametrize("mode", JACOBIANS)
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("module", [Forced(), Oscillating()], ids=["forced", "mlp"])
def test_by_state_and_by_time(mode, t, module):
    y0 = batch(3)
    jacobian, spec = _made(module, y0, mode)
    y = spec.flatten(y0)
    for made, exact in zip(jacobian.of_field(t, y), _exact(module, spec, t, y), strict=True):
        assert (made - exact).norm() <= TOLERANCE[mode] * (1 + exact.norm())


@pytest.mark.parametrize("mode", JACOBIANS)
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_of_the_adjoint_along_the_trajectory(mode, t):
    module, y0 = Forced(), batch(2)
    jacobian, spec = _made(module, y0, mode)
    y, adjoint = spec.flatten(y0), torch.tensor([0.3, -1.0, 0.7, 2.0], dtype=torch.float64)

    def right_hand_side(shift):  # lambda' at t + shift, on the tangent of the trajectory
        at = torch.tensor(t, dtype=torch.float64) + shift
        rate = spec.flatten(module(torch.tensor(t, dtype=torch.float64), y0)).detach()
        moved = (y + shift * rate).requires_grad_()
        value = spec.flatten(module(at, spec.unflatten(moved)))
        (product,) = torch.autograd.grad(value, moved, adjoint, create_graph=True)
        return -product

    slope = torch.autograd.functional.jacobian(right_hand_side, torch.zeros((), dtype=torch.float64))
    by_state, by_time = jacobian.of_adjoint(t, y, adjoint)
    assert relative(by_state, -_exact(module, spec, t, y)[0].T) <= TOLERANCE[mode]
    assert relative(by_time, slope) <= 10 * TOLERANCE[mode]


def test_fields_that_differentiate_inside_themselves():
    for module, y0 in (
        (Hamiltonian(enable=False), batch(2)),
        (ContinuousFlow(), (batch(2), torch.zeros(2, dtype=torch.float64))),
    ):
        jacobian, spec = _made(module, y0, "reverse")
        y = spec.flatten(y0)
        by_state, by_time = jacobian.of_field(0.3, y)
        finite, _ = _made(module, y0, "finite")
        assert relative(by_state, finite.of_field(0.3, y)[0]) < 1e-5
        assert (by_time - finite.of_field(0.3, y)[1]).norm() < 1e-5


class _Cube(torch.autograd.Function):
    """A product that torch cannot batch: it looks at a value."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad * (1.0 if float(grad.sum()) > -1e300 else 2.0)


def test_products_that_cannot_be_batched_are_made_row_by_row(caplog):
    jacobian, spec = _made(lambda t, y: _Cube.apply(y) * t, batch(2), "reverse")
    y = spec.flatten(batch(2))
    with caplog.at_level("INFO", logger="pyseminorm"):
        by_state, by_time = jacobian.of_field(0.5, y)
        jacobian.of_field(0.6, y)
    assert torch.allclose(by_state, torch.diag(1.5 * y**2)) and torch.allclose(by_time, y**3)
    assert len([r for r in caplog.records if "row by row" in r.message]) == 1


def test_a_point_is_evaluated_once():
    jacobian, spec = _made(Forced(), batch(2), "reverse")
    y = spec.flatten(batch(2))
    jacobian.of_field(0.5, y), jacobian.of_field(0.5, y.clone()), jacobian.of_field(0.5, y + 1)
    assert jacobian.calls == 2


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_constant_field_has_no_derivatives(mode):
    jacobian, spec = _made(lambda t, y: torch.ones_like(y), batch(2), mode)
    by_state, by_time = jacobian.of_field(0.5, spec.flatten(batch(2)))
    assert not by_state.any() and not by_time.any() and by_state.shape == (4, 4)


@pytest.mark.parametrize("of", ["field", "adjoint"])
@pytest.mark.parametrize("t", [0.0, 0.2, 0.5 - 1e-12, 0.5, 0.5 + 1e-12, 0.8, 1.0])
def test_finite_differences_stay_inside_their_interval(t, of):
    """A difference across the discontinuity at 0.5 would be as large as 100 / step."""
    intervals, times = ((0.0, 0.5), (0.5, 1.0)), []

    def func(t, y):
        times.append(float(t))
        return y * t + (100.0 if t > 0.5 else 0.0)

    jacobian, spec = _made(func, batch(1), "finite", intervals=intervals)
    y = spec.flatten(batch(1))
    jacobian.of_field(t, y) if of == "field" else jacobian.of_adjoint(t, y, torch.ones_like(y))
    assert len(set(times)) == 2 and t in times
    assert any(all(low <= time <= high for time in times) for low, high in intervals)
