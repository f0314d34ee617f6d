"""`solution.interpolate`: states at any times after the solve, with the gradients of outputs at these times."""

import functools
import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.utils.checkpoint
from problems import Linear, LotkaVolterra, batch, cotangents, relative

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    ReturnCode,
    SolveError,
    UnsupportedError,
)
from pyseminorm.passes.cotangents import HandedOver, LateCotangents

ADJOINTS = [
    BacksolveAdjoint(),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    GaussAdjoint(interpolate=False),
    DiscreteAdjoint(),
    DiscreteAdjoint(keep="stages"),
    DiscreteAdjoint(keep="checkpoints"),
]
T = torch.tensor([0.0, 0.7, 2.0], dtype=torch.float64)
LATE = [1.3, 0.25, 1.9, 0.8]
FINE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(params=ADJOINTS, ids=str)
def adjoint(request):
    """Every adjoint in turn."""
    return request.param


def _solve(engine, field, y0, t=T, **options):
    return pyseminorm.solve(field, y0, t, backend=engine, dense=True, **options)


def _gradients(loss, *tensors, **options):
    return torch.autograd.grad(loss, tensors, **options)


# ---- values and gradients


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_shapes_follow_t_and_y0(engine, way):
    factor, dtype = (1j, torch.complex128) if engine == "torch" else (-1, torch.float64)
    y0 = {"q": torch.ones(3, 2, dtype=dtype), "v": (torch.ones((), dtype=dtype),)}
    s = _solve(engine, lambda t, y: {"q": factor * y["q"], "v": (-y["v"][0],)}, y0, way * T, **FINE)
    many, one = s.interpolate([way * t for t in LATE]), s.interpolate(torch.tensor(way * 1.3))
    assert many["q"].shape == (4, 3, 2) and one["q"].shape == (3, 2) and one["v"][0].shape == ()
    torch.testing.assert_close(many["q"][0], one["q"], rtol=1e-6, atol=1e-6)  # 1.3 was rounded to float32
    exact = torch.exp(way * factor * torch.tensor(LATE, dtype=torch.float64))
    torch.testing.assert_close(many["q"][:, 1, 0], exact, rtol=1e-7, atol=1e-7)
    assert s.interpolate([]).keys() == y0.keys() and s.interpolate([])["q"].shape == (0, 3, 2)


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "rk4"])
@pytest.mark.parametrize("compile", [None, "auto"])
def test_gradients_are_those_of_outputs_at_these_times(engine, adjoint, method, compile):
    """The steps are the same, and so is the backward pass, to rounding."""
    field, y0 = LotkaVolterra(), (batch(2) + 2).requires_grad_()
    options = {"adjoint": adjoint, "method": method, "compile": compile, "dt": 0.05 if method == "rk4" else None}
    weights, t = cotangents(6, 2, 2), T.clone().requires_grad_()
    late = torch.tensor(LATE, dtype=torch.float64, requires_grad=True)
    s = _solve(engine, field, y0, t, **options)
    loss = (s.ys * weights[:3]).sum() + (s.interpolate(late[:3]) * weights[3:]).sum()
    found = _gradients(loss, y0, field.rates, t, late)

    at, order = torch.sort(torch.cat([T, late[:3].detach()]))
    at.requires_grad_()
    ys = pyseminorm.solve(field, y0, at, backend=engine, **options).ys
    *wanted, by_time = _gradients((ys * weights[order]).sum(), y0, field.rates, at)
    torch.testing.assert_close(found[:2], tuple(wanted), rtol=1e-11, atol=1e-11)
    moments = torch.zeros_like(by_time).index_put_((order,), by_time)
    torch.testing.assert_close(found[2], moments[:3], rtol=1e-9, atol=1e-9)
    assert found[3][3] == 0.0 and relative(found[3][:3], moments[3:]) < 2e-2  # dy/dt of dense output, and f


