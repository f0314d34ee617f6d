"""DirectAdjoint: autograd through the steps themselves, by everything that func reads, to any order."""

import gc
import math
import weakref

import pytest
import torch
from problems import ContinuousFlow, Hamiltonian, Linear, Oscillating, batch, cotangents, relative
from torch.autograd import forward_ad

import pyseminorm
from pyseminorm import (
    DirectAdjoint,
    DiscreteAdjoint,
    InvalidInputError,
    ReturnCode,
    SolveError,
    StepCallbacks,
    UnsupportedError,
)
from pyseminorm.methods.tableaus import METHODS, TABLEAUS

ROUNDING = 1e-11
# torch scripts functions when forward-mode AD is first used, and warns that it does
ONLY_TORCHS_OWN = pytest.mark.filterwarnings("ignore:`torch.jit.script`")
TIMES = {"increasing": [0.0, 0.3, 0.33, 1.1, 2.0], "decreasing": [2.0, 1.7, 0.9, 0.88, 0.0]}


def settings_of(method, dt=0.13):
    return {"method": method, **({} if TABLEAUS[method].adaptive else {"dt": dt})}


def solve(func, y0, t, **settings):
    return pyseminorm.solve(func, y0, t, **{"adjoint": DirectAdjoint(), **settings})


def loss_of(ys):
    return (ys * cotangents(*ys.shape, dtype=ys.dtype)).sum()


def counts(solution):
    forward = solution.stats.forward
    return forward.nf, forward.naccept, forward.nreject


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_discrete_adjoint_of_the_same_steps(method, order):
    field, y0 = Oscillating(width=16), batch(3).requires_grad_()
    inputs, settings = [y0, *field.parameters()], settings_of(method)
    s = solve(field, y0, TIMES[order], **settings)
    discrete = solve(field, y0, TIMES[order], adjoint=DiscreteAdjoint(), backend="torch", **settings)
    with torch.no_grad():
        plain = solve(field, y0, TIMES[order], **settings)
    found, exact = (torch.autograd.grad(loss_of(x.ys), inputs) for x in (s, discrete))
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))
    assert torch.equal(s.ys, plain.ys) and not plain.ys.requires_grad
    assert counts(s) == counts(plain) == counts(discrete)
    assert s.backend == "torch" and s.stats.backward is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rejected_steps_leave_nothing_behind(dtype):
    """A stage of a rejected step is gone when the next attempt has replaced it."""
    field, made = Oscillating(width=8, dtype=dtype), []

    def func(t, y):
        dy = field(t, y)
        made.append(weakref.ref(dy))
        return dy

    s = solve(func, batch(3, dtype), [0.0, 2.0], dt=1.0, rtol=1e-5)
    gc.collect()
    alive = sum(x() is not None for x in made)
    assert s.stats.forward.nreject > 0
    assert alive <= 6 * s.stats.forward.naccept + 1  # and the derivatives of no other
    assert torch.autograd.grad(loss_of(s.ys), list(field.parameters()))


def captured(kind):
    """A function that reads ``w``, by its way of finding it."""
    if kind == "closure":
        return lambda w: lambda t, y: y * w
    if kind == "global":

        def make(w):
            globals()["_WEIGHT"] = w
            return lambda t, y: y * _WEIGHT  # noqa: F821

        return make
    if kind == "result":
        return lambda w: (lambda w: lambda t, y: y * w)(w.sin().exp())
    if kind == "later":  # nothing reads it at the first time
        return lambda w: lambda t, y: torch.where(t > 0.5, y * w, -y) if t > 0.5 else -y

    class Attribute(torch.autograd.Function):  # no function mode sees it
        @staticmethod
        def forward(ctx, y, w):
            ctx.save_for_backward(y, w)
            return y * w

        @staticmethod
        def backward(ctx, g):
            y, w = ctx.saved_tensors
            return g * w, (g * y).sum_to_size(w.shape)

    return lambda w: lambda t, y: Attribute.apply(y, w)


