"""Mu beside the state of a native backward solve: the steps, and but for rounding the gradients, of mu inside it."""

import dataclasses
import sys

import pytest
import torch
from problems import MLP, Oscillating, batch, cotangents, relative

import pyseminorm
from pyseminorm import BacksolveAdjoint, InterpolatingAdjoint, JuliaFunction, PIController, ReturnCode, StepCallbacks
from pyseminorm.engines.julia import engine as julia_engine

# Steps are few, where some are to be rejected.
pytestmark = [pytest.mark.julia, pytest.mark.filterwarnings("ignore::pyseminorm.GradientErrorWarning")]

D = torch.float64
ROUNDING = 1e-12
FIXED = ("euler", "midpoint", "rk4")
METHODS = ("tsit5", "dopri5", "bosh3", "vern7", *FIXED)
TIMES = {"increasing": [0.3, 0.6, 0.63, 1.1, 2.0], "decreasing": [2.0, 1.7, 0.9, 0.88, 0.3]}
BOLD = PIController(gamma=0.99, beta2=0.0)  # has steps rejected
MEASURED = "rms", "torchdiffeq"
UNMEASURED = "seminorm", "seminorm_joint", "torchdiffeq_seminorm"


@pytest.fixture
def as_part(monkeypatch):
    """Calls a function with mu as a part of the state."""

    def call(f, *args, **settings):
        with monkeypatch.context() as patch:
            patch.setattr(julia_engine, "_is_apart", lambda problem: False)
            return f(*args, **settings)

    return call


@pytest.fixture
def lengths(monkeypatch):
    """The lengths of the backward states that Julia was given."""
    found, made = [], julia_engine.Pass

    def solve(julia, unflatten, z, t, **given):
        found.append(len(z))
        return made(julia, unflatten, z, t, **given)

    monkeypatch.setattr(julia_engine, "Pass", solve)
    return found


def settings_of(method):
    adaptive = {"rtol": 1e-3, "atol": 1e-5, "controller": BOLD}
    return {"method": method, **({"dt": 0.13} if method in FIXED else adaptive)}


def gradients(func, y0, t, adjoint, params=None, backend="julia", **settings):
    """All gradients, and the statistics of the backward solve, which is not looked at again."""
    adjoint = dataclasses.replace(adjoint, verbose=False)
    y0, wanted = y0.clone().requires_grad_(), list(func.parameters()) if params is None else params
    native = {} if isinstance(func, JuliaFunction) else {"compile": "julia" if backend == "julia" else None}
    s = pyseminorm.solve(func, y0, t, params=params, adjoint=adjoint, backend=backend, **native, **settings)
    found = torch.autograd.grad((s.ys * cotangents(*s.ys.shape, dtype=y0.dtype)).sum(), [y0, *wanted])
    return found, s.stats.backward


def check_same(apart, part, rounding=ROUNDING):
    """The same steps, bit for bit where nothing but mu's place differs, for the same counts; equal gradients."""
    (found, stats), (expected, others) = apart, part
    for name in ("times", "naccept", "nreject", "nvjp", "nf", "evaluations"):
        assert getattr(stats, name) == getattr(others, name), name
    assert torch.equal(found[0], expected[0])
    assert all(relative(a, b) < rounding for a, b in zip(found[1:], expected[1:], strict=True))


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("method", METHODS)
def test_methods(method, order, adjoint, as_part):
    given = (Oscillating(width=8), batch(3), TIMES[order], adjoint())
    for more in ({}, {"discontinuities": (0.5, 0.9)}):
        apart = gradients(*given, **settings_of(method), **more)
        check_same(apart, as_part(gradients, *given, **settings_of(method), **more))
        assert apart[1].nreject > 0 or method in FIXED or adjoint is InterpolatingAdjoint


