"""Adams methods and interp="linear", against the installed torchdiffeq."""

import pytest
import torch
from iterative_methods import check_refused, every_adjoint
from problems import Pendulum, batch, relative

import pyseminorm
from pyseminorm import Algorithm, BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint
from pyseminorm.methods.adams import explicit_weights, implicit_weights

TIMES = {"increasing": [0.0, 0.33, 1.0, 1.5], "decreasing": [1.5, 1.0, 0.33, 0.0]}
ADAMS = ("explicit_adams", "implicit_adams")
FIXED = {"euler": "euler", "midpoint": "midpoint", "heun2": "heun2", "heun3": "heun3", "rk4": "rk4_38"}


def both(method, t, adjoint=False, *, func=None, rtol=1e-3, atol=1e-4, theirs=None, ours=None, dtype=torch.float64):
    """(states, gradients) of torchdiffeq and of ours."""
    import torchdiffeq

    func, y0 = func or Pendulum(dtype=dtype), batch(3, dtype).requires_grad_()
    solver = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
    options = {"step_size": 0.05, **(theirs or {})}
    times = torch.tensor(t, dtype=dtype)
    expected = solver(func, y0, times, method=method, rtol=rtol, atol=atol, options=options)
    settings = {} if ours is None else ours
    name = Algorithm(FIXED.get(method, method), **{"interp": "linear", **settings})
    back = BacksolveAdjoint(scale_invariant=False) if adjoint else DirectAdjoint()
    found = pyseminorm.solve(func, y0, t, method=name, dt=0.05, rtol=rtol, atol=atol, adjoint=back).ys
    inputs = [y0, *func.parameters()]
    return [(ys.detach(), torch.autograd.grad(ys.pow(2).sum(), inputs)) for ys in (expected, found)]


def check(found, rounding=1e-12):
    (expected, gradients), (ys, mine) = found
    assert relative(ys, expected) < rounding
    assert all(relative(a, b) < rounding for a, b in zip(mine, gradients, strict=True))


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("adjoint", [False, True], ids=["through the steps", "backwards"])
@pytest.mark.parametrize("method", [*ADAMS, *FIXED])
def test_numbers_and_gradients_are_those_of_torchdiffeq(method, adjoint, order):
    few = {"max_order": 5} if method in ADAMS else {}  # explicit ones of high order are unstable, and swell roundings
    check(both(method, TIMES[order], adjoint, theirs=few, ours=few))


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("method", ADAMS)
@pytest.mark.parametrize("options", [{"max_order": 6}, {"max_order": 5, "max_iters": 12}], ids=str)
def test_options_are_those_of_torchdiffeq(method, options):
    check(both(method, TIMES["increasing"], theirs=options, ours=options, rtol=1e-5, atol=1e-7))
    check(both(method, TIMES["increasing"], theirs={"interp": "cubic", **options}, ours={"interp": "cubic", **options},
               rtol=1e-5, atol=1e-7))  # fmt: skip


@pytest.mark.peer("torchdiffeq")
def test_an_iteration_that_does_not_converge_warns_as_there():
    with pytest.warns(UserWarning, match="Functional iteration did not converge"):
        check(
            both("implicit_adams", [0.0, 1.0], rtol=1e-13, atol=1e-15, theirs={"max_iters": 1}, ours={"max_iters": 1})
        )
    with pytest.warns(UserWarning, match="max_order is below 4, so the solver reduces to `rk4`"):
        check(both("implicit_adams", [0.0, 1.0], theirs={"max_order": 3}, ours={"max_order": 3}))


@pytest.mark.peer("torchdiffeq")
def test_coefficients_are_those_of_torchdiffeq():
    from torchdiffeq._impl.fixed_adams import _BASHFORTH_DIVISOR, _MOULTON_DIVISOR

    for order in range(2, 13):  # of order 1 theirs are 1/11
        assert explicit_weights(order) == tuple(_BASHFORTH_DIVISOR[order].tolist())
        assert implicit_weights(order) == tuple(_MOULTON_DIVISOR[order].tolist())


@every_adjoint
@pytest.mark.parametrize("method", ADAMS)
def test_they_converge_with_every_adjoint_that_needs_no_tableau(method, adjoint):
    field, y0, t, gradients = Pendulum(), batch(3).requires_grad_(), [0.0, 0.33, 1.0], []
    adams = {"method": Algorithm(method, max_order=5), "dt": 0.01, "adjoint": adjoint(), "rtol": 1e-9, "atol": 1e-10}
    for settings in (adams, {"method": "vern7", "rtol": 1e-10, "atol": 1e-10}):
        ys = pyseminorm.solve(field, y0, t, backend="torch", **settings).ys
        gradients.append(torch.autograd.grad(ys.pow(2).sum(), [y0, *field.parameters()]))
    assert all(relative(a, b) < 1e-4 for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("method", ADAMS)
def test_backpropagation_gives_the_gradient_by_the_first_time(method):
    """Formulas take steps for even ones, which the first would not be if it alone grew."""
    field, gradients = Pendulum(), []
    adams = {"adjoint": DirectAdjoint(), "method": Algorithm(method, max_order=6), "dt": 0.05, "rtol": 1e-9}
    for settings in (adams, {"method": "vern7", "rtol": 1e-10}):
        y0, t = batch(3).requires_grad_(), torch.tensor([-0.1, 0.33, 1.0], dtype=torch.float64, requires_grad=True)
        ys = pyseminorm.solve(field, y0, t, backend="torch", **settings).ys
        gradients.append(torch.autograd.grad(ys.pow(2).sum(), [t, y0]))
    assert all(relative(a, b) < 2e-3 for a, b in zip(*gradients, strict=True))


def test_dense_output_is_what_interp_says():
    y0, t = batch(1), [0.0, 1.0]
    for method in ("rk4", "implicit_adams"):
        s = pyseminorm.solve(
            Pendulum(), y0, t, method=Algorithm(method, interp="linear"), dt=0.25, dense=True, rtol=1.0
        )
        ends, middle = s.interpolate([0.5, 0.75]), s.interpolate(0.625)
        assert torch.allclose(middle, ends.mean(dim=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"method": "implicit_adams", "adjoint": DiscreteAdjoint()}, "DiscreteAdjoint does not know the steps"),
        ({"method": Algorithm("implicit_adams", max_order=13)}, "max_order=13 must be at most 12"),
        ({"method": Algorithm("implicit_adams", order=3)}, "expected no options but max_order, max_iters and interp"),
        ({"method": Algorithm("euler", interp="quadratic")}, 'interp="linear" or "cubic"'),
        ({"method": Algorithm("tsit5", interp="linear")}, "of a fixed-step method only"),
        ({"method": "explicit_adams", "backend": "julia"}, "not one of OrdinaryDiffEq"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    check_refused(settings, message)