def test_gradients_are_right(engine, adjoint):
    """By y0, parameters, args, the solve's times and the late ones, all against finite differences."""
    u = torch.tensor([0.2, -0.4], dtype=torch.float64, requires_grad=True)
    field, y0 = Linear(), torch.tensor([[1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    t, late = T.clone().requires_grad_(), torch.tensor(LATE[:2], dtype=torch.float64, requires_grad=True)

    def values(y0, matrix, u, t, late):
        func = lambda t, y, u: y @ matrix.T + t * u  # noqa: E731
        s = _solve(engine, func, y0, t, args=(u,), params=[matrix], adjoint=adjoint, **FINE)
        return s.ys, s.interpolate(late), s.interpolate(late[0] / 2)

    assert torch.autograd.gradcheck(
        values, (y0, field.matrix, u, t, late), atol=1e-5, rtol=1e-4, nondet_tol=1e-10, fast_mode=True
    )


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_times_of_outputs_and_of_the_ends(engine, adjoint, way):
    """At the first time the state is y0 there, and moves with that time; at the others it is the output."""
    field, y0, t = Linear(), batch(1).requires_grad_(), (way * T).requires_grad_()
    s = _solve(engine, field, y0, t, adjoint=adjoint, **FINE)
    at = (way * T).requires_grad_()
    values = s.interpolate(at)
    torch.testing.assert_close(values, s.ys, rtol=1e-12, atol=1e-12)
    for i, weight in enumerate(cotangents(3, 2)):
        found = _gradients((values[i] * weight).sum(), y0, t, at, retain_graph=True)
        by_state = weight @ torch.linalg.matrix_exp(field.matrix * way * T[i]).detach()
        torch.testing.assert_close(found[0][0], by_state, rtol=1e-6, atol=1e-8)
        slope = (s.ys[i] @ field.matrix.T * weight).sum().detach()
        torch.testing.assert_close(found[1], torch.tensor([-slope, 0, 0], dtype=T.dtype), rtol=1e-5, atol=1e-7)
        assert found[2][i].item() == pytest.approx(slope.item(), rel=1e-4) and found[2].count_nonzero() <= 1


def test_only_t_needs_a_gradient(engine):
    t = torch.tensor(0.5, requires_grad=True)
    y = _solve(engine, lambda t, y: -y, torch.ones(2, dtype=torch.float64), **FINE).interpolate(t)
    y.sum().backward()
    assert t.grad.dtype == torch.float32 and t.grad.item() == pytest.approx(-2 * 0.60653066, rel=1e-5)


def test_a_list_of_times_that_need_gradients(engine):
    """Those of `solve` and those of `interpolate`: y' = -y from 1, whose gradients by times are known."""
    end, late = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.0, 0.5))
    s = _solve(engine, lambda t, y: -y, torch.ones(1, dtype=torch.float64), [0.0, end], **FINE)
    found = torch.autograd.grad(s.ys[-1].sum() + s.interpolate([late, 0.25])[0].sum(), [end, late])
    for gradient, t in zip(found, (end, late), strict=True):
        torch.testing.assert_close(gradient, -torch.exp(-t.detach()), rtol=1e-5, atol=0)


# ---- what may be asked for before and after backward()


@pytest.fixture
def problem(engine, adjoint):
    """A solution, and the tensors that it depends on."""
    field, y0 = LotkaVolterra(), (batch(2) + 2).requires_grad_()
    return _solve(engine, field, y0, adjoint=adjoint), (y0, field.rates)


def test_gradients_add_up(problem):
    """Several times, several calls, outputs too, and once more."""
    s, tensors = problem
    a, b, unused = s.interpolate(0.4), s.interpolate([1.1, 0.4]), s.interpolate(0.9)
    together = _gradients(a.sum() + b.sum() + s.ys[1].sum(), *tensors, retain_graph=True)
    again = _gradients(a.sum() + b.sum() + s.ys[1].sum(), *tensors, retain_graph=True)
    torch.testing.assert_close(again, together, rtol=1e-12, atol=1e-12)
    assert unused.requires_grad
    parts = [_gradients(x.sum(), *tensors, retain_graph=True) for x in (a, b, s.ys[1])]
    for whole, *summands in zip(together, *parts, strict=True):
        torch.testing.assert_close(whole, sum(summands), rtol=5e-3, atol=5e-3)
    alone = _gradients(s.ys[1].sum(), *tensors, retain_graph=True)
    torch.testing.assert_close(alone, parts[2], rtol=1e-12, atol=1e-12)


def test_an_interpolation_after_backward(problem):
    s, tensors = problem
    s.ys.sum().backward(retain_graph=True)
    expected = [x.grad.clone() for x in tensors]
    found = _gradients(s.interpolate(s.ts).sum(), *tensors)  # frees the graph
    torch.testing.assert_close(list(found), expected, rtol=1e-6, atol=1e-6)
    late = s.interpolate(0.3)
    with pytest.raises(RuntimeError, match="second time"):
        late.sum().backward()


def test_what_never_came_to_the_solve_is_forgotten(problem):
    """A gradient by late times alone leaves nothing for the next backward pass."""
    s, tensors = problem
    t = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    expected = _gradients(s.interpolate(0.9).sum(), *tensors, retain_graph=True)
    for _ in range(40):
        late = s.interpolate(t)
        assert torch.autograd.grad(late.sum(), t, retain_graph=True)[0].all()
    failing = s.interpolate(0.2)
    failing.register_hook(lambda grad: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        (failing.sum() + late.sum()).backward(retain_graph=True)
    found = _gradients(s.interpolate(0.9).sum(), *tensors)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_cotangents_are_scaled_together(engine, adjoint):
    """A loss times 2^30 takes the same steps backwards, though its large terms are late ones."""
    found = []
    for scale in (1.0, 2.0**30):
        y0 = (batch(2) + 2).requires_grad_()
        s = _solve(engine, LotkaVolterra(), y0, adjoint=adjoint)
        ((s.interpolate([0.4, 1.2]).sum() + 1e-3 * s.ys.sum()) * scale).backward()
        found.append((y0.grad / scale, s.stats.backward.times))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_zero_cotangents_cost_nothing(problem):
    s, tensors = problem
    found = _gradients((0 * s.interpolate([0.4, 1.2])).sum(), *tensors)
    assert not any(x.any() for x in found) and s.stats.backward.nvjp + s.stats.backward.nvjp_state == 0


def test_a_cotangent_that_is_not_finite_is_named_by_its_time(problem):
    s, _ = problem
    weights = torch.tensor([1.0, float("nan"), 1.0], dtype=torch.float64)
    with pytest.raises(SolveError, match=r"interpolate\(t = 1.2\) is not finite"):
        (s.interpolate([0.4, 1.2, 0.1]) * weights[:, None, None]).sum().backward()


def test_a_parameter_changed_before_backward_is_seen(engine, adjoint):
    field = LotkaVolterra()
    late = _solve(engine, field, batch(2) + 2, adjoint=adjoint).interpolate(0.4)
    with torch.no_grad():
        field.rates.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.sum().backward()


@pytest.mark.capture
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # TorchDynamo's own
def test_torch_compile_breaks_its_graph_at_interpolate(problem):
    s, tensors = problem

    def loss(t):
        return (s.interpolate(2 * t).sin() * 3).sum()

    torch._dynamo.reset()
    t = torch.tensor([0.2, 0.6], dtype=torch.float64, requires_grad=True)
    found = [_gradients(f(t), *tensors, t, retain_graph=True) for f in (torch.compile(loss, backend="eager"), loss)]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_a_checkpointed_loss(problem):
    """Interpolated again in the backward pass, whose values have no cotangent."""
    s, tensors = problem
    loss = lambda t: s.interpolate(t).sin().sum()  # noqa: E731
    t = torch.tensor([0.2, 0.6], dtype=torch.float64, requires_grad=True)
    found = [
        _gradients(f(t), *tensors, t, retain_graph=True)
        for f in (functools.partial(torch.utils.checkpoint.checkpoint, loss, use_reentrant=False), loss)
    ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_autocast_does_not_round(engine):
    s = _solve(engine, lambda t, y: -y, torch.ones(64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(s.interpolate(s.ts), s.ys, rtol=1e-6, atol=0)
    torch.testing.assert_close(s.interpolate(0.3), torch.full((64,), 0.74082), rtol=1e-4, atol=1e-4)


def test_values_are_the_users_own(problem):
    """What is done to interpolated values in place reaches neither the trajectory nor another value."""
    s, tensors = problem
    first, again = s.interpolate([0.4, 1.0]), s.interpolate([0.4, 1.0])
    changed = first.mul_(3.0)
    torch.testing.assert_close(changed, 3 * again, rtol=1e-12, atol=1e-12)
    tripled = _gradients(changed.sum(), *tensors, retain_graph=True)
    found = _gradients(again.sum(), *tensors)
    torch.testing.assert_close([x / 3 for x in tripled], list(found), rtol=5e-3, atol=5e-3)


def test_double_backward_is_refused(problem):
    s, tensors = problem
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    late = s.interpolate(t)
    for by in (tensors[0], t):
        (first,) = torch.autograd.grad((late**2).sum(), by, create_graph=True)
        with pytest.raises(UnsupportedError, match="double backward"):
            first.sum().backward()


def test_batched_gradients(problem):
    """Every row of cotangents is one backward pass, whichever values it is of."""
    s, tensors = problem
    t = torch.tensor([0.4, 1.2], dtype=torch.float64, requires_grad=True)
    late, weights = s.interpolate(t), cotangents(3, 2, 2, 2)
    inputs = (*tensors, t)
    rows = torch.autograd.grad(late, inputs, weights, is_grads_batched=True, retain_graph=True)
    for i, weight in enumerate(weights):
        wanted = torch.autograd.grad(late, inputs, weight, retain_graph=True)
        torch.testing.assert_close(tuple(x[i] for x in rows), wanted, rtol=1e-12, atol=1e-12)
    both = torch.autograd.grad(
        (late, s.ys), tensors, (weights, weights[:, :1].repeat(1, 3, 1, 1)), is_grads_batched=True
    )
    assert all(x.shape[0] == 3 for x in both)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), DiscreteAdjoint()], ids=str)
def test_backward_passes_at_the_same_time(adjoint):
    """Each takes the late cotangents that it has handed over itself. (Julia is called by one thread.)"""
    y0 = batch(2).requires_grad_()
    s = _solve("torch", Linear(), y0, adjoint=adjoint)
    values = [s.interpolate([0.1 * i, 1.9]) for i in range(1, 5)]

    def gradient(i):
        return torch.autograd.grad(values[i].sum(), y0, retain_graph=True)[0]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(gradient, [*range(4)] * 3))
    for i, gradients in enumerate(found):
        torch.testing.assert_close(gradients, gradient(i % 4), rtol=1e-12, atol=1e-12)


def test_lost_cotangents_are_no_gradient_of_zero():
    handed_over = HandedOver()
    handed_over.put(LateCotangents((0.5,), torch.ones(1, 2)))
    with pytest.raises(RuntimeError, match="1 of the 2 cotangents"):
        handed_over.take(2)


def test_no_grad_gives_values(engine):
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    s = _solve(engine, lambda t, y: -y, y0)
    with torch.no_grad():
        assert not s.interpolate(0.4).requires_grad
    with torch.inference_mode():
        assert not s.interpolate(0.4).requires_grad
    assert s.interpolate(0.4).requires_grad
    plain = _solve(engine, lambda t, y: -y, y0.detach())
    assert not plain.interpolate(0.4).requires_grad


def test_nothing_is_left_behind(engine, adjoint):
    """No reference cycle, though the values of a trajectory lead to the solve and its context to the trajectory."""
    y0 = (batch(2) + 2).requires_grad_()
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        s = _solve(engine, LotkaVolterra(), y0, adjoint=adjoint)
        nodes = weakref.ref(s.ys.grad_fn), weakref.ref(late := s.interpolate(t))
        (late.sum() + s.ys.sum()).backward()
        del s, late
        assert [node() for node in nodes] == [None, None]
    finally:
        gc.enable()


# ---- what is refused, and solves that failed


@pytest.mark.parametrize(
    ("t", "said"),
    [(2.1, r"t = 2.1 lies outside \[0.0, 2.0\]"), (float("nan"), "t = nan"), ([[0.5]], "shape"), ("soon", "str")],
)
def test_times_that_are_refused(engine, t, said):
    with pytest.raises(InvalidInputError, match=said):
        _solve(engine, lambda t, y: -y, torch.ones(2)).interpolate(t)


def test_a_transform_and_a_dual_number_are_refused(engine):
    s = _solve(engine, lambda t, y: -y, torch.ones(2, requires_grad=True))
    with pytest.raises(UnsupportedError, match=r"torch\.func"):
        torch.func.grad(lambda t: s.interpolate(0.5 + 0 * t.item()).sum())(torch.ones(()))


def test_a_failed_solve_has_gradients_as_far_as_it_came(engine, adjoint):
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    s = _solve(engine, lambda t, y: y * y, y0, [0.0, 0.5, 2.0], adjoint=adjoint, throw=False, max_steps=200, rtol=1e-8)
    assert s.retcode is not ReturnCode.Success
    s.interpolate([0.25, 0.75]).sum().backward()
    exact = sum(1 / (1 - t) ** 2 for t in (0.25, 0.75))  # of y0 / (1 - y0 t)
    assert y0.grad.item() == pytest.approx(exact, rel=1e-4)
    with pytest.raises(InvalidInputError, match="lies outside"):
        s.interpolate(1.5)


def test_times_beside_one_another(engine, adjoint):
    """Late times a rounding apart from each other and from an output."""
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    s = _solve(engine, lambda t, y: -y, y0, adjoint=adjoint, **FINE)
    near = torch.nextafter(T[1], T[2])
    late = torch.stack([near, torch.nextafter(near, T[2]), T[1], near])
    (s.interpolate(late).sum() + s.ys[1].sum()).backward()
    torch.testing.assert_close(y0.grad, torch.full_like(y0, 5 * 0.4965853038), rtol=1e-7, atol=0)


def test_discontinuities(engine, adjoint):
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    rate = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    s = _solve(
        engine, lambda t, y: -y * torch.where(t < 1, rate[0], rate[1]), y0, params=[rate], discontinuities=[1.0],
        adjoint=adjoint, **FINE,
    )  # fmt: skip
    found = _gradients(s.interpolate([0.5, 1.0, 1.5]).sum(), y0, rate)
    values = torch.exp(-torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64))
    torch.testing.assert_close(found[0], values.sum().expand(2), rtol=1e-7, atol=1e-9)
    exact = -2 * torch.stack([(values * torch.tensor([0.5, 1.0, 1.0])).sum(), values[2] * 0.5])
    torch.testing.assert_close(found[1], exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("stops", [{"tstops": (0.3,)}, {"discontinuities": (0.3,)}], ids=["tstop", "discontinuity"])
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7"])
def test_a_first_step_that_a_stop_cuts_short(engine, method, stops):
    times, right = [0.0, 0.1, 0.25, 1.0], lambda t: torch.exp(torch.tensor(-t, dtype=torch.float64))
    given = {"method": method, "dt": 3.0, "atol": 1e-3, **stops}
    ones = torch.ones(1, dtype=torch.float64)
    crossing = pyseminorm.Event(lambda t, y: y - 0.8, terminal=False)
    s = _solve(engine, lambda t, y: -y, ones, times, event=crossing, **given)
    assert s.events[0].t.item() == pytest.approx(-math.log(0.8), abs=1e-3)
    s = _solve(engine, lambda t, y: -y, ones, times, **given)
    assert s.stats.forward.times[:2] == [0.0, 0.3]
    close = functools.partial(torch.testing.assert_close, rtol=1e-3, atol=1e-3)
    close(s.ys[:3, 0], torch.stack([right(t) for t in times[:3]]))
    close(s.interpolate(0.2)[0], right(0.2))
