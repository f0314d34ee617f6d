"""odeint_adjoint beside torchdiffeq's: names, defaults, values and gradients."""

import inspect

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
from pyseminorm import InvalidInputError

torchdiffeq = pytest.importorskip("torchdiffeq")
pytestmark = pytest.mark.peer("torchdiffeq")
T = torch.linspace(0, 1, 4, dtype=torch.float64)


def test_the_signature_is_torchdiffeqs():
    ours, theirs = (inspect.signature(f).parameters for f in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint))
    for name, parameter in ours.items():
        assert name in theirs and theirs[name].default == parameter.default, name
        assert theirs[name].kind == parameter.kind, name
    assert set(theirs) - set(ours) == {"event_fn"}


def _gradients(odeint, **settings):
    field, y0 = MLP(width=16), batch(4).requires_grad_()
    ys = odeint(field, y0, T, **settings)
    (ys * cotangents(4, 4, 2)).sum().backward()
    return ys.detach(), y0.grad, torch.cat([p.grad.reshape(-1) for p in field.parameters()])


@pytest.mark.parametrize("method", [None, "bosh3", "midpoint"])
def test_values_and_gradients_agree(method):
    settings = {"method": method}
    if method == "midpoint":
        settings["options"] = {"step_size": 0.01}
    ours = _gradients(pyseminorm.odeint_adjoint, **settings)
    theirs = _gradients(torchdiffeq.odeint_adjoint, **settings)
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a, b) < {None: 1e-6, "bosh3": 5e-5, "midpoint": 1e-3}[method]


def test_a_callable_adjoint_norm_gets_torchdiffeqs_tuple():
    seen = []

    def norm(state):
        t, y, adj_y, *params = state
        seen.append((t.shape, y.shape, adj_y.shape, len(params)))
        return max(y.pow(2).mean().sqrt(), adj_y.pow(2).mean().sqrt())

    for odeint in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint):
        _gradients(odeint, adjoint_options={"norm": norm})
        assert seen[0] == (torch.Size([]), torch.Size([4, 2]), torch.Size([4, 2]), 6)
        seen.clear()


def test_the_default_adjoint_norm_is_the_seminorm():
    default = _gradients(pyseminorm.odeint_adjoint)
    named = _gradients(pyseminorm.odeint_adjoint, adjoint_options={"norm": "seminorm"})
    assert all(torch.equal(a, b) for a, b in zip(default, named, strict=True))


def test_tuples_come_back_as_tuples():
    y0 = (batch(2), torch.ones(3, dtype=torch.float64))
    ys = pyseminorm.odeint_adjoint(lambda t, y: (-y[0], -y[1]), y0, T)
    assert isinstance(ys, tuple) and ys[0].shape == (4, 2, 2) and ys[1].shape == (4, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"grid_constructor": len}}, "'grid_constructor' is not supported"),
        ({"adjoint_options": {"first_step": 0.1}}, "'first_step' is not supported"),
        ({"method": "dopri8"}, "use 'vern7'"),
        ({"adjoint_method": "adaptive_heun"}, "adjoint_method='adaptive_heun'"),
        ({"options": {"first_step": 0.1, "step_size": 0.1}}, "not both"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        pyseminorm.odeint_adjoint(MLP(), batch(2), T, **settings)


def test_compile_is_an_option_of_our_own():
    field, t = MLP(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    y0, gradients = batch(2), []
    for options in (None, {"compile": "trace"}):
        field.zero_grad()
        pyseminorm.odeint_adjoint(field, y0, t, options=options).sum().backward()
        gradients.append([p.grad.clone() for p in field.parameters()])
    torch.testing.assert_close(*gradients)
    with pytest.raises(InvalidInputError, match="compile='fast' is not known"):
        pyseminorm.odeint_adjoint(field, y0, t, options={"compile": "fast"})


def test_the_backward_tolerance_is_in_units_of_the_loss_as_there():
    def backward_steps(odeint, size):
        seen = []
        field, y0 = MLP(width=16), batch(4)
        field.callback_accept_step_adjoint = lambda t, y, dt: seen.append(dt)
        norm = {"norm": lambda state: state[2].pow(2).mean().sqrt()}  # of adj_y
        ys = odeint(field, y0, T, rtol=1e-7, atol=1e-7, adjoint_options=norm)
        (ys[-1] * cotangents(4, 2) * size).sum().backward()
        return len(seen)

    counts = [backward_steps(pyseminorm.odeint_adjoint, size) for size in (1e-9, 1.0)]
    assert counts[0] < counts[1]  # errors below atol are no errors


def test_max_num_steps_is_a_whole_number():
    field = lambda t, y: -y  # noqa: E731
    assert pyseminorm.odeint_adjoint(field, batch(2), T, options={"max_num_steps": 1e4}).shape == (4, 2, 2)
    for given in ("5", 2.5, 0):
        for name in ("options", "adjoint_options"):
            with pytest.raises(InvalidInputError, match="max_steps"):
                pyseminorm.odeint_adjoint(field, batch(2), T, **{name: {"max_num_steps": given}})
