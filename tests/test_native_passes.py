"""Passes over native code are told of addresses only: what they were told before must fit, or be told again."""

import pytest
import torch
from problems import MLP, batch, cotangents

import pyseminorm
from pyseminorm import DiscreteAdjoint, InterpolatingAdjoint, JuliaFunction, ReturnCode, SolveError

pytestmark = pytest.mark.julia

TIMES = {"few": [0.0, 1.0], "many": [0.0, 0.3, 0.35, 1.4], "back": [1.4, 1.0, 0.0]}
SETTINGS = (
    {"t": TIMES["few"]},
    {"t": TIMES["many"]},
    {"t": TIMES["back"]},
    {"t": TIMES["many"], "rtol": 1e-7},
    {"t": TIMES["many"], "adjoint": DiscreteAdjoint(keep="stages")},
    {"t": TIMES["many"], "adjoint": DiscreteAdjoint(keep="checkpoints")},
    {"t": TIMES["many"], "adjoint": InterpolatingAdjoint(rtol=1e-7, atol=1e-7)},
    {"t": TIMES["many"], "method": "vern7"},
    {"t": TIMES["many"], "norm": lambda y: y.abs().max()},
    {"t": TIMES["many"], "discontinuities": (0.5,)},
    {"t": TIMES["many"], "dense": True},
)


def solved(field, y0, backend, t, **settings):
    settings = {"adjoint": DiscreteAdjoint(), "rtol": 1e-4, "atol": 1e-6, **settings}
    return pyseminorm.solve(field, y0, t, backend=backend, compile="auto", **settings)


def gradients(field, y0, s):
    loss = (s.ys * cotangents(*s.ys.shape)).sum()
    return torch.autograd.grad(loss, [y0, *field.parameters()], retain_graph=True)


def test_solves_of_one_field_in_turns_do_not_mix():
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    alone = []
    for settings in SETTINGS:  # a field of its own for each, with nothing told before
        own = MLP(width=8)
        own.load_state_dict(field.state_dict())
        s = solved(own, y0, "julia", **settings)
        alone.append((s.ys.detach(), *gradients(own, y0, s)))
    for order in (SETTINGS, SETTINGS[::-1], SETTINGS):
        together = [solved(field, y0, "julia", **settings) for settings in order]
        found = [(s.ys.detach(), *gradients(field, y0, s)) for s in together]  # sweeps after all forward passes
        expected = alone if order is SETTINGS else alone[::-1]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


class Controlled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = MLP(width=8)

    def forward(self, t, y, u):
        return self.net(t, y) + u


def in_julia(u):
    """The same field for every u, which is swapped like a parameter by torch.func.functional_call."""
    source = "(du, u, p, t) -> (du .= .-u .* sum(p); nothing)"
    return JuliaFunction(source, u, vjp="(dλ, dp, λ, u, p, t) -> (dλ .= .-λ .* sum(p); dp .= .-sum(u .* λ); nothing)")


@pytest.mark.parametrize("where", ["norm", "event", "callback", "adjoint callback"])
@pytest.mark.parametrize("kind", ["lowered", "in Julia"])
def test_callbacks_may_solve_by_the_same_field(kind, where):
    small, large = (torch.full((2,), x, dtype=torch.float64) for x in (0.3, 3.0))
    field = Controlled() if kind == "lowered" else in_julia(small)
    told = []

    def solve(u, **settings):
        y0 = batch(3).requires_grad_()
        settings |= {"backend": "julia", "compile": "julia", "rtol": 1e-6}
        if kind == "lowered":
            return y0, pyseminorm.solve(field, y0, TIMES["many"], args=(u,), **settings)
        field.params.data = u
        return y0, pyseminorm.solve(field, y0, TIMES["many"], **settings)

    def other(*_):
        if not told:
            told.append(solve(large)[1])

    given = {
        "norm": {"norm": lambda y: (other(), y.square().mean().sqrt())[1]},
        "event": {"event": pyseminorm.Event(lambda t, y: (other(), y.sum() * 0 + 1)[1])},
        "callback": {"callbacks": pyseminorm.StepCallbacks(accept_step=other)},
        "adjoint callback": {"callbacks": pyseminorm.StepCallbacks(accept_step_adjoint=other)},
    }[where]
    found = []
    for first in (False, True):  # first without a solve inside
        told[:] = [] if first else ["not now"]
        y0, s = solve(small, **given)
        found.append((s.ys.detach(), *torch.autograd.grad(s.ys.sum(), y0)))
    assert isinstance(told[0], pyseminorm.Solution)
    torch.testing.assert_close(found[1], found[0], rtol=1e-13, atol=1e-13)