@pytest.mark.parametrize("kind", ["closure", "global", "result", "later", "function"])
def test_every_tensor_that_func_captures_gets_its_gradient(kind):
    def loss(w):
        settings = {"discontinuities": [0.5], "rtol": 1e-9, "atol": 1e-11}
        return loss_of(solve(captured(kind)(w), batch(2), [0.0, 1.0], **settings).ys)

    w, step = torch.tensor([0.4, -0.3], dtype=torch.float64, requires_grad=True), 1e-5
    (found,) = torch.autograd.grad(loss(w), w)
    with torch.no_grad():
        exact = [(loss(w + step * e) - loss(w - step * e)) / (2 * step) for e in torch.eye(2, dtype=w.dtype)]
    assert relative(found, torch.stack(exact)) < 1e-7


def test_an_encoder_and_a_control_path_learn():
    encoder = torch.nn.Linear(3, 2).double()
    data = torch.randn(2, 3, dtype=torch.float64)
    control, field = encoder(data), Linear()
    s = solve(lambda t, y: field(t, y, control * torch.cos(t)), encoder(data), [0.0, 1.0])
    loss_of(s.ys).backward()
    found = [p.grad for p in (*encoder.parameters(), *field.parameters())]
    known, y0 = encoder(data), encoder(data)
    s = solve(lambda t, y, u: field(t, y, u * torch.cos(t)), y0, [0.0, 1.0], args=(known,), adjoint=DiscreteAdjoint(),
              params=field.parameters(), backend="torch")  # fmt: skip
    exact = torch.autograd.grad(loss_of(s.ys), [*encoder.parameters(), *field.parameters()])
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
@pytest.mark.parametrize("order", TIMES)
def test_gradients_by_the_times(method, order):
    """Those that the other adjoints have by formula."""
    field, y0 = Oscillating(width=16), batch(3).requires_grad_()
    settings = {"rtol": 1e-9, "atol": 1e-11, **settings_of(method, dt=4e-3), "discontinuities": [0.5]}
    found = []
    for adjoint in (DirectAdjoint(), DiscreteAdjoint()):
        t = torch.tensor(TIMES[order], dtype=torch.float64, requires_grad=True)
        s = pyseminorm.solve(field, y0, t, adjoint=adjoint, backend="torch", **settings)
        found.append(torch.autograd.grad(loss_of(s.ys), [t, y0]))
    assert relative(found[0][0], found[1][0]) < 1e-5
    assert relative(found[0][1], found[1][1]) < ROUNDING


