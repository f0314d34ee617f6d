"""The steps of `odeint_adjoint`: whose controller chooses them, and how many there are beside torchdiffeq's."""

import pytest
import torch
from problems import MLP, batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, PIController, StepCallbacks, TorchdiffeqController

T = torch.linspace(0, 2, 3, dtype=torch.float64)


class Watched(MLP):
    """A field that keeps the sizes of accepted steps, forward and backward, and counts its calls."""

    def __init__(self):
        super().__init__(width=16)
        self.forwards, self.backwards, self.calls = [], [], 0

    def forward(self, t, y):
        self.calls += 1
        return super().forward(t, y)

    def callback_accept_step(self, t, y, dt):
        self.forwards.append(float(dt))

    def callback_accept_step_adjoint(self, t, y, dt):
        self.backwards.append(float(dt))


def _steps(**settings):
    field = Watched()
    pyseminorm.odeint_adjoint(field, batch(4), T, rtol=1e-6, atol=1e-8, **settings)[-1].sum().backward()
    return field.forwards, field.backwards


def _steps_of_solve(method, forward, backward):
    """Take the same ways by `solve`, with the controllers that are given."""
    forwards, backwards = [], []
    watch = StepCallbacks(
        accept_step=lambda t, y, dt: forwards.append(abs(dt)),
        accept_step_adjoint=lambda t, y, dt: backwards.append(abs(dt)),
    )
    adjoint = BacksolveAdjoint(norm="seminorm_leaves", scale_invariant=False, controller=backward)
    settings = {"method": method, "rtol": 1e-6, "atol": 1e-8, "norm": "torchdiffeq", "adjoint": adjoint}
    s = pyseminorm.solve(MLP(width=16), batch(4), T, controller=forward, callbacks=watch, **settings)
    s.ys[-1].sum().backward()
    return forwards, backwards


@pytest.mark.parametrize(("method", "order"), [("dopri5", 5), ("bosh3", 3), ("dopri8", 8)])
def test_the_controller_is_integral_as_torchdiffeqs(method, order):
    integral = PIController(beta1=1 / order, beta2=0.0)
    assert _steps(method=method) == _steps_of_solve(method, integral, integral)
    assert _steps(method=method) != _steps_of_solve(method, None, None)


def test_its_factors_are_options_of_each_pass():
    forward = PIController(beta1=1 / 5, beta2=0.0, gamma=0.8, qmax=2.0)
    backward = PIController(beta1=1 / 5, beta2=0.0, qmin=0.5, qmax=3.0)
    given = {
        "options": {"safety": 0.8, "ifactor": 2.0},
        "adjoint_options": {"dfactor": 0.5, "ifactor": 3.0},
    }
    assert _steps(**given) == _steps_of_solve("dopri5", forward, backward)


@pytest.mark.parametrize("adjoint_options", [None, {}, {"safety": 0.5}])
def test_torchdiffeqs_steps_are_those_of_both_passes(adjoint_options):
    backward = TorchdiffeqController(**(adjoint_options or {}))
    steps = _steps(options={"controller": "torchdiffeq"}, adjoint_options=adjoint_options)
    assert steps == _steps_of_solve("dopri5", "torchdiffeq", backward)


def test_the_steps_of_another_method_backwards_are_by_its_order():
    _, backwards = _steps(adjoint_method="bosh3")
    adjoint = BacksolveAdjoint(
        norm="seminorm_leaves",
        scale_invariant=False,
        method="bosh3",
        controller=PIController(beta1=1 / 3, beta2=0.0),
    )
    s = pyseminorm.solve(
        MLP(width=16), batch(4), T, method="dopri5", rtol=1e-6, atol=1e-8, norm="torchdiffeq", adjoint=adjoint,
        controller=PIController(beta1=1 / 5, beta2=0.0),
    )  # fmt: skip
    s.ys[-1].sum().backward()
    assert len(backwards) == s.stats.backward.naccept


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_pass_evaluates_more_often_than_torchdiffeqs_by_default(dtype):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    counts = []
    for odeint in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint):
        field = Watched().to(dtype)
        ys = odeint(field, batch(4).to(dtype), T)
        forward = field.calls
        ys[-1].sum().backward()
        counts.append((forward, field.calls - forward))
    (forward, backward), (their_forward, their_backward) = counts
    assert forward <= their_forward + 6  # a step that rounding may add
    assert backward < their_backward