def test_a_step_with_gradients_by_other_parameters():
    w = [torch.randn(2, dtype=torch.float64) for _ in range(3)]
    source = "(du, u, p, t) -> (du .= .-p.a .* u .+ p.b .* t .- p.c; nothing)"
    product = "(dλ, dp, λ, u, p, t) -> (dλ .= .-p.a .* λ; dp.a .= .-u .* λ; dp.b .= t .* λ; dp.c .= .-λ; nothing)"
    field = JuliaFunction(source, params=dict(zip("abc", w, strict=True)), vjp=product)
    w = list(field.parameters())
    y0 = torch.ones(2, dtype=torch.float64)

    def found(params):
        s = pyseminorm.solve(field, y0, [0.0, 1.0], params=params, backend="julia", adjoint=DiscreteAdjoint())
        return torch.autograd.grad(s.ys[-1].sum(), params)

    all_of_them = found(w)
    for chosen in ([0], [2, 0], [1], [0, 1, 2], [2, 0]):
        torch.testing.assert_close(found([w[i] for i in chosen]), tuple(all_of_them[i] for i in chosen))


class Strided(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64).reshape(2, 2).T)

    def forward(self, t, y):
        return torch.tanh(y @ self.weight)


@pytest.mark.parametrize("field", [MLP(width=8), MLP(width=128), Strided()], ids=["few", "many", "strided"])
def test_gradients_lie_where_torch_expects_them(field):
    y0 = batch(3).requires_grad_()
    expected = gradients(field, y0, solved(field, y0, "torch", TIMES["many"], rtol=1e-8, atol=1e-8))
    found = gradients(field, y0, solved(field, y0, "julia", TIMES["many"], rtol=1e-8, atol=1e-8))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(found, (y0, *field.parameters()), strict=True))


def test_cotangents_that_julia_refuses_are_told_by_name():
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    s = solved(field, y0, "julia", TIMES["many"])
    for bad in (float("nan"), float("inf"), -float("inf")):
        weights = torch.ones_like(s.ys)
        weights[2, 1, 0] = bad
        with pytest.raises(SolveError, match=r"output 2 .* is not finite") as info:
            torch.autograd.grad(s.ys, y0, weights, retain_graph=True)
        assert info.value.retcode is ReturnCode.Failure and info.value.last_good_state.t == TIMES["many"][-1]
    expected = gradients(field, y0, solved(field, y0, "torch", TIMES["many"]))
    torch.testing.assert_close(gradients(field, y0, s), expected, rtol=1e-3, atol=1e-4)  # a refused sweep harms none


def test_cotangents_whose_sum_overflows_are_finite():
    class Still(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(()))

        def forward(self, t, y):
            return self.w * y

    y0 = torch.zeros(4, requires_grad=True)
    s = solved(Still(), y0, "julia", TIMES["few"])
    large = torch.full((4,), 1e38)
    assert torch.equal(torch.autograd.grad(s.ys[-1], y0, large)[0], large)


def test_losses_that_need_no_sweep():
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    s = solved(field, y0, "julia", TIMES["many"])
    inputs = [y0, *field.parameters()]
    first, *params = torch.autograd.grad((3 * s.ys[0]).sum(), inputs, retain_graph=True)
    assert torch.equal(first, torch.full_like(y0, 3.0)) and not any(p.any() for p in params)
    assert not any(p.any() for p in torch.autograd.grad((0 * s.ys).sum(), inputs, retain_graph=True))
    assert s.stats.backward.evaluations == 0 and s.stats.backward.naccept == 0


def test_rows_that_were_not_reached():
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    s = solved(lambda t, y: y**2, y0, "julia", t, throw=False, max_steps=2000)
    assert s.retcode is not ReturnCode.Success
    expected = solved(lambda t, y: y**2, y0, "torch", t[:4])
    found = torch.autograd.grad(s.ys[3].sum(), y0, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(expected.ys[3].sum(), y0), rtol=1e-3, atol=1e-3)
    with pytest.raises(SolveError, match="did not reach"):
        s.ys[-1].sum().backward()