def test_second_derivatives_by_the_times():
    """y = y0 exp(a (t1 - t0)): every second derivative is known."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.2, 1.5], dtype=torch.float64, requires_grad=True)
    y1 = solve(lambda t, y: a * y, y0, t, rtol=1e-10, atol=1e-12).ys[-1]
    exact = y0 * (a * (t[1] - t[0])).exp()
    both = []
    for value in (y1, exact):
        first = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, [a, y0, t], create_graph=True)])
        rows = [torch.autograd.grad(g, [a, y0, t], retain_graph=True, materialize_grads=True) for g in first]
        both.append((first, torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])))
    assert relative(both[0][0], both[1][0]) < 1e-8
    assert torch.allclose(both[0][1], both[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["tsit5", "rk4"])
def test_gradcheck_to_the_second_order(method):
    field = Oscillating(width=3)
    names, given = zip(*((n, p.detach().requires_grad_()) for n, p in field.named_parameters()), strict=True)
    settings = {"dt": 0.1, "rtol": 1e6, "atol": 1e6}  # so that steps do not depend on what is integrated

    def run(y0, *params):
        def func(t, y):
            return torch.func.functional_call(field, dict(zip(names, params, strict=True)), (t, y))

        return solve(func, y0, [0.0, 0.3, 0.41], method=method, **settings).ys

    inputs = (batch(1).requires_grad_(), *given)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


STATES = {
    "0-d": (lambda t, y: -y * t.cos(), lambda: torch.tensor(0.7, dtype=torch.float64)),
    "complex": (lambda t, y: 1j * y * t.cos() - y.abs() * 0.1, lambda: torch.complex(batch(2), batch(2).sin())),
    "tuple": (lambda t, y: (y[1] * t, -y[0]), lambda: (batch(2), batch(2).cos())),
    "dict": (lambda t, y: {"a": y["b"].sum(), "b": y["a"] * y["b"]}, lambda: {"a": batch(1)[0, 0], "b": batch(2)}),
    "flow": (ContinuousFlow(), lambda: (batch(3), torch.zeros(3, dtype=torch.float64))),
    "hamiltonian": (Hamiltonian(enable=True), lambda: batch(3)),
    "without grad mode": (Hamiltonian(enable=False), lambda: batch(3)),
}


@pytest.mark.parametrize("kind", STATES)
def test_states_of_every_structure(kind):
    func, make = STATES[kind]
    flatten = torch.utils._pytree.tree_leaves
    found = []
    for adjoint in (DirectAdjoint(), DiscreteAdjoint()):
        y0 = torch.utils._pytree.tree_map(lambda x: x.clone().requires_grad_(), make())
        s = solve(func, y0, [0.0, 0.4, 1.0], adjoint=adjoint, backend="torch")
        loss = sum(loss_of(torch.view_as_real(x) if x.is_complex() else x) for x in flatten(s.ys))
        params = list(func.parameters()) if isinstance(func, torch.nn.Module) else []
        found.append([*torch.autograd.grad(loss, [*flatten(y0), *params], allow_unused=True), *flatten(s.ys)])
        with torch.no_grad():
            plain = solve(func, y0, [0.0, 0.4, 1.0], adjoint=adjoint, backend="torch")
        assert all(map(torch.equal, flatten(plain.ys), flatten(s.ys)))
    for a, b in zip(*found, strict=True):
        assert (a is None and (b is None or not b.any())) or relative(a, b) < ROUNDING


def test_a_function_that_differentiates_inside_without_a_state_that_requires_grad():
    """Neither y0 nor the result is made to require grad by it."""
    field, y0 = Hamiltonian(enable=True), batch(2)
    s = solve(lambda t, y: field(t, y).detach(), y0, [0.0, 1.0])
    assert not y0.requires_grad and not s.ys.requires_grad


@ONLY_TORCHS_OWN
def test_transforms_of_torch_func():
    field, t = Oscillating(width=8), torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)

    def loss(y0, t=t):
        return loss_of(solve(field, y0, t).ys)

    y0 = batch(2)
    (exact,) = torch.autograd.grad(loss(x := y0.clone().requires_grad_()), x)
    tangent = cotangents(2, 2)
    assert relative(torch.func.grad(loss)(y0), exact) < ROUNDING
    assert math.isclose(torch.func.jvp(loss, (y0,), (tangent,))[1].item(), (exact * tangent).sum().item())
    rows = torch.func.jacrev(lambda y: solve(field, y, t).ys)(y0)
    assert relative(torch.einsum("ijk,ijklm->lm", cotangents(3, 2, 2), rows), exact) < ROUNDING
    x = t.clone().requires_grad_()
    (by_times,) = torch.autograd.grad(loss(y0, x), x)
    assert relative(torch.func.grad(loss, argnums=1)(y0, t), by_times) < ROUNDING
    change = torch.func.jvp(lambda t: loss(y0, t), (t,), (torch.ones_like(t),))[1]
    assert math.isclose(change.item(), by_times.sum().item())
    by_weights = torch.func.grad(lambda w: loss_of(solve(lambda t, y, w: w * y, y0, t, args=(w,)).ys))
    assert by_weights(tangent).shape == (2, 2)
    for transform in (torch.func.vmap, torch.func.jacfwd, torch.func.hessian):
        with pytest.raises(UnsupportedError, match="batched y0"):
            transform(lambda y: loss(y))(y0[None])


@ONLY_TORCHS_OWN
@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode(grad):
    field, y0, tangent = Oscillating(width=8), batch(2), cotangents(2, 2)
    (exact,) = torch.autograd.grad(loss_of(solve(field, x := y0.clone().requires_grad_(), [0.0, 1.0]).ys), x)
    with forward_ad.dual_level(), torch.set_grad_enabled(grad):
        loss = loss_of(solve(field, forward_ad.make_dual(y0, tangent), [0.0, 1.0]).ys)
        assert math.isclose(forward_ad.unpack_dual(loss).tangent.item(), (exact * tangent).sum().item())


def test_random_functions_with_fixed_steps():
    """Every number is drawn once, and backpropagated through."""
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    drawn = []

    def func(t, y):
        drawn.append(torch.randn((), dtype=torch.float64))
        return w * y * drawn[-1]

    s = solve(func, batch(1), [0.0, 0.2], method="euler", dt=0.1)
    (found,) = torch.autograd.grad(s.ys[-1].sum(), w)
    first, *_, second = drawn
    exact = batch(1).sum() * (0.1 * first * (1 + 0.1 * w * second) + (1 + 0.1 * w * first) * 0.1 * second)
    assert math.isclose(found.item(), exact.item())
    with pytest.raises(InvalidInputError, match="random numbers"):
        solve(func, batch(1), [0.0, 0.2])


def test_a_failed_solve_carries_its_last_good_state():
    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    settings = {"max_steps": 5, "rtol": 1e-8}
    with pytest.raises(SolveError) as caught:
        solve(lambda t, y: w * y, batch(2), [0.0, 0.05, 9.0], **settings)
    good = caught.value.last_good_state
    assert good.y.shape == (2, 2) and not good.y.requires_grad and 0.05 < good.t < 9.0
    assert relative(good.y, batch(2) * math.exp(good.t)) < 1e-6
    s = solve(lambda t, y: w * y, batch(2), [0.0, 0.05, 9.0], throw=False, **settings)
    assert s.retcode is ReturnCode.MaxIters and s.ys[2].isnan().all()
    (found,) = torch.autograd.grad(s.ys[1].sum(), w)
    assert relative(found, (0.05 * batch(2) * math.exp(0.05)).sum()) < 1e-6
    s = solve(lambda t, y: w * y, batch(2), [0.0, 0.05, 9.0], throw=False, **settings)
    with pytest.raises(SolveError, match=r"depends on output 2 .* which the solve did not reach"):
        s.ys.sum().backward()
    with pytest.raises(SolveError, match="Unstable"):
        solve(lambda t, y: w * y**9, 10 * batch(2), [0.0, 5.0, 9.0, 12.0], method="euler")


def test_errors_of_func_carry_the_last_good_state():
    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def func(t, y):
        if t > 0.5:
            raise ZeroDivisionError
        return w * y

    with pytest.raises(ZeroDivisionError) as caught:
        solve(func, batch(2), [0.0, 1.0])
    assert caught.value.last_good_state.y.shape == (2, 2)


def test_callbacks_see_every_step():
    seen = {True: [], False: []}
    watch = StepCallbacks(*(lambda t, y, h, kind=kind: seen[kind].append((t, y, h)) for kind in (True, False)))
    s = solve(Oscillating(width=8), batch(3), [0.0, 2.0], callbacks=watch, dt=1.0, rtol=1e-5)
    assert [len(seen[True]), len(seen[False])] == list(counts(s)[1:]) and seen[False]
    assert all(y.shape == (3, 2) and not y.requires_grad for _, y, _ in (*seen[True], *seen[False]))


def test_dense_output_is_recorded_too():
    """Values after the solve, with their gradients, also the second."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    ends = torch.tensor([0.2, 1.5], dtype=torch.float64, requires_grad=True)
    s = solve(lambda t, y: a * y, y0, ends, dense=True, rtol=1e-10, atol=1e-12)
    for times in ([0.2001, 0.9], [1.2]):
        t = torch.tensor(times, dtype=torch.float64, requires_grad=True)
        both = []
        for values in (s.interpolate(t), y0 * (a * (t - ends[0])).exp()):
            first = torch.autograd.grad(values.sum(), [a, y0, t, ends], create_graph=True)
            both.append([*first, torch.autograd.grad(first[0], a, retain_graph=True)[0]])
        assert all(relative(p, q) < 1e-5 for p, q in zip(*both, strict=True))
    assert s.interpolate(0.9).requires_grad and s.interpolate([]).shape == (0,)


