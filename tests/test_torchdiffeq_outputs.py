"""Dense output and events by torchdiffeq's functions, beside those of the installed package."""

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
import pyseminorm.torchdiffeq

torchdiffeq = pytest.importorskip("torchdiffeq")
pytestmark = pytest.mark.peer("torchdiffeq")


@pytest.mark.parametrize("way", [1, -1])
def test_dense_output_agrees(way):
    """Values and gradients, at times in any order; backwards theirs has negative times and no more than values."""
    found = []
    for ours in (True, False):
        odeint_dense = pyseminorm.odeint_dense if ours else torchdiffeq.odeint_dense
        field, y0 = MLP(width=16), batch(4).requires_grad_()
        dense = odeint_dense(field, y0, torch.tensor(0.1, dtype=torch.float64), 0.1 + way)
        t = torch.tensor([0.8, 0.3], dtype=torch.float64, requires_grad=True)
        at = [0.1 + way * x if ours else way * 0.1 + x for x in t]
        states = torch.stack([dense(x) for x in at])
        if ours:
            torch.testing.assert_close(dense(torch.stack(at)), states, rtol=1e-12, atol=1e-12)
        (states * cotangents(2, 4, 2)).sum().backward()
        found.append((states.detach(), y0.grad, t.grad, torch.cat([p.grad.reshape(-1) for p in field.parameters()])))
    for a, b in zip(*found, strict=True):
        assert relative(a, b) < 1e-5


@pytest.mark.parametrize("func", [lambda t, y: -y, torch.nn.Linear(2, 2).double()])
def test_dense_output_is_differentiable_by_its_first_time(func):
    """Theirs is not: it takes the numbers out of t0 and t1."""
    field = func if not isinstance(func, torch.nn.Module) else (lambda t, y: func(y))
    y0, t = batch(2), torch.tensor([0.1, 1.1], dtype=torch.float64, requires_grad=True)
    state = pyseminorm.odeint_dense(field, y0, t[0], t[1])(0.6)
    (found,) = torch.autograd.grad(state.sum(), t)
    near = [pyseminorm.odeint_dense(field, y0, 0.1 + d, 1.1)(0.6).sum().item() for d in (1e-4, -1e-4)]
    assert found[0].item() == pytest.approx((near[0] - near[1]) / 2e-4, rel=1e-4) and found[1] == 0.0


@pytest.mark.parametrize(("y0", "method"), [((torch.ones(2),), None), (torch.ones(2), "bosh3")])
def test_dense_output_is_of_a_tensor_by_dopri5(y0, method):
    for odeint_dense in (pyseminorm.odeint_dense, torchdiffeq.odeint_dense):
        with pytest.raises(AssertionError):
            odeint_dense(lambda t, y: y, y0, torch.tensor(0.0), torch.tensor(1.0), method=method)


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize("reverse", [False, True])
def test_events_are_found_with_their_gradients(interface, reverse):
    """y' = w y from (1, 2) until the sum of a tuple's elements is one half, of which the window knows nothing."""
    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        weight = torch.nn.Parameter(torch.tensor(0.3 if reverse else -0.3, dtype=torch.float64))

        class Decay(torch.nn.Module):
            def __init__(self, weight=weight):
                super().__init__()
                self.weight = weight

            def forward(self, t, y):
                return tuple(self.weight * x for x in y)

        t0 = torch.tensor([0.2], dtype=torch.float64)
        y0 = (torch.tensor([1.0], dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64, requires_grad=True))
        t, ys = module.odeint_event(
            Decay(), y0, t0, event_fn=lambda t, y: y[0].sum() + y[1] - 0.5, reverse_time=reverse, rtol=1e-9,
            odeint_interface=getattr(module, interface),
        )  # fmt: skip
        loss = t.square().sum() + ys[0][-1].sum() * 3 + ys[1].sum()
        found.append((t.reshape(()), *ys, *torch.autograd.grad(loss, [weight, y0[1]])))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_conditions_of_an_event_may_have_the_shape_of_a_batch(interface):
    """y' = -w from rows of two states, (3, 2): the first element of any row that crosses zero is the event."""
    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        params = {"adjoint_params": (weight,)} if interface == "odeint_adjoint" else {}
        y0, t0 = torch.arange(1.0, 7.0, dtype=torch.float64).view(3, 2), torch.tensor(0.0, dtype=torch.float64)
        t, ys = module.odeint_event(
            lambda t, y, weight=weight: -weight * torch.ones_like(y), y0, t0, event_fn=lambda t, y: y[:, :1] - 2 * t,
            odeint_interface=getattr(module, interface), **params,
        )  # fmt: skip
        found.append((t.reshape(()), ys, *torch.autograd.grad(t.sum() + ys[-1].square().sum(), weight)))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("method", "options"),
    [("dopri5", {}), ("bosh3", {}), ("fehlberg2", {}), ("rk4", {"step_size": 0.1}), ("euler", {"step_size": 0.1})],
)
@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_the_derivative_of_an_events_time_is_by_func_there(interface, method, options):
    """y' = -y from y0 until y is 0.55: t = log(y0 / 0.55) has the derivative one, whatever dense output makes of y'."""

    class Decay(torch.nn.Module):
        def forward(self, t, y):
            return -y

    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    t, ys = pyseminorm.torchdiffeq.odeint_event(
        Decay(), y0, torch.tensor(0.0, dtype=torch.float64), event_fn=lambda t, y: y - 0.55, method=method,
        options=options, rtol=1e-6, atol=1e-6, odeint_interface=getattr(pyseminorm.torchdiffeq, interface),
    )  # fmt: skip
    by_time, by_state = (torch.autograd.grad(x, y0, retain_graph=True)[0].item() for x in (t, ys[-1].sum()))
    assert by_time == pytest.approx(1.0, abs=3e-4) and by_state == pytest.approx(0.0, abs=3e-4)
