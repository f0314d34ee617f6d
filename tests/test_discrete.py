"""DiscreteAdjoint: the gradient of the very numbers that solve returns, against autograd through the same steps."""

import functools
import itertools
import math

import pytest
import torch
from problems import ContinuousFlow, Counted, Hamiltonian, Oscillating, batch, cotangents, relative
from thresholds import GRADCHECK, INNER_AUTOGRAD

import pyseminorm
from pyseminorm import AdjointState, DiscreteAdjoint, InvalidInputError, ReturnCode, SolveError, StepCallbacks
from pyseminorm.methods.tableaus import ADAPTIVE_METHODS, FIXED_STEP_METHODS, TABLEAUS
from pyseminorm.passes.recorded_steps import StepRecorder

ROUNDING = 1e-12
ADAPTIVE, FIXED = ADAPTIVE_METHODS, FIXED_STEP_METHODS
TIMES = {"increasing": [0.0, 0.3, 0.33, 1.1, 2.0], "decreasing": [2.0, 1.7, 0.9, 0.88, 0.0]}


def settings_of(method):
    return {"method": method, **({"dt": 0.13} if method in FIXED else {"rtol": 1e-3, "atol": 1e-5})}


def recorded(func, y0, t, engine, **settings):
    """A solution by DiscreteAdjoint, and its accepted steps (start, size, end)."""
    steps = []
    watch = StepCallbacks(accept_step=lambda t, y, h: steps.append((t, h)))
    settings = {"adjoint": DiscreteAdjoint(), "callbacks": watch, **settings}
    s = pyseminorm.solve(func, y0, t, backend=engine, **settings)
    return s, [(t0, h, end) for (t0, h), end in zip(steps, s.stats.forward.times[1:], strict=True)]


def replayed(func, y0, t, steps, method, clamp=lambda time, start, end: time):
    """The map (y0, theta, t) -> ys on given steps, written down plainly for autograd."""
    tableau, direction = TABLEAUS[method], 1 if t[-1] > t[0] else -1
    ys, y = [y0], y0
    for start, h, end in steps:
        k = []
        for c, row in zip(tableau.c + tableau.extra_c, tableau.a + tableau.extra_a, strict=True):
            at = clamp(start + c * h, start, end)
            stage = y + h * sum((a * kj for a, kj in zip(row, k, strict=True)), torch.zeros_like(y))
            k.append(func(torch.tensor(at, dtype=y.dtype), stage))
        y1 = y + h * sum(b * kj for b, kj in zip(tableau.b, k, strict=False))
        while len(ys) < len(t) and direction * t[len(ys)] <= direction * end:
            wanted = t[len(ys)]
            theta = (wanted - start) / h
            weights = [sum(x * theta ** (j + 1) for j, x in enumerate(row)) for row in tableau.dense]
            inside = y + h * sum(w * kj for w, kj in zip(weights, k, strict=True))
            ys.append(y1 if wanted == end else inside)
        y = y1
    return torch.stack(ys)


def both_gradients(engine, method, t, weights, field=None, **settings):
    """(by DiscreteAdjoint, by autograd through the same steps) of y0 and the parameters, and the solution."""
    field, y0 = field or Oscillating(width=16), batch(3).requires_grad_()
    s, steps = recorded(field, y0, t, engine, **settings_of(method), **settings)
    inputs = [y0, *field.parameters()]
    found = torch.autograd.grad((s.ys * weights).sum(), inputs)
    ys = replayed(field, y0, t, steps, method)
    assert relative(s.ys, ys.detach()) < ROUNDING
    return found, torch.autograd.grad((ys * weights).sum(), inputs, materialize_grads=True), s


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("method", ADAPTIVE + FIXED)
def test_it_is_autograd_through_the_same_steps(engine, method, order):
    found, exact, s = both_gradients(engine, method, TIMES[order], cotangents(5, 3, 2))
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))
    assert s.stats.forward.naccept > 4
    assert s.stats.backward.times == s.stats.forward.times[::-1]


