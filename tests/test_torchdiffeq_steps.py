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
    given = {"options": {"safety": 0.8, "ifactor": 2.0}, "adjoint_options": {"dfactor": 0.5, "ifactor": 3.0}}
    assert _steps(**given) == _steps_of_solve("dopri5", forward, backward)


@pytest.mark.parametrize("adjoint_options", [None, {}, {"safety": 0.5}])
def test_torchdiffeqs_steps_are_those_of_both_passes(adjoint_options):
    backward = TorchdiffeqController(**(adjoint_options or {}))
    steps = _steps(options={"controller": "torchdiffeq"}, adjoint_options=adjoint_options)
    assert steps == _steps_of_solve("dopri5", "torchdiffeq", backward)


def test_the_steps_of_another_method_backwards_are_by_its_order():
    _, backwards = _steps(adjoint_method="bosh3")
    adjoint = BacksolveAdjoint(
        norm="seminorm_leaves", scale_invariant=False, method="bosh3", controller=PIController(beta1=1 / 3, beta2=0.0)
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


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_solve_to_a_late_event_takes_torchdiffeqs_steps(reverse):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    found = []
    for package in (pyseminorm, torchdiffeq):
        calls = []

        def fall(t, y, calls=calls):
            calls.append(t.item())
            return torch.stack([y[1], -0.1 * torch.ones_like(y[1]) - 0.2 * y[1].tanh()])

        y0, t0 = torch.tensor([50.0, 0.0], dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
        t, _ = package.odeint_event(fall, y0, t0, event_fn=lambda t, y: y[0] - 1.0, reverse_time=reverse)
        found.append((t.item(), max(abs(x) for x in calls), len(calls)))
    (ours, our_last, our_calls), (theirs, their_last, their_calls) = found
    assert abs(ours - theirs) < 1e-6 and abs(ours) > 10.0
    assert our_calls == their_calls and our_last == pytest.approx(their_last, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("interface", [pyseminorm.odeint, pyseminorm.odeint_adjoint])
def test_events_of_every_dtype_are_found(interface, dtype):
    settings = {"rtol": 1e-2, "atol": 1e-2, "odeint_interface": interface}
    if interface is pyseminorm.odeint_adjoint:
        settings["adjoint_params"] = ()
    y0, t0 = torch.ones(1, dtype=dtype), torch.zeros((), dtype=dtype)
    t, y = pyseminorm.odeint_event(lambda t, y: torch.ones_like(y), y0, t0, event_fn=lambda t, y: y - 3.0, **settings)
    assert abs(t.item() - 2.0) < 0.1 and abs(y[1].item() - 3.0) < 0.1


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("interp", ["linear", "cubic"])
@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_fixed_steps_evaluate_no_more_often_than_torchdiffeqs(method, interp):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    counts, ys = [], []
    for package in (pyseminorm, torchdiffeq):
        field, t = Watched(), torch.linspace(0, 1, 50, dtype=torch.float64)  # one is inside the last step
        options = {"step_size": 0.05, "interp": interp}
        ys.append(package.odeint(lambda t, y: field(t, y), batch(4), t, method=method, options=options))  # noqa: B023
        counts.append(field.calls)
    assert counts[0] <= counts[1]
    assert torch.allclose(*ys, rtol=1e-12)


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("backward", ["euler", "midpoint"])
def test_fixed_steps_of_another_method_backwards_are_torchdiffeqs(backward):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    options, gradients = {"step_size": 0.1}, []
    for odeint in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint):
        y0 = batch(4).requires_grad_()
        ys = odeint(
            MLP(width=8), y0, T, method="rk4", adjoint_method=backward, options=options, adjoint_options=options
        )
        gradients.append(torch.autograd.grad(ys[-1].square().sum(), y0)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize(
    ("method", "backward", "steps"),
    [
        ("dopri5", "rk4", {"step_size": 0.1}),
        ("dopri5", "euler", {"grid_constructor": lambda func, y0, t: torch.linspace(t[0], t[-1], 8, dtype=t.dtype)}),
        ("rk4", "rk4", {"step_size": 0.25}),
        ("rk4", "midpoint", {"step_size": 0.25}),
    ],
)
def test_fixed_steps_of_the_backward_solve_alone_are_torchdiffeqs(method, backward, steps):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    options = {"step_size": 0.1} if method == "rk4" else {}
    settings = {"method": method, "rtol": 1e-10, "atol": 1e-10, "options": options}
    gradients = []
    for odeint in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint):
        y0 = batch(4).requires_grad_()
        ys = odeint(MLP(width=8), y0, T, adjoint_method=backward, adjoint_options=steps, **settings)
        gradients.append(torch.autograd.grad(ys[-1].square().sum(), y0)[0])
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


def test_a_warm_start_of_the_backward_solve_alone_is_refused():
    warm = pyseminorm.WarmStart()
    with pytest.raises(pyseminorm.InvalidInputError, match="'first_step' is"):
        pyseminorm.odeint_adjoint(MLP(width=8), batch(4), T, options={}, adjoint_options={"first_step": warm})


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize(
    ("times", "step_size"), [([0.0, 1.2], 0.4), ([0.3, 0.0], 0.1), ([0.0, 0.05], 0.01), ([0.0, 0.14, 0.3], 0.01)]
)
def test_fixed_steps_are_as_many_as_torchdiffeq_counts_in_float32(interface, times, step_size):
    """Float32's 1.2 is more than three steps of 0.4 by rounding: it takes three, the last of which is longer."""
    import torchdiffeq

    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        seen, backwards = [], []

        class Decay(torch.nn.Module):
            def forward(self, t, y, seen=seen):
                return -y

            def callback_step(self, t, y, dt, seen=seen):
                seen.append(float(dt))

            def callback_step_adjoint(self, t, y, dt, seen=backwards):
                seen.append(float(dt))

        y0 = torch.ones(2, requires_grad=True)
        settings = {"method": "euler", "options": {"step_size": step_size}}
        ys = getattr(module, interface)(Decay(), y0, torch.tensor(times), **settings)
        found.append((len(seen), ys, torch.autograd.grad(ys.sum(), y0)[0], len(backwards)))
    assert found[0][0] == found[1][0] > 1 and found[0][3] == found[1][3]
    torch.testing.assert_close(found[0][1:3], found[1][1:3], rtol=1e-5, atol=1e-6)


@pytest.mark.peer("torchdiffeq")
def test_a_grid_may_repeat_a_time_and_must_go_from_end_to_end():
    import torchdiffeq

    def grid(func, y0, t):
        return torch.cat([t, torch.tensor([0.5, 0.7])]).sort()[0]

    settings, t = {"method": "rk4", "options": {"grid_constructor": grid}}, torch.tensor([0.0, 0.5, 1.0])
    modules = pyseminorm.torchdiffeq, torchdiffeq
    ours, theirs = (module.odeint(lambda t, y: -y, torch.ones(1), t, **settings) for module in modules)
    torch.testing.assert_close(ours, theirs)
    settings["options"]["grid_constructor"] = lambda func, y0, t: t[:-1]
    for module in modules:
        with pytest.raises(AssertionError):
            module.odeint(lambda t, y: -y, torch.ones(1), t, **settings)
