"""Controllers and step callbacks, on both engines and in both passes."""

import pytest
import torch
from problems import MLP, Oscillating, Pendulum, batch, cotangents, relative

import pyseminorm
from pyseminorm import (
    AdjointState,
    BacksolveAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    PIController,
    StepCallbacks,
)

T = torch.linspace(0, 2, 5, dtype=torch.float64)
ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint]
CONTROLLERS = [
    PIController(beta2=0.0),
    PIController(beta1=0.3, beta2=0.1, gamma=0.7),
    PIController(qmin=0.5, qmax=2.0, qmax_first_step=5.0),
]


def _gradient(engine, field=None, adjoint=None, **settings):
    field = field or Oscillating()
    y0 = batch(3).requires_grad_()
    s = pyseminorm.solve(field, y0, T, backend=engine, adjoint=adjoint or BacksolveAdjoint(), **settings)
    (s.ys * cotangents(*s.ys.shape)).sum().backward()
    return s.stats, torch.cat([p.grad.reshape(-1) for p in field.parameters()])


@pytest.mark.julia
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3"])
@pytest.mark.parametrize("controller", CONTROLLERS, ids=["integral", "gains", "limits"])
def test_a_controller_means_the_same_on_both_engines(controller, method):
    (ours, _), (theirs, _) = (
        _gradient(engine, Pendulum(), method=method, controller=controller, rtol=1e-6, atol=1e-8)
        for engine in ("torch", "julia")
    )
    for a, b in ((ours.forward, theirs.forward), (ours.backward, theirs.backward)):
        assert (a.naccept, a.nreject) == (b.naccept, b.nreject)
        assert a.times == pytest.approx(b.times, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("controller", CONTROLLERS, ids=["integral", "gains", "limits"])
def test_a_controller_changes_the_steps_and_not_the_answer(engine, controller):
    plain, gradient = _gradient(engine, rtol=1e-8, atol=1e-8)
    other, changed = _gradient(engine, controller=controller, rtol=1e-8, atol=1e-8)
    assert plain.forward.times != other.forward.times
    assert plain.backward.times != other.backward.times
    assert relative(changed, gradient) < 1e-5


def test_a_controller_limits_the_growth_of_steps(engine):
    s = pyseminorm.solve(
        lambda t, y: -y,
        torch.ones(2),
        [0.0, 5.0],
        backend=engine,
        controller=PIController(qmax=1.5, qmax_first_step=1.5),
    )
    times = torch.tensor(s.stats.forward.times, dtype=torch.float64)
    sizes = times.diff()
    assert (sizes[1:] / sizes[:-1]).max() < 1.5 + 1e-6


def test_the_backward_solve_can_have_its_own_controller(engine):
    plain, _ = _gradient(engine)
    own, _ = _gradient(engine, adjoint=BacksolveAdjoint(controller=CONTROLLERS[1]))
    assert own.forward.times == plain.forward.times
    assert own.backward.times != plain.backward.times


@pytest.mark.parametrize("controller", ["pi", 0.3, {"beta1": 0.1}])
def test_a_wrong_controller_is_refused(controller):
    with pytest.raises(InvalidInputError, match="controller is a"):
        pyseminorm.solve(lambda t, y: -y, torch.ones(2), T, backend="torch", controller=controller)
    with pytest.raises(InvalidInputError, match="qmax=-1"):
        PIController(qmax=-1)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_every_step_is_reported_once(engine, adjoint):
    seen = {"accept": [], "reject": [], "accept_adjoint": [], "reject_adjoint": []}

    def note(kind):
        return lambda t, y, dt: seen[kind].append((t, y, dt))

    watch = StepCallbacks(note("accept"), note("reject"), note("accept_adjoint"), note("reject_adjoint"))
    bold = PIController(gamma=0.99)  # so that both passes reject steps
    stats, _ = _gradient(engine, adjoint=adjoint(), callbacks=watch, controller=bold, rtol=1e-6, atol=1e-6)
    for kind, found in (("", stats.forward), ("_adjoint", stats.backward)):
        assert len(seen["accept" + kind]) == found.naccept > 0
        assert len(seen["reject" + kind]) == found.nreject > 0
        ends = [t + dt for t, _, dt in seen["accept" + kind]]
        assert [t for t, _, _ in seen["accept" + kind]] == found.times[:-1]
        assert torch.allclose(torch.tensor(ends), torch.tensor(found.times[1:]))
        assert {t for t, _, _ in seen["reject" + kind]} <= set(found.times)
    assert all(dt > 0 for _, _, dt in seen["accept"]) and all(dt < 0 for _, _, dt in seen["accept_adjoint"])
    first, last = seen["accept"][0], seen["accept_adjoint"][0]
    assert torch.equal(first[1], batch(3))
    assert isinstance(last[1], AdjointState) and last[1].adjoint.shape == (3, 2)
    assert torch.allclose(last[1].adjoint, cotangents(5, 3, 2)[-1])  # in the loss's own scale
    assert (last[1].y is None) == (adjoint is not BacksolveAdjoint)


def test_callbacks_change_no_step(engine):
    watch = StepCallbacks(*(lambda t, y, dt: None,) * 4)
    plain, gradient = _gradient(engine)
    watched, same = _gradient(engine, callbacks=watch)
    assert watched.forward.times == plain.forward.times and watched.backward.times == plain.backward.times
    assert torch.equal(same, gradient)


@pytest.mark.parametrize("kind", ["accept_step", "reject_step", "accept_step_adjoint", "reject_step_adjoint"])
def test_what_a_callback_raises_arrives(engine, kind):
    class Stop(Exception):
        pass

    def stop(t, y, dt):
        raise Stop("enough")

    with pytest.raises(Stop, match="enough") as info:
        _gradient(
            engine, callbacks=StepCallbacks(**{kind: stop}), controller=PIController(gamma=0.99), rtol=1e-6, atol=1e-6
        )
    assert info.value.last_good_state.y.shape == (3, 2)
    _gradient(engine)  # and the next solve works


def test_callbacks_see_fixed_steps_and_nested_states(engine):
    seen = []
    y0 = {"a": torch.ones(2), "b": torch.zeros(3, 1)}
    pyseminorm.solve(
        lambda t, y: {"a": -y["a"], "b": y["b"]},
        y0,
        [0.0, 1.0],
        method="rk4",
        dt=0.25,
        backend=engine,
        callbacks=StepCallbacks(accept_step=lambda t, y, dt: seen.append((t, y, dt))),
    )
    assert [t for t, _, _ in seen] == [0.0, 0.25, 0.5, 0.75]
    assert seen[0][1]["b"].shape == (3, 1) and seen[0][2] == 0.25


def test_torchdiffeqs_callbacks_and_options():
    class Watched(MLP):
        def __init__(self):
            super().__init__(torch.float32)
            self.calls = {"step": 0, "accept": 0, "accept_adjoint": 0}

        def callback_step(self, t, y, dt):
            assert t.dim() == dt.dim() == 0 and y.shape == (3, 2)
            self.calls["step"] += 1

        def callback_accept_step(self, t, y, dt):
            self.calls["accept"] += 1

        def callback_accept_step_adjoint(self, t, y, dt):
            assert [x.shape for x in y] == [(), (3, 2), (3, 2)]
            self.calls["accept_adjoint"] += 1

    field = Watched()
    y0 = batch(3, torch.float32)
    options = {"safety": 0.5, "ifactor": 2.0, "dfactor": 0.4, "jump_t": torch.tensor([0.7])}
    ys = pyseminorm.odeint_adjoint(
        field,
        y0,
        T.float(),
        rtol=1e-4,
        atol=1e-4,
        options=options,
        adjoint_options={"safety": 0.8, "max_num_steps": 999},
    )
    ys.sum().backward()
    assert 0 < field.calls["accept"] <= field.calls["step"]
    assert field.calls["accept_adjoint"] > 0


@pytest.mark.parametrize("wide", [False, True])
def test_adjoint_auto_follows_its_rule(engine, wide):
    field = MLP(width=64) if wide else Pendulum()  # 4,482 and 2 parameters, 6 elements of the state
    stats, gradient = _gradient(engine, field, adjoint="auto")
    assert (stats.backward.nvjp_param > 0) == wide
    _, reference = _gradient(engine, MLP(width=64) if wide else Pendulum(), rtol=1e-10, atol=1e-10)
    assert relative(gradient, reference) < 2e-2


def test_callbacks_of_another_type_are_refused():
    with pytest.raises(InvalidInputError, match="StepCallbacks"):
        pyseminorm.solve(lambda t, y: -y, torch.ones(2), T, backend="torch", callbacks=print)
    with pytest.raises(InvalidInputError, match="accept_step"):
        StepCallbacks(accept_step=3)


@pytest.mark.parametrize("method", ["tsit5", "euler"])
def test_a_callback_before_every_step_on_the_embedded_engine(method):
    seen = []

    def note(name):
        return lambda t, y, dt: seen.append((name, t, dt))

    names = "accept_step", "reject_step", "accept_step_adjoint", "reject_step_adjoint", "step", "step_adjoint"
    y0 = batch(3).requires_grad_()
    solution = pyseminorm.solve(
        Oscillating(), y0, T, method=method, callbacks=StepCallbacks(*map(note, names)),
        dt=0.1 if method == "euler" else 10.0,
    )  # fmt: skip
    solution.ys.sum().backward()
    steps = solution.stats
    assert solution.backend == "torch" and len(seen) == 2 * sum(
        x.naccept + x.nreject for x in (steps.forward, steps.backward)
    )
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        ending = "_adjoint" if before[2] < 0 else ""
        assert before[0] == "step" + ending and after[0] in ("accept_step" + ending, "reject_step" + ending)
        assert before[1:] == after[1:]


def test_a_callback_before_every_step_of_a_sweep_comes_with_the_step():
    seen = []
    watch = StepCallbacks(
        step_adjoint=lambda t, y, dt: seen.append("step"), accept_step_adjoint=lambda t, y, dt: seen.append("accept")
    )
    y0 = batch(3).requires_grad_()
    solution = pyseminorm.solve(MLP(), y0, T, adjoint=pyseminorm.DiscreteAdjoint(), callbacks=watch)
    solution.ys.sum().backward()
    assert seen == ["step", "accept"] * solution.stats.forward.naccept


def test_the_other_engine_has_no_callback_before_a_step():
    with pytest.raises(InvalidInputError, match="a callback before every step is the embedded engine's alone"):
        pyseminorm.solve(MLP(), batch(3), T, callbacks=StepCallbacks(step=print), backend="julia")