@pytest.mark.parametrize("rows", [[1], [1, 3], [4], [0, 2]], ids=str)
@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
def test_outputs_without_a_loss_are_left_out(engine, method, rows):
    weights = torch.zeros(5, 3, 2, dtype=torch.float64)
    weights[rows] = cotangents(len(rows), 3, 2)
    found, exact, s = both_gradients(engine, method, TIMES["increasing"], weights)
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))
    last = TIMES["increasing"][max(rows)]
    assert s.stats.backward.naccept == sum(t < last for t in s.stats.forward.times[:-1])


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "vern7", "euler"])
def test_many_outputs_in_one_step(engine, method):
    t = [x / 200 for x in range(201)]
    found, exact, _ = both_gradients(engine, method, t, 2 + cotangents(201, 3, 2))  # of one sign: nothing cancels
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))


def test_two_outputs_that_theta_cannot_tell_apart(engine):
    t = [-1.0, math.nextafter(0.001, -1.0), 0.001]
    assert (t[1] - t[0]) / 1.001 == 1.0 != t[1] / t[2]
    y0 = batch(2).requires_grad_()
    ys = pyseminorm.solve(
        lambda t, y: torch.sin(y), y0, t, method="rk4", dt=1.001, backend=engine, adjoint=DiscreteAdjoint()
    ).ys
    (both,) = torch.autograd.grad((ys[1] + ys[2]).sum(), y0, retain_graph=True)
    (one,) = torch.autograd.grad(ys[2].sum(), y0)
    assert relative(both, 2 * one) < ROUNDING


@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_from_output_to_output(engine, method):
    t = TIMES["increasing"]
    field, y0 = Oscillating(width=16), batch(3).requires_grad_()
    s, steps = recorded(field, y0, t, engine, method=method)
    found = torch.autograd.grad(s.ys[1:].pow(2).sum(), [y0, *field.parameters()])
    exact = torch.autograd.grad(replayed(field, y0, t, steps, method)[1:].pow(2).sum(), [y0, *field.parameters()])
    assert s.stats.backward.naccept == 4
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))


class Frozen(torch.autograd.Function):
    """The steps of the first call replayed without gradient, and backwards what DiscreteAdjoint makes of them."""

    @staticmethod
    def forward(ctx, func, t, steps, solve, y0, w, drive):
        ctx.solve = solve
        ctx.save_for_backward(y0, w, drive)
        return replayed(functools.partial(func, w=w, drive=drive), y0, t, steps, "tsit5")

    @staticmethod
    def backward(ctx, grad):
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            ys = ctx.solve(*inputs).ys
        return (None, None, None, None, *torch.autograd.grad(ys, inputs, grad))


@pytest.mark.parametrize("order", TIMES)
def test_gradcheck_of_y0_params_and_args_with_the_steps_frozen(engine, order):
    def func(t, y, w, drive):
        return torch.tanh(y @ w.T + drive * torch.cos(7 * t)) - 0.3 * y

    def solve(y0, w, drive):
        return pyseminorm.solve(
            lambda t, y, args: func(t, y, w, args["drive"]),
            y0,
            TIMES[order],
            args=({"drive": drive},),
            params=[w],
            adjoint=DiscreteAdjoint(),
            backend=engine,
        )

    y0 = batch(2).requires_grad_()
    w = torch.tensor([[0.4, -1.2], [0.9, 0.3]], dtype=torch.float64, requires_grad=True)
    drive = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)
    _, steps = recorded(functools.partial(func, w=w.detach(), drive=drive.detach()), y0, TIMES[order], engine)
    loose = functools.partial(Frozen.apply, func, TIMES[order], steps, solve)
    assert torch.autograd.gradcheck(loose, (y0, w, drive), **GRADCHECK)


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "vern7", "rk4"])
def test_time_gradients_are_those_of_the_dense_output(engine, method):
    field, y0 = Oscillating(width=16), batch(3)
    t = torch.tensor(TIMES["increasing"], dtype=torch.float64, requires_grad=True)
    s, steps = recorded(field, y0, t, engine, **settings_of(method))
    weights = cotangents(5, 3, 2)
    (found,) = torch.autograd.grad((s.ys * weights).sum(), t)
    start = y0.clone().requires_grad_()
    ys = replayed(field, start, t, steps, method)
    inside, adjoint = torch.autograd.grad((ys * weights).sum(), [t, start])
    assert relative(found[1:4], inside[1:4]) < 1e-10  # the outputs inside steps
    with torch.no_grad():
        at_start = -((adjoint - weights[0]) * field(t[0], y0)).sum()
        at_end = (weights[4] * field(t[4], s.ys[4])).sum()
    assert found[0].item() == pytest.approx(at_start.item(), rel=1e-10)
    assert found[4].item() == pytest.approx(at_end.item(), rel=1e-10)