def test_what_is_refused_and_what_stays_eager(caplog):
    with pytest.raises(InvalidInputError, match='give backend="auto" or "torch"'):
        solve(Linear(), batch(2), [0.0, 1.0], backend="julia")
    with pytest.raises(InvalidInputError, match="Rodas5P"):
        solve(Linear(), batch(2), [0.0, 1.0], method="Rodas5P")
    with pytest.raises(InvalidInputError, match="in place"):
        solve(lambda t, y: y.mul_(2.0), batch(2), [0.0, 1.0])
    field = Linear()
    with caplog.at_level("INFO", logger="pyseminorm"):
        for told, func in ((1, field), (1, field), (2, Linear())):
            s = solve(func, batch(2), [0.0, 1.0], compile="trace")
            assert caplog.text.count("stays eager") == told
    s = solve(field, batch(2), [0.0, 1.0])
    assert torch.autograd.grad(loss_of(s.ys), list(field.parameters()))


def test_events_and_their_gradients():
    """The time and state at which a falling ball lands, bounces and lands again, as with DiscreteAdjoint."""
    field = Linear()
    event = pyseminorm.Event(lambda t, y: y[:, 0].sum() - 0.3, reset=lambda t, y: 0.5 - y, terminal=False)
    found = []
    for adjoint in (DirectAdjoint(), DiscreteAdjoint()):
        y0, t = batch(2).requires_grad_(), torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
        s = solve(field, y0, t, event=event, adjoint=adjoint, backend="torch", rtol=1e-8, atol=1e-10)
        loss = loss_of(s.ys) + sum(e.t + e.y.sum() for e in s.events)
        found.append((len(s.events), s.ys, *torch.autograd.grad(loss, [y0, t, *field.parameters()])))
    assert found[0][0] == found[1][0] > 0
    assert all(relative(a, b) < 1e-6 for a, b in zip(found[0][1:], found[1][1:], strict=True))