@pytest.mark.parametrize("method", METHODS)
def test_the_embedded_engine_counts_and_gives_the_same(method):
    given = (Oscillating(width=8), batch(3), TIMES["increasing"], BacksolveAdjoint())
    (found, stats), (expected, others) = (
        gradients(*given, backend=backend, **settings_of(method)) for backend in ("julia", "torch")
    )
    assert (stats.naccept, stats.nreject, stats.nvjp) == (others.naccept, others.nreject, others.nvjp)
    assert all(relative(a, b) < 1e-8 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("norm", [*UNMEASURED, *MEASURED, lambda state: state.adjoint.abs().max()])
def test_only_what_no_norm_sees_is_beside_the_state(norm, lengths, as_part):
    func, y0 = MLP(width=8), batch(3)
    n, m = y0.numel(), sum(p.numel() for p in func.parameters())
    given = (func, y0, TIMES["increasing"], BacksolveAdjoint(norm=norm))
    apart = gradients(*given)
    extra = isinstance(norm, str) and norm.startswith("torchdiffeq")
    assert lengths[-1] == 2 * n + extra + (0 if norm in UNMEASURED else m)
    check_same(apart, as_part(gradients, *given))


@pytest.mark.parametrize("method", [pyseminorm.Algorithm("Tsit5"), pyseminorm.Algorithm("BS5")])
def test_methods_whose_stages_are_not_known_keep_it_in_the_state(method, lengths):
    func, y0 = MLP(width=8), batch(3)
    gradients(func, y0, [0.0, 1.0], BacksolveAdjoint(), method=method)
    assert lengths[-1] == 2 * y0.numel() + sum(p.numel() for p in func.parameters())


def test_frozen_parameters_and_chosen_ones(as_part):
    func = Oscillating(width=8)
    func.net[0].weight.requires_grad_(False)
    chosen = [func.net[4].bias, func.net[2].weight]
    for params in ([p for p in func.parameters() if p.requires_grad], chosen, chosen[:1]):
        given = (func, batch(3), TIMES["increasing"], BacksolveAdjoint())
        check_same(gradients(*given, params=params), as_part(gradients, *given, params=params))


RATES = "(du, u, p, t) -> (du .= .-p.a .* u .* p.c .+ p.b .* sin(5t) .* u)"
RATES_VJP = """
function (dλ, dp, λ, u, p, t)
    dλ .= (p.b .* sin(5t) .- p.a .* p.c) .* λ
    dp.a .= .-p.c .* u .* λ
    dp.b .= u .* sin(5t) .* λ
    dp.c .= .-p.a .* u .* λ
end
"""


@pytest.mark.parametrize("method", METHODS)
def test_julia_functions_with_shared_and_other_parameters(method, as_part):
    a, b, c = (torch.tensor([x, 0.6], dtype=D, requires_grad=True) for x in (0.4, 0.9, 2.0))
    func = JuliaFunction(RATES, {"a": a, "c": c, "b": b}, vjp=RATES_VJP)
    a, c, b = func.params["a"], func.params["c"], func.params["b"]
    y0 = torch.ones(2, dtype=D)
    for params in ([a, b, c], [b], [c, a], [a, b, c]):  # one field in Julia, gradients of other lengths
        given = (func, y0, TIMES["increasing"], BacksolveAdjoint())
        check_same(
            gradients(*given, params=params, **settings_of(method)),
            as_part(gradients, *given, params=params, **settings_of(method)),
        )


def test_solves_in_a_row_and_other_ones_between_write_to_the_same_memory():
    func, y0, t = Oscillating(width=8), batch(3), TIMES["increasing"]
    first = gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD)
    gradients(func, y0, t, InterpolatingAdjoint(), method="vern7")
    gradients(func, y0, [0.3, 0.5], BacksolveAdjoint(), method="euler", dt=0.1)
    again = gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD)
    check_same(again, first, rounding=1e-300)


def test_a_solve_inside_a_callback_has_memory_of_its_own():
    func, y0, t, inner = Oscillating(width=8), batch(3), TIMES["increasing"], []
    plain = gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD)

    @torch.enable_grad()
    def solve_inside(*step):
        inner.append(gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD))

    watch = StepCallbacks(accept_step_adjoint=solve_inside, reject_step_adjoint=solve_inside)
    outer = gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD, callbacks=watch)
    assert len(inner) == plain[1].naccept + plain[1].nreject
    for found in (outer, *inner):
        check_same(found, plain, rounding=1e-300)


def test_float32(as_part):
    # Of other sizes, a few elements pass the solver's loops outside of vectors, and are rounded in another way.
    func, y0 = Oscillating(torch.float32, width=64), batch(16, torch.float32)
    given = (func, y0, TIMES["increasing"], BacksolveAdjoint())
    check_same(gradients(*given), as_part(gradients, *given), rounding=3e-6)


def backward_problem(func, y0, t, **settings):
    """What the engine is given."""
    given, solve_adjoint = [], julia_engine.JuliaEngine.solve_adjoint

    def seen(self, problem):
        given.append(problem)
        return solve_adjoint(self, problem)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(julia_engine.JuliaEngine, "solve_adjoint", seen)
        gradients(func, y0, t, BacksolveAdjoint(), **settings)
    return given[0]


@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_a_solve_that_stops_early_leaves_the_integral_up_to_there(method, steps, as_part):
    problem = backward_problem(Oscillating(width=8), batch(3), TIMES["increasing"], **settings_of(method))
    problem.options = dataclasses.replace(problem.options, max_steps=steps)
    solver = julia_engine.JuliaEngine()
    apart, part = solver.solve_adjoint(problem), as_part(solver.solve_adjoint, problem)
    assert apart.retcode is part.retcode is ReturnCode.MaxIters and apart.t == part.t
    assert torch.equal(apart.adjoint, part.adjoint)
    assert all(torch.allclose(a, b, rtol=ROUNDING, atol=1e-14) for a, b in zip(apart.params, part.params, strict=True))
    assert any(bool(x.any()) for x in part.params) == (apart.stats.naccept > 0)


def test_a_failure_on_the_way_leaves_the_next_solve_alone():
    func, y0, t = Oscillating(width=8), batch(3), TIMES["increasing"]
    plain = gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD)

    class Broken(Exception):
        pass

    for kind in ("accept_step_adjoint", "reject_step_adjoint"):
        left = [None] * (4 if kind == "accept_step_adjoint" else 1)

        def broken(*step, left=left):
            if not left:
                raise Broken
            left.pop()

        with pytest.raises(Broken):
            gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD, callbacks=StepCallbacks(**{kind: broken}))
        check_same(gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD), plain, rounding=1e-300)


def test_memory_waits_with_the_field_for_the_next_solve():
    func, y0, t = Oscillating(width=8), batch(3), TIMES["increasing"]
    problem = backward_problem(func, y0, t, controller=BOLD)
    handle, main = problem.field.native.handle, sys.modules["juliacall"].Main
    addresses = main.seval("field -> sort!([UInt(pointer(x)) for x in field.spare])")
    before = list(addresses(handle))
    assert len(before) == len(set(before)) == 9  # seven stages, their increment and its error
    gradients(func, y0, t, BacksolveAdjoint(), controller=BOLD)
    assert list(addresses(handle)) == before