@pytest.mark.parametrize("method", ["tsit5", "vern7", "midpoint"])
def test_checkpoints_change_only_the_cost(engine, method):
    t, weights = TIMES["decreasing"], cotangents(5, 3, 2)
    plain, _, s = both_gradients(engine, method, t, weights)
    thinned, _, again = both_gradients(engine, method, t, weights, adjoint=DiscreteAdjoint(keep="checkpoints"))
    assert all(relative(a, b) < ROUNDING for a, b in zip(thinned, plain, strict=True))
    assert again.stats.backward.nvjp == s.stats.backward.nvjp and s.stats.backward.nf == 0
    stages = {"tsit5": 6, "vern7": 9, "midpoint": 2}[method]
    steps = s.stats.forward.naccept
    assert 0 < again.stats.backward.nf < stages * steps and again.stats.backward.nf % stages == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 17, 1000])
def test_checkpoints_keep_about_the_square_root_of_the_states(steps):
    kept = StepRecorder("checkpoints")
    for n in range(steps):
        kept.record_steps(None)(True, float(n), torch.tensor([float(n)]), 1.0)
        kept.record_steps(None)(False, float(n), torch.tensor([-1.0]), 1.0)  # rejected: not a step

    class Counting:
        stretch = 0

        def advance(self, n, y):
            self.stretch += 1
            return y + 1

    sweep = Counting()
    stretch = []
    found = [(n, kept.steps.states.take(n, sweep.advance, stretch).item()) for n in reversed(range(steps))]
    assert found == [(n, float(n)) for n in reversed(range(steps))]
    states = kept.steps.states.states
    assert len(states) <= 2 * math.sqrt(steps) + 1 and len(states) + sweep.stretch == steps
    assert steps < 3 or sweep.stretch > 0


@pytest.mark.parametrize("method, stages", [("tsit5", 6), ("dopri5", 6), ("bosh3", 3), ("vern7", 9), ("rk4", 4)])
def test_one_product_for_every_stage_and_nothing_else(engine, method, stages):
    field = Counted(Oscillating(width=8))
    s = pyseminorm.solve(
        field, batch(3), [0.0, 1.0, 2.0], backend=engine, adjoint=DiscreteAdjoint(verbose=False), **settings_of(method)
    )
    field.calls = 0
    s.ys[-1].sum().backward()
    forward, backward = s.stats.forward, s.stats.backward
    assert backward.naccept == forward.naccept and backward.nreject == 0
    assert field.calls == backward.nvjp == backward.evaluations == stages * backward.naccept


def test_outputs_inside_steps_cost_only_the_interpolants_own_stages(engine):
    t = [x / 100 for x in range(201)]
    for method, stages, extra in (("tsit5", 6, 0), ("vern7", 9, 6)):
        s = pyseminorm.solve(
            Oscillating(width=8), batch(3), t, backend=engine, adjoint=DiscreteAdjoint(), **settings_of(method)
        )
        s.ys.sum().backward()
        ends = s.stats.forward.times
        touched = sum(any(a < x < b for x in t) for a, b in itertools.pairwise(ends))
        assert touched > 10
        # Tsit5's last stage is the next step's first; only after the last step is it one more.
        assert s.stats.backward.nvjp == stages * (len(ends) - 1) + extra * touched + (1 if method == "tsit5" else 0)


