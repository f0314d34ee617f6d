"""Solves whose function runs in Julia as lowered code, without Python: steps, gradients, and what they need besides."""

import logging
import sys

import pytest
import torch
from fields import FIELDS
from problems import MLP, Oscillating, batch, relative
from torch import nn

import pyseminorm
from pyseminorm import Algorithm, BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, StepCallbacks
from pyseminorm.methods.tableaus import TABLEAUS

D = torch.float64
T = [0.0, 0.4, 1.0]

ADJOINTS = [
    *(BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint()),
    *(DiscreteAdjoint(), DiscreteAdjoint(keep="stages")),
]


def gradients(func, y0, args, compile, adjoint, t=T, **settings):
    leaves = torch.utils._pytree.tree_leaves(y0)
    leaves = [x.clone().requires_grad_() for x in leaves]
    tree = torch.utils._pytree.tree_structure(y0)
    start = torch.utils._pytree.tree_unflatten(leaves, tree)
    ts = torch.tensor(t, dtype=D, requires_grad=True)
    s = pyseminorm.solve(func, start, ts, args=args, backend="julia", compile=compile, adjoint=adjoint, **settings)
    loss = sum(
        (x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).view_as(x)).sum()
        for x in torch.utils._pytree.tree_leaves(s.ys)
    )
    params = list(func.parameters()) if isinstance(func, nn.Module) else []
    wanted = [*leaves, ts, *params, *(a for a in args if a.requires_grad)]
    return s, torch.autograd.grad(loss, wanted, allow_unused=True)


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("name", ["oscillating", "in place", "nested", "time", "attention", "flow"])
def test_solves_take_the_steps_and_give_the_gradients_of_the_function(name, adjoint):
    func, y0, args = FIELDS[name]()
    # From t = 0 the first steps of "oscillating" are of size 1e-4, whose error estimates are rounding noise.
    settings = {"rtol": 1e-6, "atol": 1e-8, "t": [0.3, 0.7, 1.3]}
    plain, expected = gradients(func, y0, args, None, adjoint, **settings)
    s, grads = gradients(func, y0, args, "julia", adjoint, **settings)
    assert s.stats.forward.naccept == plain.stats.forward.naccept
    assert s.stats.backward.naccept == plain.stats.backward.naccept
    assert s.stats.forward.nf - plain.stats.forward.nf in (0, 1)  # a native solve cannot use the checking call's value
    for mine, theirs in zip(grads, expected, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.julia
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7", "euler", "midpoint", "rk4"])
@pytest.mark.parametrize("t", [[0.3, 0.7, 1.3], [1.3, 1.0, 0.95, 0.3], [0.3, 0.41, 0.8]])
def test_the_sweep_in_julia_is_the_sweep_in_python(method, t):
    fixed = {"dt": 0.13} if method in ("euler", "midpoint", "rk4") else {"rtol": 1e-4, "atol": 1e-6}
    func, y0 = Oscillating(width=8), batch(3)
    for more in ({}, {"discontinuities": [0.61, 0.72]}):
        _, grads = gradients(func, y0, (), "julia", DiscreteAdjoint(), t, method=method, **fixed, **more)
        _, expected = gradients(func, y0, (), None, DiscreteAdjoint(), t, method=method, **fixed, **more)
        torch.testing.assert_close(grads, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.julia
def test_no_python_runs_inside_a_solve(monkeypatch):
    from pyseminorm.engines.julia.calls.callbacks import SolverCallbacks

    def refuse(*_, **__):
        raise AssertionError("Julia is given a function of Python")

    calls, forward = [], MLP.forward

    def counted(self, t, y):
        if not torch.compiler.is_compiling():
            calls.append(t)
        return forward(self, t, y)

    monkeypatch.setattr(SolverCallbacks, "__init__", refuse)
    monkeypatch.setattr(MLP, "forward", counted)
    field, y0 = MLP(width=8), batch(3)
    for adjoint in ADJOINTS:
        gradients(field, y0, (), "julia", adjoint)
        calls.clear()
        s, _ = gradients(field, y0, (), "julia", adjoint)
        assert calls == []  # TorchDynamo's guards take the place of the checking call
        assert s.stats.forward.nf > 10 and s.stats.backward.naccept > 0


@pytest.mark.julia
def test_parameters_alias_torch_memory():
    field, y0 = MLP(width=8), batch(3)
    gradients(field, y0, (), "julia", DiscreteAdjoint())
    for _ in range(2):
        with torch.no_grad():
            for p in field.parameters():
                p.mul_(1.2)
        _, grads = gradients(field, y0, (), "julia", DiscreteAdjoint())
        _, expected = gradients(field, y0, (), None, DiscreteAdjoint())
        torch.testing.assert_close(grads, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(norm="torchdiffeq"), DiscreteAdjoint(keep="checkpoints")])
def test_norms_and_checkpoints_that_need_more(adjoint):
    func, y0, args = FIELDS["time"]()
    _, grads = gradients(func, y0, args, "julia", adjoint, rtol=1e-6)
    _, expected = gradients(func, y0, args, None, adjoint, rtol=1e-6)
    torch.testing.assert_close(grads, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.julia
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7", "euler", "midpoint", "rk4"])
def test_stages_that_the_forward_solve_kept_are_not_evaluated_again(method, monkeypatch):
    from pyseminorm.engines.julia import engine

    sweep, kept = engine.native_sweep, []

    def seen(julia, problem):
        number = problem.steps.number
        look = f"(s = PySeminorm.HELD[{number}].stages; s === nothing ? -1 : count(!isnothing, reduce(vcat, s.steps)))"
        kept.append(int(sys.modules["juliacall"].Main.seval(look)))
        return sweep(julia, problem)

    monkeypatch.setattr(engine, "native_sweep", seen)
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    settings = {"method": method, "dt": 0.11 if method in ("euler", "midpoint", "rk4") else None, "rtol": 1e-6}
    found = {}
    for keep in ("states", "stages"):
        s, found[keep] = gradients(field, y0, (), "julia", DiscreteAdjoint(keep=keep), **settings)
    torch.testing.assert_close(found["stages"], found["states"], rtol=1e-12, atol=1e-14)
    unread = 0 if TABLEAUS[method].adaptive else 1  # the end of the last fixed step, which nothing reads
    assert kept == [-1, s.stats.forward.naccept * TABLEAUS[method].stages - unread]


@pytest.mark.julia
def test_a_second_backward_pass_evaluates_its_stages_again():
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    s = pyseminorm.solve(
        field, y0, [0.0, 0.4, 1.0], backend="julia", compile="julia", adjoint=DiscreteAdjoint(keep="stages")
    )
    loss = s.ys.pow(2).sum()
    first = torch.autograd.grad(loss, [y0, *field.parameters()], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, [y0, *field.parameters()]), first)


@pytest.mark.julia
def test_stiff_methods_get_their_jacobian_from_the_code():
    pytest.importorskip("juliacall")
    field, y0 = MLP(width=8), batch(2)
    settings = {"method": Algorithm("Rosenbrock23"), "rtol": 1e-5}
    try:
        _, grads = gradients(field, y0, (), "julia", GaussAdjoint(), **settings)
    except pyseminorm.InvalidInputError as error:
        pytest.skip(str(error))
    _, expected = gradients(field, y0, (), None, GaussAdjoint(), **settings)
    torch.testing.assert_close(grads, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.julia
def test_callbacks_are_told_of_steps():
    seen = []
    watch = StepCallbacks(
        accept_step=lambda t, y, h: seen.append(("forward", t)),
        accept_step_adjoint=lambda t, y, h: seen.append(("back", t)),
    )
    s, _ = gradients(MLP(width=8), batch(2), (), "julia", DiscreteAdjoint(), callbacks=watch)
    assert sum(kind == "forward" for kind, _ in seen) == s.stats.forward.naccept
    assert sum(kind == "back" for kind, _ in seen) == s.stats.backward.naccept


@pytest.mark.julia
def test_an_operation_that_is_missing_is_named_once_and_the_graph_runs(caplog):
    caplog.set_level(logging.INFO, logger="pyseminorm")

    def func(t, y):
        return -torch.cumsum(y, dim=-1)

    for _ in range(2):
        _, grads = gradients(func, batch(2), (), "julia", BacksolveAdjoint())
    _, expected = gradients(func, batch(2), (), None, BacksolveAdjoint())
    torch.testing.assert_close(grads, expected)
    said = [r.getMessage() for r in caplog.records if "not lowered" in r.getMessage()]
    assert len(said) == 1 and "cumsum" in said[0]


@pytest.mark.julia
def test_float32_solves():
    field, y0 = MLP(dtype=torch.float32), batch(3, dtype=torch.float32)
    for adjoint in ADJOINTS:
        _, grads = gradients(field, y0, (), "julia", adjoint, rtol=1e-4)
        _, expected = gradients(field, y0, (), None, adjoint, rtol=1e-4)
        flat, other = (torch.cat([g.reshape(-1).to(D) for g in x]) for x in (grads, expected))
        assert relative(flat, other) < 1e-3


@pytest.mark.julia
def test_what_a_solve_reaches_before_it_fails_is_handed_back():
    def blow_up(t, y):
        return y * y

    with pytest.raises(pyseminorm.SolveError) as caught:
        pyseminorm.solve(blow_up, torch.ones(2, dtype=D), [0.0, 2.0], backend="julia", compile="julia")
    assert 0.9 < caught.value.last_good_state.t < 1.1
    assert bool(torch.isfinite(caught.value.last_good_state.y).all())
