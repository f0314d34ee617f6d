"""The bridge to torch autograd: what it saves, what it refuses by name, and what it leaves behind."""

import gc

import pytest
import torch
from problems import MLP, Counted, batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, UnsupportedError

T = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


def test_stats_of_both_passes(engine):
    field = MLP(width=8)
    s = pyseminorm.solve(field, batch(4), T, backend=engine)
    forward = s.stats.forward
    assert s.backend == engine and s.retcode.success
    assert forward.nf > 0 and forward.nvjp == 0 and forward.evaluations == forward.nf
    assert len(forward.times) == forward.naccept + 1 and forward.times[0] == 0.0 and forward.times[-1] == 1.0
    assert s.stats.backward is None
    s.ys.sum().backward()
    backward = s.stats.backward
    assert backward.nvjp > 0 and backward.evaluations == backward.nvjp and backward.seconds > 0
    assert backward.times[0] == 1.0 and backward.times[-1] == 0.0 and 0.5 in backward.times


def test_calls_of_func_are_those_that_stats_count(engine):
    field = Counted(MLP(width=8))
    s = pyseminorm.solve(field, batch(4), T, backend=engine)
    assert field.calls == s.stats.forward.nf  # the checking call is the first of them
    field.calls = 0
    s.ys.sum().backward()
    assert field.calls == s.stats.backward.nvjp


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), DiscreteAdjoint()])
def test_losses_that_need_no_backward_pass(engine, adjoint):
    y0 = batch(2).requires_grad_()
    s = pyseminorm.solve(lambda t, y: -y, y0, T, backend=engine, adjoint=adjoint)
    for loss, gradient in ((3 * s.ys[0], 3.0), (0 * s.ys, 0.0)):  # of the first output alone; zero
        (found,) = torch.autograd.grad(loss.sum(), y0, retain_graph=True)
        assert torch.equal(found, torch.full_like(y0, gradient)) and s.stats.backward.evaluations == 0
    first, again = (torch.autograd.grad(s.ys.sum(), y0, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)


def test_the_backward_solve_starts_at_the_last_output_with_a_cotangent(engine):
    y0 = batch(2).requires_grad_()
    s = pyseminorm.solve(lambda t, y: -y, y0, T, backend=engine)
    s.ys[1].sum().backward()
    assert s.stats.backward.times[0] == 0.5


def test_interpolating_adjoint_stops_only_at_nonzero_cotangents(engine):
    t = torch.linspace(0, 1, 41, dtype=torch.float64)
    for adjoint, stops in ((InterpolatingAdjoint(), False), (BacksolveAdjoint(), True)):
        y0 = batch(2).requires_grad_()
        s = pyseminorm.solve(lambda t, y: -y, y0, t, backend=engine, adjoint=adjoint)
        s.ys[-1].sum().backward()
        assert (set(t.tolist()) <= set(s.stats.backward.times)) is stops


def test_backward_twice_and_partial_gradients(engine):
    field, y0 = MLP(width=8), batch(4).requires_grad_()
    ys = pyseminorm.solve(field, y0, T, backend=engine).ys
    first = torch.autograd.grad(ys.sum(), list(field.parameters()), retain_graph=True)
    second = torch.autograd.grad(ys.sum(), list(field.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frozen_parameters_get_no_gradient(engine):
    field = MLP(width=8)
    field.net[0].requires_grad_(False)
    pyseminorm.solve(field, batch(4), T, backend=engine).ys.sum().backward()
    assert field.net[0].weight.grad is None and field.net[2].weight.grad is not None


def test_torch_func_transforms_are_refused_by_name(engine):
    def loss(y):
        return pyseminorm.solve(lambda t, y: -y, y, T, backend=engine).ys.sum()

    with pytest.raises(UnsupportedError, match=r"torch\.func"):
        torch.func.grad(loss)(batch(2))
    with pytest.raises(UnsupportedError, match=r"torch\.func"):
        torch.func.vmap(loss)(batch(2))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, inside make_dual
def test_forward_mode_is_refused_by_name(engine):
    import torch.autograd.forward_ad as fw

    with fw.dual_level(), pytest.raises(UnsupportedError, match="forward-mode"):
        pyseminorm.solve(lambda t, y: -y, fw.make_dual(batch(2), batch(2)), T, backend=engine)


def test_torch_func_inside_the_field_works(engine):
    """Only transforms around solve are refused: inside func they are the user's."""
    y0 = batch(2).requires_grad_()

    def func(t, y):
        return -torch.func.vmap(torch.func.grad(lambda x: (x**2).sum() / 2))(y)

    ys = pyseminorm.solve(func, y0, T, backend=engine, rtol=1e-9, atol=1e-9).ys
    ys[-1].sum().backward()
    assert torch.allclose(y0.grad, torch.full_like(y0, 0.36787944), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")  # of forward mode, at its first use
def test_second_derivatives_by_torch_func_inside_the_field(engine):
    """Whose tensors do not outlive the transforms that func enters."""
    y0, energy = batch(2).requires_grad_(), torch.nn.Softplus()
    hessian = torch.func.vmap(torch.func.hessian(lambda x: energy(x).sum() + x.pow(2).sum()))

    def func(t, y):
        return -torch.einsum("bij,bj->bi", hessian(y), y)

    ys = pyseminorm.solve(func, y0, T, backend=engine, rtol=1e-9, atol=1e-9).ys
    exact = pyseminorm.solve(
        lambda t, y: -(torch.sigmoid(y) * torch.sigmoid(-y) + 2.0) * y, y0, T, backend="torch", rtol=1e-9, atol=1e-9
    ).ys
    found, expected = (torch.autograd.grad(x[-1].sum(), y0) for x in (ys, exact))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint(keep="stages")])
def test_a_solve_inside_the_field(engine, adjoint):
    """y' = -exp(a / 2) y, of which the factor is the value of an inner solve."""
    a, y0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), batch(2).requires_grad_()
    settings = {"params": [a], "adjoint": adjoint, "rtol": 1e-7, "atol": 1e-9}

    def func(t, y):
        return -pyseminorm.solve(lambda s, z: a * z, y, [0.0, 0.5], backend="torch", **settings).ys[-1]

    ys = pyseminorm.solve(func, y0, [0.0, 1.0], backend=engine, **settings).ys
    found = torch.autograd.grad(ys[-1].sum(), [y0, a])
    expected = torch.autograd.grad((y0 * torch.exp(-torch.exp(a / 2))).sum(), [y0, a])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("compile", [None, "auto"])
def test_outputs_can_be_changed_in_place_where_the_backward_pass_reads_none(engine, compile):
    field, found = MLP(width=8), []
    for in_place in (False, True):
        ys = pyseminorm.solve(field, batch(2), T, backend=engine, compile=compile, adjoint=DiscreteAdjoint()).ys
        ys = ys.mul_(ys.detach().sin()) if in_place else ys * ys.detach().sin()
        found.append(torch.autograd.grad(ys.sum(), list(field.parameters())))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    ys = pyseminorm.solve(field, batch(2), T, backend=engine, compile=compile).ys  # BacksolveAdjoint begins there
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ys.mul_(2).sum().backward()


def test_a_tensor_that_has_left_a_transform_is_what_it_was(engine):
    field, kept = MLP(width=8), []
    torch.func.grad(lambda y: kept.append(y) or y.sum())(batch(2))
    y0 = kept[0]
    ys = [pyseminorm.solve(field, y, T, backend=engine).ys for y in (y0, batch(2))]
    torch.testing.assert_close(*ys, rtol=0, atol=0)
    torch.testing.assert_close(*[torch.autograd.grad(y.sum(), list(field.parameters())) for y in ys], rtol=0, atol=0)


def test_no_grad_keeps_nothing(engine):
    field = MLP(width=8)
    with torch.no_grad():
        s = pyseminorm.solve(field, batch(2), T, backend=engine, adjoint=InterpolatingAdjoint())
    assert not s.ys.requires_grad and s._trajectory is None
    kept = pyseminorm.solve(field, batch(2), T, backend=engine, adjoint=InterpolatingAdjoint())
    assert kept.ys.requires_grad


def test_interpolate_agrees_with_outputs(engine):
    field = MLP()
    t = torch.linspace(0, 3, 7, dtype=torch.float64)
    for method in ("tsit5", "dopri5", "bosh3", "vern7", "rk4"):
        dt = 0.05 if method == "rk4" else None
        s = pyseminorm.solve(field, batch(3), t, backend=engine, dense=True, method=method, dt=dt)
        again = s.interpolate(t).detach()
        assert torch.allclose(again, s.ys.detach(), rtol=1e-9, atol=1e-12), method
        assert s.interpolate(1.234).shape == (3, 2)
        exact = pyseminorm.solve(field, batch(3), [0.0, 1.234], backend="torch", rtol=1e-10, atol=1e-10).ys[-1]
        assert (s.interpolate(1.234) - exact).abs().max() < 5e-3, method
    with pytest.raises(pyseminorm.InvalidInputError, match="outside"):
        s.interpolate(3.1)
    with pytest.raises(pyseminorm.InvalidInputError, match="dense=True"):
        pyseminorm.solve(field, batch(3), t, backend=engine).interpolate(1.0)


def test_a_state_stashed_by_func_stays_what_it_was(engine):
    """func may keep the y that it got: it never aliases a buffer that the solver reuses or frees."""
    kept, copies = [], []

    def func(t, y):
        kept.append(y)
        copies.append(y.clone())
        return -y

    pyseminorm.solve(func, batch(64), T, backend=engine)
    gc.collect()
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_solves_nest(engine):
    """func may solve an ODE itself."""

    def inner(t, y):
        with torch.no_grad():
            end = pyseminorm.solve(lambda s, x: -x, torch.ones(1, dtype=torch.float64), [0.0, 1.0], backend=engine).ys[
                -1
            ]
        return -y * end

    y = pyseminorm.solve(inner, torch.ones(2, dtype=torch.float64), [0.0, 1.0], backend=engine).ys[-1]
    assert abs(y[0].item() - 0.6922) < 1e-3