@pytest.mark.parametrize("closed", [True, False], ids=[">=", ">"])
@pytest.mark.parametrize("method", ["tsit5", "vern7", "bosh3"])
@pytest.mark.parametrize("order", TIMES)
def test_discontinuities(engine, method, order, closed):
    t, jumps, seen = TIMES[order], (0.3, 0.8), []
    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)

    def func(t, y):
        seen.append(t.item())
        passed = (t >= 0.8) if closed else (t > 0.8)
        return -w * y + torch.where(passed, -3.0, torch.where(t > 0.3, 5.0, 0.0)).to(y.dtype) * torch.cos(w * y)

    def clamp(time, start, end):
        low, high = sorted((start, end))
        low += 1e-15 if low in jumps else 0.0
        high -= 1e-15 if high in jumps else 0.0
        return min(max(time, low), high)

    y0 = batch(2).requires_grad_()
    s, steps = recorded(func, y0, t, engine, params=[w], discontinuities=jumps, **settings_of(method))
    weights = cotangents(5, 2, 2)
    found = torch.autograd.grad((s.ys * weights).sum(), [y0, w])
    assert not set(jumps) & set(seen)
    ys = replayed(func, y0, t, steps, method, clamp)
    exact = torch.autograd.grad((ys * weights).sum(), [y0, w])
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, exact, strict=True))


def test_float32(engine):
    field, y0 = Oscillating(torch.float32, width=16), batch(3, torch.float32).requires_grad_()
    s, steps = recorded(field, y0, TIMES["increasing"], engine)
    weights = cotangents(5, 3, 2, dtype=torch.float32)
    found = torch.autograd.grad((s.ys * weights).sum(), [y0, *field.parameters()])
    double, y0_double = field.double(), y0.detach().double().requires_grad_()
    ys = replayed(double, y0_double, TIMES["increasing"], steps, "tsit5")
    exact = torch.autograd.grad((ys * weights).sum(), [y0_double, *double.parameters()])
    assert all(a.dtype == torch.float32 and relative(a.double(), b) < 1e-4 for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("enable", [True, False], ids=["enable_grad inside", "bare autograd.grad"])
def test_hamiltonian_net_differentiates_inside_itself(engine, enable):
    for adjoint in (DiscreteAdjoint(), DiscreteAdjoint(keep="checkpoints")):
        found, exact, _ = both_gradients(
            engine, "tsit5", TIMES["increasing"], cotangents(5, 3, 2), Hamiltonian(enable), adjoint=adjoint
        )
        *some, constant = found  # of the energy: no force
        assert all(relative(a, b) < ROUNDING for a, b in zip(some, exact[:-1], strict=True))
        assert torch.equal(constant, torch.zeros(1, dtype=torch.float64))


def test_continuous_normalising_flow_in_a_nested_state(engine):
    field, t = ContinuousFlow(), torch.tensor([0.0, 0.5, 0.8], dtype=torch.float64)
    weights = torch.randn(3, 2, dtype=torch.float64)

    def loss(z0, *params):
        z, logp = pyseminorm.solve(
            field,
            (z0, torch.zeros(2, dtype=torch.float64)),
            t,
            method="rk4",
            dt=0.3,
            adjoint=DiscreteAdjoint(),
            backend=engine,
        ).ys
        return (z[1:] ** 2).sum() + (logp * weights).sum()

    assert torch.autograd.gradcheck(loss, (batch(2).requires_grad_(), *field.parameters()), **INNER_AUTOGRAD)


def test_complex_states_on_the_embedded_engine():
    w = torch.tensor(-0.2 + 1.5j, dtype=torch.complex128, requires_grad=True)
    z0 = torch.tensor([1.0 + 0.5j, -0.3j], dtype=torch.complex128, requires_grad=True)

    def loss(z0, w):
        z = pyseminorm.solve(
            lambda t, z: w * z**2,
            z0,
            [0.0, 0.5, 1.3],
            params=[w],
            method="rk4",
            dt=0.4,
            backend="torch",
            adjoint=DiscreteAdjoint(),
        ).ys
        return (z[1:].abs() ** 2 + z[1:].real).sum()

    assert torch.autograd.gradcheck(loss, (z0, w), **GRADCHECK)


def test_callbacks_see_the_steps_backwards(engine):
    seen = []
    watch = StepCallbacks(accept_step_adjoint=lambda t, y, dt: seen.append((t, y, dt)))
    s = pyseminorm.solve(
        Oscillating(width=8), batch(3), [0.0, 1.0], backend=engine, adjoint=DiscreteAdjoint(), callbacks=watch
    )
    (s.ys * cotangents(2, 3, 2)).sum().backward()
    assert [t for t, _, _ in seen] == s.stats.backward.times[:-1] and all(dt < 0 for _, _, dt in seen)
    state = seen[0][1]
    assert isinstance(state, AdjointState) and state.y is None and torch.equal(state.adjoint, cotangents(2, 3, 2)[1])


def test_rows_that_were_not_reached_raise_on_use(engine):
    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    s, steps = recorded(lambda t, y: y**2, y0, t, engine, throw=False, max_steps=2000)
    assert s.retcode is not ReturnCode.Success
    (found,) = torch.autograd.grad(s.ys[3].sum(), y0, retain_graph=True)
    (exact,) = torch.autograd.grad(replayed(lambda t, y: y**2, y0, t[:4].tolist(), steps, "tsit5")[3].sum(), y0)
    assert relative(found, exact) < ROUNDING
    with pytest.raises(SolveError, match="did not reach"):
        s.ys[-1].sum().backward()


@pytest.mark.parametrize("keep", ["states", "checkpoints"])
def test_what_goes_wrong_backwards_arrives(engine, keep):
    w, armed = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True), []

    def func(t, y):
        if armed and t < 0.5:
            raise StopIteration("in the product")
        return w * y

    y0 = batch(2).abs().requires_grad_()
    ys = pyseminorm.solve(
        func, y0, [0.0, 1.0], params=[w], method="rk4", dt=0.1, backend=engine, adjoint=DiscreteAdjoint(keep=keep)
    ).ys
    armed.append(True)
    with pytest.raises(StopIteration, match="in the product") as info:
        ys[-1].sum().backward(retain_graph=True)
    state = info.value.last_good_state
    until, taken = (0.7, 3) if keep == "states" else (1.0, 1)  # states between checkpoints are made again
    assert 0.4 < state.t < until and state.y.shape == (2, 2) and state.stats.naccept > taken
    armed.clear()
    with pytest.raises(SolveError, match="output 1"):
        (ys[1] * float("inf")).sum().backward(retain_graph=True)
    with torch.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ys.sum().backward()