def test_events_of_coarse_steps_are_differentiated_as_they_are():
    def time(h, c):
        event = pyseminorm.Event(lambda t, y: y[0] ** 2 - c)
        s = solve(lambda t, y: -y * torch.sin(3 * t), h[None], [0.0, 4.0], method="rk4", dt=0.5, event=event)
        return s.events[0].t, s.events[0].y

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.2, 0.8)]
    assert torch.autograd.gradcheck(time, inputs, atol=1e-9, rtol=1e-8)


def test_nothing_is_left_behind():
    """No reference cycle."""
    field, made = Oscillating(width=8), []

    def func(t, y):
        dy = field(t, y)
        made.append(weakref.ref(dy))
        return dy

    gc.collect()
    gc.disable()
    try:
        t = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
        event = pyseminorm.Event(lambda t, y: y[0, 0] - 0.5, terminal=False)
        s = solve(func, batch(2), t, dense=True, event=event)
        (s.ys.sum() + s.interpolate(0.3).sum()).backward()
        del s
        assert made and not any(x() is not None for x in made)
    finally:
        gc.enable()


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8", "fehlberg2", "adaptive_heun"])
def test_it_is_torchdiffeqs_odeint_in_its_steps(method):
    """The same values and gradients to rounding; the first step is given, since theirs is differentiated too."""
    import torchdiffeq

    field, y0 = Oscillating(width=8), batch(3).requires_grad_()
    t = torch.tensor([0.0, 0.3, 0.33, 1.1], dtype=torch.float64)
    settings = {"method": method, "rtol": 1e-4, "atol": 1e-6}
    s, inputs = solve(field, y0, t, controller="torchdiffeq", dt=0.01, **settings), [y0, *field.parameters()]
    theirs = torchdiffeq.odeint(field, y0, t, options={"first_step": 0.01}, **settings)
    found, exact = (torch.autograd.grad(loss_of(ys), inputs) for ys in (s.ys, theirs))
    assert relative(s.ys, theirs) < 1e-9
    assert all(relative(a, b) < 1e-9 for a, b in zip(found, exact, strict=True))


def test_fixed_steps_on_a_grid_and_stops():
    field, y0 = Oscillating(width=8), batch(3).requires_grad_()
    for settings in ({"method": "rk4", "dt": [0.0, 0.4, 0.5, 1.3]}, {"tstops": [0.21, 0.9]}, {"dtmax": 0.1}):
        found = []
        for adjoint in (DirectAdjoint(), DiscreteAdjoint()):
            s = solve(field, y0, [0.0, 0.7, 1.3], adjoint=adjoint, backend="torch", **settings)
            found.append([s.ys, *torch.autograd.grad(loss_of(s.ys), [y0, *field.parameters()])])
        assert all(relative(a, b) < ROUNDING for a, b in zip(*found, strict=True))