def test_non_finite_products_raise_ours(engine):
    y0 = torch.tensor([4.0, 0.0], dtype=torch.float64, requires_grad=True)  # d sqrt at 0 is infinite
    ys = pyseminorm.solve(
        lambda t, y: torch.sqrt(y) * t, y0, [0.0, 1.0], method="rk4", dt=0.5, backend=engine, adjoint=DiscreteAdjoint()
    ).ys
    with pytest.raises(SolveError, match="the backward solve"):
        ys[-1].sum().backward()


def test_settings_that_it_has_not_are_refused_by_name():
    for name in ("norm", "rtol", "atol", "method", "controller", "max_steps", "scale_invariant"):
        with pytest.raises(InvalidInputError, match=rf"DiscreteAdjoint\({name}="):
            DiscreteAdjoint(**{name: 1})
    with pytest.raises(InvalidInputError, match="stages"):
        DiscreteAdjoint(keep="everything")
    assert DiscreteAdjoint() == DiscreteAdjoint(keep="states") != DiscreteAdjoint(keep="checkpoints")


@pytest.mark.parametrize("method", ["Rodas5P", pyseminorm.Algorithm("Vern9")], ids=str)
def test_methods_that_it_does_not_know_are_refused_by_name(method):
    with pytest.raises(InvalidInputError, match=r"DiscreteAdjoint does not know the steps of method=.*tsit5"):
        pyseminorm.solve(lambda t, y: -y, batch(2), [0.0, 1.0], method=method, adjoint=DiscreteAdjoint())
