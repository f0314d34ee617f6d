"""Vector fields written in Julia: against the same field in torch, on both engines, with no Python in the loop."""

import collections
import copy
import gc
import io
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from found_julia import HAS_SENSITIVITY
from problems import batch, cotangents, relative
from thresholds import GRADCHECK, TIGHT
from torch import nn

import pyseminorm
from pyseminorm import (
    BackendUnavailableError,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    JuliaFunction,
    JuliaFunctionError,
    UnsupportedError,
)
from pyseminorm.engines.julia.engine import JuliaEngine
from pyseminorm.engines.julia.session.runtime import Runtime, runtime

julia = pytest.mark.julia
sciml = pytest.mark.skipif(not HAS_SENSITIVITY, reason="the configured Julia project lacks SciMLSensitivity")
ADJOINTS = [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), GaussAdjoint(interpolate=False)]
T = torch.linspace(0, 1, 4, dtype=torch.float64)

# A tanh network times cos(t), in torch's layout: W1 of shape (hidden, d) is a d×hidden matrix in Julia.
MLP = """
function f!(du, u, p, t)
    h = tanh.(p.W1' * u .+ p.b1)
    du .= (p.W2' * h .+ p.b2) .* cos(t)
    return nothing
end
"""
MLP_VJP = """
function vjp!(dλ, dp, λ, u, p, t)
    h = tanh.(p.W1' * u .+ p.b1)
    g = λ .* cos(t)
    dp.W2 .= h * g'
    dp.b2 .= vec(sum(g; dims = 2))
    k = (p.W2 * g) .* (1 .- h .^ 2)
    dp.W1 .= u * k'
    dp.b1 .= vec(sum(k; dims = 2))
    dλ .= p.W1 * k
    return nothing
end
"""
CHOSEN = [pytest.param(name, marks=sciml) for name in ("reversediff", "zygote", "auto")]
VJPS = [pytest.param(MLP_VJP, id="given"), *CHOSEN]


def weights(dtype=torch.float64, hidden=5):
    shapes = {"W1": (hidden, 2), "b1": (hidden,), "W2": (2, hidden), "b2": (2,)}
    generator = torch.Generator().manual_seed(1)
    return {k: (torch.randn(s, generator=generator, dtype=torch.float64) / 2).to(dtype) for k, s in shapes.items()}


class TorchMLP(nn.Module):
    """The same field in torch."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.params = nn.ParameterDict()
        self.params.update(list(weights(dtype).items()))

    def forward(self, t, y):
        p = self.params
        return (torch.tanh(y @ p["W1"].T + p["b1"]) @ p["W2"].T + p["b2"]) * torch.cos(t)


def gradients(field, y0, t, adjoint, backend, **options):
    """The values, all gradients in one vector, and the statistics."""
    y0, t = y0.clone().requires_grad_(), t.clone().requires_grad_()
    field.zero_grad()
    solution = pyseminorm.solve(field, y0, t, adjoint=adjoint, backend=backend, **options)
    (solution.ys * cotangents(*solution.ys.shape, dtype=y0.dtype)).sum().backward()
    found = [y0.grad, t.grad.to(y0.dtype), *(p.grad for p in field.parameters())]
    return solution.ys.detach(), torch.cat([g.reshape(-1) for g in found]), solution.stats


# ---- without Julia


def test_it_is_a_module_whose_parameters_are_torchs():
    given = nn.Parameter(torch.ones(2))
    field = JuliaFunction("(du, u, p, t) -> (du .= p.a)", {"a": given, "b": torch.zeros(3)})
    assert field.params["a"] is given
    assert [(k, tuple(p.shape)) for k, p in field.named_parameters()] == [("params.a", (2,)), ("params.b", (3,))]
    assert list(field.state_dict()) == ["params.a", "params.b"]
    assert field.double().params["b"].dtype == torch.float64
    single = JuliaFunction("(du, u, p, t) -> (du .= p)", torch.ones(2))
    assert list(single.state_dict()) == ["params"]
    assert list(JuliaFunction("(du, u, p, t) -> (du .= u)").parameters()) == []
    assert "du .= u" in repr(JuliaFunction("(du, u, p, t) -> (du .= u)"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": lambda du, u, p, t: None}, "needs no JuliaFunction: give it to solve"),
        ({"function": "  "}, "expected Julia source text"),
        ({"function": "x", "params": [torch.ones(2)]}, "params is a list: expected a tensor"),
        ({"function": "x", "params": {"a": 1.0}}, r"params\['a'\] is a float"),
        ({"function": "x", "params": {"a b": torch.ones(2)}}, "the name 'a b'"),
        ({"function": "x", "params": {"values": torch.ones(2)}}, "the name 'values'"),
        ({"function": "x", "params": torch.ones(2, dtype=torch.int64)}, "dtype torch.int64"),
        ({"function": "x", "params": torch.ones(2, dtype=torch.float16)}, "dtype torch.float16"),
        ({"function": "x", "vjp": "zygot"}, "vjp='zygot' is not known.*'zygote'"),
        ({"function": "x", "vjp": None}, "vjp=None: expected Julia source"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        JuliaFunction(**arguments)


def test_without_julia_it_says_so(tmp_path, monkeypatch):
    from pyseminorm.engines.julia.session import detect
    from pyseminorm.engines.julia.session import runtime as started

    monkeypatch.setattr(started, "_runtime", None)
    monkeypatch.setattr(detect, "find_julia", lambda: detect.NoJulia("no Julia is configured or resolved"))
    field = JuliaFunction("(du, u, p, t) -> (du .= u)")
    for backend in ("auto", "torch", "julia"):
        with pytest.raises(BackendUnavailableError, match="pyseminorm setup"):
            pyseminorm.solve(field, torch.ones(2), [0.0, 1.0], backend=backend)


# ---- one call


@julia
@pytest.mark.parametrize("vjp", VJPS)
def test_a_call_has_torchs_values_and_gradients(vjp):
    field, same = JuliaFunction(MLP, weights(), vjp=vjp), TorchMLP()
    t = torch.tensor(0.3, dtype=torch.float64)
    for shape in ((7, 2), (1, 2), (3, 2)):
        y = batch(shape[0]).requires_grad_()
        found, expected = field(t, y), same(t, y)
        assert torch.allclose(found, expected, rtol=1e-14, atol=1e-15)
        weight = cotangents(*shape)
        for a, b in zip(
            torch.autograd.grad((found * weight).sum(), [y, *field.parameters()]),
            torch.autograd.grad((expected * weight).sum(), [y, *same.parameters()]),
            strict=True,
        ):
            assert a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-14)


@julia
@pytest.mark.parametrize("vjp", CHOSEN)
def test_gradcheck_of_a_call(vjp):
    names = list(weights())

    def call(t, y, *tensors):
        return JuliaFunction(MLP, dict(zip(names, [x * 1.0 for x in tensors], strict=True)), vjp=vjp)(t, y)

    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    tensors = [w.requires_grad_() for w in weights(hidden=3).values()]
    assert torch.autograd.gradcheck(call, (t, batch(2).requires_grad_(), *tensors), **GRADCHECK)


@julia
@pytest.mark.parametrize("vjp", CHOSEN)
@pytest.mark.parametrize(
    "source",
    [
        "(du, u, p, t) -> (du .= (u[1] > 0.5 && t < 1 ? 1 : -1) .* p .* u)",
        """
        function (du, u, p, t)
            for i in eachindex(u)
                du[i] = (u[1] > 0.5 && t < 1 ? p[i] : -p[i]) * u[i]
            end
        end
        """,
        "(du, u, p, t) -> (du .= ifelse.((u[1] > 0.5) & (t < 1), 1, -1) .* p .* u)",
    ],
    ids=["branch", "loop", "ifelse"],
)
def test_branches_are_taken_anew_in_every_product(vjp, source):
    """A tape that was recorded on the other side of a branch must not be played."""
    field = JuliaFunction(source, torch.tensor([2.0, 3.0], dtype=torch.float64), vjp=vjp)
    for first, t, sign in ((1.0, 0.0, 1), (0.1, 0.0, -1), (1.0, 0.0, 1), (1.0, 2.0, -1)):
        y = torch.tensor([first, 0.7], dtype=torch.float64, requires_grad=True)
        by_y, by_p = torch.autograd.grad(field(torch.tensor(t), y).sum(), [y, field.params])
        assert torch.equal(by_y, sign * field.params) and torch.equal(by_p, sign * y)


@julia
def test_dimensions_are_reversed_and_memory_is_shared_row_by_row():
    """Every kind of shape, told apart by its elements."""
    source = """
    function (du, u, p, t)
        size(u) == (3, 2) && size(p.m) == (4, 3, 2) && size(p.v) == (3,) && size(p.s) == () || error("sizes")
        du[1, 1] = p.m[4, 3, 2]; du[2, 1] = p.v[2]; du[3, 1] = p.s[]
        du[1, 2] = u[3, 2]; du[2, 2] = u[2, 1]; du[3, 2] = t
    end
    """
    m = torch.arange(24.0).view(2, 3, 4)
    field = JuliaFunction(source, {"m": m, "v": torch.tensor([7.0, 8.0, 9.0]), "s": torch.tensor(5.0)})
    y = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    found = field(torch.tensor(0.25), y.t().contiguous().t())
    assert torch.equal(found, torch.tensor([[23.0, 8.0, 5.0], [0.6, 0.2, 0.25]]))


@julia
def test_sources_have_packages_helpers_and_constants_of_their_own():
    source = """
    using LinearAlgebra
    const half = 0.5f0
    scaled!(du, A, u) = mul!(du, A', u, half, 0)
    function f!(du, u, p, t)
        scaled!(du, p, u)
    end
    """
    w, y = torch.randn(3, 3), torch.randn(4, 3)
    vjp = "(dλ, dp, λ, u, p, t) -> (mul!(dλ, p, λ, half, 0); mul!(dp, u, λ', half, 0))"
    field = JuliaFunction(source, w, vjp=vjp)
    y.requires_grad_()
    found, expected = field(0.0, y), y @ field.params.T / 2
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), [y, field.params]),
        torch.autograd.grad(expected.square().sum(), [y, field.params]),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
    other = JuliaFunction("const half = 2\n(du, u, p, t) -> (du .= half .* u)")  # in a module of its own
    assert torch.equal(other(0.0, torch.ones(2)), torch.full((2,), 2.0))


@julia
def test_the_embedded_engine_and_other_modules_can_use_it():
    """As a part of a model: the rest of it is torch's."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([0.7, 1.3], dtype=torch.float64))
            self.inner = JuliaFunction(MLP, weights(), vjp=MLP_VJP)

        def forward(self, t, y):
            return self.inner(t, y * self.scale) - 0.1 * y

    class Same(Model):
        def __init__(self):
            super().__init__()
            self.inner = TorchMLP()

    for backend in ("torch", "julia"):
        for adjoint in ADJOINTS:
            ys, found, _ = gradients(Model(), batch(3), T, adjoint, backend, **TIGHT)
            same_ys, expected, _ = gradients(Same(), batch(3), T, adjoint, backend, **TIGHT)
            assert relative(ys, same_ys) < 1e-10 and relative(found, expected) < 1e-9


# ---- solves


@julia
@pytest.mark.parametrize("vjp", VJPS)
@pytest.mark.parametrize("adjoint", [*ADJOINTS, DiscreteAdjoint()], ids=lambda a: type(a).__name__)
def test_solves_have_torchs_values_gradients_and_steps(engine, adjoint, vjp):
    field, same = JuliaFunction(MLP, weights(), vjp=vjp), TorchMLP()
    for t in (T, T.flip(0)):
        ys, found, stats = gradients(field, batch(4), t, adjoint, engine, **TIGHT)
        same_ys, expected, same_stats = gradients(same, batch(4), t, adjoint, engine, **TIGHT)
        assert relative(ys, same_ys) < 1e-11 and relative(found, expected) < 1e-10
        forward, same_forward = stats.forward, same_stats.forward
        # A native solve evaluates f at the start itself, where a callback gives the value of the checking call.
        assert forward.nf == same_forward.nf + (engine == "julia")
        assert (forward.naccept, forward.nreject) == (same_forward.naccept, same_forward.nreject)
        backward, same_backward = stats.backward, same_stats.backward
        for count in ("nf", "nvjp", "nvjp_state", "nvjp_param", "naccept", "nreject"):
            assert getattr(backward, count) == getattr(same_backward, count), count


@julia
@pytest.mark.parametrize("vjp", VJPS)
def test_float32(engine, vjp):
    for adjoint in ADJOINTS:
        y0 = batch(4, torch.float32)
        ys, found, _ = gradients(JuliaFunction(MLP, weights(torch.float32), vjp=vjp), y0, T, adjoint, engine, rtol=1e-5)
        same_ys, expected, _ = gradients(TorchMLP(torch.float32), y0, T, adjoint, engine, rtol=1e-5)
        assert ys.dtype == found.dtype == torch.float32
        assert relative(ys, same_ys) < 1e-5 and relative(found, expected) < 1e-4


@julia
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_gradcheck_of_a_solve(adjoint, method):
    source = "(du, u, p, t) -> (du .= tanh.(p' * u) .* cos(2t) .- 0.3 .* u)"
    vjp = """
    function (dλ, dp, λ, u, p, t)
        k = λ .* cos(2t) .* (1 .- tanh.(p' * u) .^ 2)
        dλ .= p * k .- 0.3 .* λ
        dp .= u * k'
    end
    """
    t = torch.tensor([0.2, 0.5, 1.1], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([[0.4, -1.2], [0.9, 0.3]], dtype=torch.float64, requires_grad=True)

    def loss(y0, t, w):
        field = JuliaFunction(source, w * 1.0, vjp=vjp)  # a tensor that was computed
        ys = pyseminorm.solve(field, y0, t, adjoint=adjoint, method=method, backend="julia", **TIGHT).ys
        return (ys * cotangents(3, 2, 2)).sum()

    assert torch.autograd.gradcheck(loss, (batch(2).requires_grad_(), t, w), **GRADCHECK)


@julia
@pytest.mark.parametrize(
    "norm",
    [
        *("seminorm", "seminorm_joint", "rms", "callable"),
        *(pytest.param(norm, marks=sciml) for norm in ("torchdiffeq", "torchdiffeq_seminorm")),
    ],
)
def test_every_norm_sees_what_it_sees_of_a_torch_field(norm):
    seen = []

    def largest(state):
        seen.append([tuple(p.shape) for p in state.params])
        return max(state.adjoint.abs().max(), max(p.abs().max() for p in state.params))

    for adjoint in (BacksolveAdjoint, InterpolatingAdjoint):
        chosen = adjoint(norm=largest if norm == "callable" else norm)
        vjp = "auto" if "torchdiffeq" in norm else MLP_VJP
        _, found, stats = gradients(JuliaFunction(MLP, weights(), vjp=vjp), batch(4), T, chosen, "julia", rtol=1e-6)
        _, expected, same = gradients(TorchMLP(), batch(4), T, chosen, "julia", rtol=1e-6)
        assert relative(found, expected) < 1e-9
        assert (stats.backward.nvjp, stats.backward.naccept) == (same.backward.nvjp, same.backward.naccept)
    assert all(shapes == [(5, 2), (5,), (2, 5), (2,)] for shapes in seen) and bool(seen) == (norm == "callable")


@julia
def test_a_forward_norm_of_the_users():
    field = JuliaFunction(MLP, weights())
    loose = pyseminorm.solve(field, batch(4), T, backend="julia", norm=lambda y: 1e-3 * y.abs().max())
    exact = pyseminorm.solve(field, batch(4), T, backend="julia", norm=lambda y: y.abs().max())
    assert loose.stats.forward.naccept < exact.stats.forward.naccept


@julia
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_no_python_runs_in_the_loop(adjoint):
    """As many Python functions are called for a long solve as for a short one, while Julia counts its evaluations."""
    field = JuliaFunction(MLP, weights(), vjp=MLP_VJP)
    calls = collections.Counter()

    def count(frame, event, argument):
        if event == "call" and "julia" in frame.f_code.co_filename:
            calls[frame.f_code.co_name] += 1

    def run(end):
        y0 = batch(2).requires_grad_()
        t = torch.tensor([0.0, end], dtype=torch.float64)
        calls.clear()
        gc.collect()
        gc.disable()  # the garbage of other tests calls Python, too
        sys.setprofile(count)
        try:
            solution = pyseminorm.solve(field, y0, t, adjoint=adjoint, backend="julia", rtol=1e-8)
            solution.ys[-1].sum().backward()
        finally:
            sys.setprofile(None)
            gc.enable()
        return dict(calls), solution.stats.forward.nf + solution.stats.backward.evaluations

    run(0.01), run(20.0)  # what only a first solve of these times does
    short, few = run(0.01)
    long, many = run(20.0)
    assert many > few + 500
    assert long == short


@julia
def test_fixed_steps_discontinuities_and_dense_output(engine):
    source = "(du, u, p, t) -> (du .= (t < 0.35 ? 1 : -1) .* p .* u)"
    rate = torch.tensor([0.5, 0.8], dtype=torch.float64)
    vjp = "(dλ, dp, λ, u, p, t) -> (side = t < 0.35 ? 1 : -1; dλ .= side .* p .* λ; dp .= side .* u .* λ)"
    field = JuliaFunction(source, rate, vjp=vjp)
    y0 = torch.ones(2, dtype=torch.float64)
    solution = pyseminorm.solve(
        field, y0, [0.0, 1.0], backend=engine, rtol=1e-9, atol=1e-9, discontinuities=[0.35], dense=True
    )
    exact = torch.exp(rate * (0.35 - 0.65))
    assert torch.allclose(solution.ys[-1], exact, rtol=1e-7)
    assert torch.allclose(solution.interpolate(0.35), torch.exp(rate * 0.35), rtol=1e-7)
    solution.ys[-1].sum().backward()
    assert torch.allclose(field.params.grad, exact * (0.35 - 0.65), rtol=1e-6)
    steps = pyseminorm.solve(field, y0, [0.0, 0.3], backend=engine, method="rk4", dt=0.1).stats.forward
    assert steps.naccept == 3 and steps.nf == 12 + (engine == "julia")


STIFF = "(du, u, p, t) -> (du .= p.rate .* (cos(t) .- u) .- u .^ 3)"
STIFF_VJP = """
function (dλ, dp, λ, u, p, t)
    dλ .= .-p.rate .* λ .- 3 .* u .^ 2 .* λ
    dp.rate .= (cos(t) .- u) .* λ
end
"""


class TorchStiff(nn.Module):
    """The same in torch, y' = rate (cos t - y) - y^3."""

    def __init__(self, rate):
        super().__init__()
        self.rate = nn.Parameter(rate)

    def forward(self, t, y):
        return self.rate * (torch.cos(t) - y) - y**3


@julia
@pytest.mark.parametrize("method", ["Rodas5P", "TRBDF2"])
def test_methods_for_stiff_problems_get_their_jacobian_in_julia(method):
    """No Python there either: as many Jacobians as through torch, and the same gradients."""
    try:
        JuliaEngine().traits(method)
    except InvalidInputError as error:
        pytest.skip(str(error))
    rate = torch.tensor([1e3, 2.0, 50.0], dtype=torch.float64)
    y0 = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    results = []
    for field in (JuliaFunction(STIFF, {"rate": rate}, vjp=STIFF_VJP), TorchStiff(rate.clone())):
        options = {"adjoint": GaussAdjoint(), "backend": "julia", "method": method, "rtol": 1e-8, "atol": 1e-8}
        results.append(gradients(field, y0, T, **options))
    (ys, found, stats), (same_ys, expected, same) = results
    assert relative(ys, same_ys) < 1e-7 and relative(found, expected) < 1e-6
    assert 0 < stats.forward.njac <= 1.1 * same.forward.njac + 2
    assert 0 < stats.backward.njac <= 1.1 * same.backward.njac + 2
    assert stats.forward.naccept < 400  # an explicit method needs ten times as many


@julia
def test_shared_frozen_and_chosen_parameters(engine):
    source = "(du, u, p, t) -> (du .= .-p.a .* u .* p.c .+ p.b .* u)"
    vjp = """
    function (dλ, dp, λ, u, p, t)
        dλ .= (p.b .- p.a .* p.c) .* λ
        dp.a .= .-p.c .* u .* λ
        dp.b .= u .* λ
        dp.c .= .-p.a .* u .* λ
    end
    """
    shared = nn.Parameter(torch.tensor([0.4, 0.6], dtype=torch.float64))
    frozen = nn.Parameter(torch.tensor([2.0, 3.0], dtype=torch.float64), requires_grad=False)
    field = JuliaFunction(source, {"a": shared, "c": frozen, "b": shared}, vjp=vjp)
    exact = torch.exp(shared * (1 - frozen)).sum()
    (expected,) = torch.autograd.grad(exact, shared)
    for adjoint in ADJOINTS:
        field.zero_grad()
        y0 = torch.ones(2, dtype=torch.float64)
        pyseminorm.solve(field, y0, [0.0, 1.0], backend=engine, adjoint=adjoint, **TIGHT).ys[-1].sum().backward()
        assert torch.allclose(shared.grad, expected, rtol=1e-8) and frozen.grad is None
    vjp = "(dλ, dp, λ, u, p, t) -> (dλ .= p.a .* λ; dp.a .= u .* λ; dp.b .= λ)"
    named = {"a": torch.ones(2), "b": torch.ones(2)}
    two = JuliaFunction("(du, u, p, t) -> (du .= p.a .* u .+ p.b)", named, vjp=vjp)
    ys = pyseminorm.solve(two, torch.ones(2), [0.0, 1.0], params=[two.params["b"]], backend=engine).ys
    ys[-1].sum().backward()
    assert two.params["a"].grad is None and torch.allclose(two.params["b"].grad, torch.tensor(math.e - 1), rtol=1e-2)
    with pytest.raises(InvalidInputError, match="does not use"):
        pyseminorm.solve(two, torch.ones(2), [0.0, 1.0], params=[torch.ones(3, requires_grad=True)], backend=engine)


@julia
def test_computed_parameters_pass_gradients_on(engine):
    """A network that makes the weights of the field: nothing is registered, nothing compiled anew."""
    maker = nn.Linear(1, 2).double()
    for _ in range(2):
        maker.zero_grad()
        rate = maker(torch.ones(1, dtype=torch.float64))
        vjp = "(dλ, dp, λ, u, p, t) -> (dλ .= p.rate .* λ; dp.rate .= u .* λ)"
        field = JuliaFunction("(du, u, p, t) -> (du .= p.rate .* u)", {"rate": rate}, vjp=vjp)
        assert not list(field.parameters())
        y0 = torch.ones(2, dtype=torch.float64)
        pyseminorm.solve(field, y0, [0.0, 1.0], backend=engine, **TIGHT).ys[-1].sum().backward()
        assert torch.allclose(maker.bias.grad, torch.exp(rate.detach()), rtol=1e-8)


@julia
@sciml
def test_parameters_that_f_does_not_read_get_zeros(engine):
    for vjp in ("reversediff", "zygote"):
        field = JuliaFunction("(du, u, p, t) -> (du .= -u .* p.a)", {"a": torch.ones(2), "b": torch.ones(3)}, vjp=vjp)
        for adjoint in ADJOINTS:
            field.zero_grad()
            y0 = torch.ones(2)
            pyseminorm.solve(field, y0, [0.0, 1.0], backend=engine, adjoint=adjoint).ys[-1].sum().backward()
            assert torch.equal(field.params["b"].grad, torch.zeros(3)) and field.params["a"].grad.abs().sum() > 0
    field = JuliaFunction("(du, u, p, t) -> (du .= .-u)")
    y0 = torch.ones(2, requires_grad=True)
    pyseminorm.solve(field, y0, [0.0, 1.0], backend=engine).ys[-1].sum().backward()
    assert torch.allclose(y0.grad, torch.tensor(math.exp(-1)), rtol=1e-3)


@julia
def test_a_few_steps_of_training_decrease_the_loss():
    """The parameters are read from torch's memory: an optimiser step needs no new object."""
    torch.manual_seed(0)
    target = pyseminorm.solve(lambda t, y: torch.stack([y[:, 1], -y[:, 0]], 1), batch(8), T, rtol=1e-8).ys
    field = JuliaFunction(MLP.replace(".* cos(t)", ""), weights(), vjp=MLP_VJP.replace(".* cos(t)", ".* one(t)"))
    optimiser = torch.optim.Adam(field.parameters(), lr=0.05)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (pyseminorm.solve(field, batch(8), T, backend="julia").ys - target).pow(2).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@julia
@pytest.mark.slow
def test_the_example_learns():
    example = Path(__file__).parents[1] / "examples" / "julia_function.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=300)
    losses = [float(line.split()[3]) for line in done.stdout.splitlines()]
    assert len(losses) == 7 and losses[-1] < losses[0] / 50, done.stdout + done.stderr


@julia
def test_state_dicts_copies_and_pickles():
    field, other = JuliaFunction(MLP, weights()), JuliaFunction(MLP, {k: 0 * w for k, w in weights().items()})
    t = torch.tensor(0.2, dtype=torch.float64)
    expected = field(t, batch(3))
    assert not torch.allclose(other(t, batch(3)), expected)
    other.load_state_dict(field.state_dict())
    assert torch.equal(other(t, batch(3)), expected)
    copied = copy.deepcopy(field)
    with torch.no_grad():
        copied.params["b2"] += 1
    assert torch.equal(field(t, batch(3)), expected) and not torch.equal(copied(t, batch(3)), expected)
    buffer = io.BytesIO()
    torch.save(field, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(t, batch(3)), expected)
    single = field.float()
    assert torch.allclose(single(t, batch(3, torch.float32)), expected.float(), rtol=1e-5)


@julia
def test_julia_functions_as_juliacall_gives_them():
    runtime()
    import juliacall

    f = juliacall.Main.seval("(du, u, p, t) -> (du .= p .* u)")
    vjp = juliacall.Main.seval("(dλ, dp, λ, u, p, t) -> (dλ .= p .* λ; dp .= u .* λ)")
    field = JuliaFunction(f, torch.tensor([0.5]), vjp=vjp)
    pyseminorm.solve(field, torch.ones(1), [0.0, 1.0], backend="julia", rtol=1e-6).ys[-1].sum().backward()
    assert torch.allclose(field.params.grad, torch.tensor(math.exp(0.5)), rtol=1e-4)
    copied = copy.deepcopy(field)
    assert torch.equal(copied(0.0, torch.ones(1)), torch.tensor([0.5]))
    with pytest.raises(UnsupportedError, match="give it source text"):
        torch.save(field, io.BytesIO())


@julia
def test_a_second_model_compiles_no_solver():
    """The solver's own methods have one specialisation for both: only the user's functions are new."""
    runtime()
    import juliacall

    first = JuliaFunction(
        "(du, u, p, t) -> (du .= .-p .* u)",
        torch.ones(2),
        vjp="(dλ, dp, λ, u, p, t) -> (dλ .= .-p .* λ; dp .= .-u .* λ)",
    )
    second = JuliaFunction(MLP, weights(torch.float32), vjp=MLP_VJP)

    def train(field, y0):
        for adjoint in ADJOINTS:
            pyseminorm.solve(field, y0, T, backend="julia", adjoint=adjoint).ys.sum().backward()

    count = juliacall.Main.seval("""
        () -> sum(length(Base.specializations(m)) for f in (
            PySeminorm.integrate, PySeminorm.adjoint, PySeminorm.OrdinaryDiffEqCore.perform_step!,
            PySeminorm.OrdinaryDiffEqCore.SciMLBase.solve!, PySeminorm.backward!,
        ) for m in methods(f))
    """)
    train(first, torch.ones(2))
    before = count()
    train(second, batch(5, torch.float32))
    assert count() == before


# ---- what goes wrong


@julia
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(du, u, p, t) -> (du .= ", "cannot be evaluated.*ParseError"),
        ("using NoSuchPackage\n(du, u, p, t) -> nothing", "cannot be evaluated.*NoSuchPackage"),
        ("x = 3", "must end in a function, but gives Int64"),
        ("(u, p, t) -> -u", r"takes no arguments \(du, u, p, t\)"),
        ("f!(du::Vector{Float32}, u, p, t) = nothing", r"takes no arguments \(du, u, p, t\).*2×5 Matrix{Float64}"),
        ("(du, u, p, t) -> u", "gave non-finite values at the first time"),
        ("(du, u, p, t) -> (du .= NaN)", "gave non-finite values at the first time"),
    ],
)
def test_bad_sources_are_refused_before_the_solve(engine, source, message):
    with pytest.raises(InvalidInputError, match="(?s)" + message):
        pyseminorm.solve(JuliaFunction(source), batch(5), T, backend=engine)


@julia
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "function f!(du, u, p, t)\n    du .= ones(2, 2) * u .+ ones(7)\nend",
            r"DimensionMismatch.*\(line 2 of the source\)",
        ),
        ("(du, u, p, t) -> (du .= nothere(u))", "UndefVarError: `nothere` not defined.*line 1"),
        ('(du, u, p, t) -> error("mine")', "mine.*u are 2×5 Matrix{Float64}, p is nothing"),
    ],
)
def test_errors_of_the_first_call_name_the_line_and_the_sizes(engine, source, message):
    with pytest.raises(JuliaFunctionError, match="(?s)" + message):
        pyseminorm.solve(JuliaFunction(source), batch(5), T, backend=engine)


@julia
def test_bad_inputs_are_refused_by_name(engine):
    field = JuliaFunction("(du, u, p, t) -> (du .= p .* u)", torch.ones(2))
    with pytest.raises(InvalidInputError, match=r"dtype torch\.float32 and y0 torch\.float64.*function\.to"):
        pyseminorm.solve(field, torch.ones(2, dtype=torch.float64), T, backend=engine)
    with pytest.raises(InvalidInputError, match="args= is for Python functions"):
        pyseminorm.solve(field, torch.ones(2), T, args=(torch.ones(2),), backend=engine)
    with pytest.raises(InvalidInputError, match="y0 is nested"):
        pyseminorm.solve(field, (torch.ones(2), torch.ones(2)), T, backend=engine)
    with pytest.raises(InvalidInputError, match="one time for all of y"):
        field(torch.ones(3), torch.ones(2))
    with pytest.raises(InvalidInputError, match="takes one tensor"):
        field(0.0, [1.0, 2.0])


@julia
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_error_in_a_solve_arrives_with_the_last_good_state(engine, where):
    source = 'function (du, u, p, t)\n    t > 0.5 && p[2] > 0 && error("at half time")\n    du .= .-p[1] .* u\nend'
    vjp = 'function (dλ, dp, λ, u, p, t)\n    t < 0.5 && p[2] < 0 && error("at half time")\n    dλ .= .-λ .* p[1]\nend'
    field = JuliaFunction(source, torch.tensor([1.0, 1.0 if where == "forward" else -1.0]).double(), vjp=vjp)
    y0 = torch.ones(3, dtype=torch.float64)
    with pytest.raises(JuliaFunctionError, match=r"at half time \(line 2 of the source") as info:
        ys = pyseminorm.solve(field, y0, [0.0, 0.2, 1.0], backend=engine).ys
        assert where == "backward"
        ys[-1].sum().backward()
    state = info.value.last_good_state
    assert state.stats.naccept >= 1 and (0 < state.t <= 0.5 if where == "forward" else 0.5 <= state.t < 1)
    value = math.exp(-state.t) if where == "forward" else math.exp(state.t - 1)
    assert torch.allclose(state.y, torch.full_like(y0, value), rtol=1e-2)
    with torch.no_grad():
        field.params[1] = 0.0
    ys = pyseminorm.solve(field, y0, T, backend=engine).ys  # and the next one works
    ys.sum().backward()
    assert torch.allclose(ys[-1], torch.full_like(y0, math.exp(-1)), rtol=1e-3)


@julia
def test_gradients_without_sciml_sensitivity_name_what_to_do(monkeypatch):
    monkeypatch.setattr(Runtime, "load", lambda self, package: False)
    field = JuliaFunction("(du, u, p, t) -> (du .= p .* u)", torch.ones(2))
    for backend in ("torch", "julia"):
        ys = pyseminorm.solve(field, torch.ones(2), T, backend=backend).ys  # without gradients all is well
        with pytest.raises(BackendUnavailableError, match=r'Pkg\.add\("SciMLSensitivity"\).*vjp='):
            ys.sum().backward()
    given = JuliaFunction(
        "(du, u, p, t) -> (du .= p .* u)", torch.ones(2), vjp="(dλ, dp, λ, u, p, t) -> (dλ .= p .* λ; dp .= u .* λ)"
    )
    pyseminorm.solve(given, torch.ones(2), T, backend="julia").ys.sum().backward()
    assert given.params.grad is not None


@julia
@sciml
def test_a_log_line_says_which_product_was_chosen(caplog):
    field = JuliaFunction(MLP, weights())
    with caplog.at_level("INFO", logger="pyseminorm"):
        field(0.0, batch(2)).sum().backward()
    assert "vjp='auto' of a JuliaFunction is SciMLSensitivity.ReverseDiffVJP{true}" in caplog.text


@julia
@sciml
def test_what_cannot_be_differentiated_is_refused_by_name():
    field = JuliaFunction("(du::Array{Float64}, u, p, t) -> (du .= p .* u)", torch.ones(2).double())
    y0 = torch.ones(2, dtype=torch.float64)
    for vjp in ("auto", "reversediff", "zygote"):
        field = JuliaFunction("(du::Array{Float64}, u, p, t) -> (du .= p .* u)", torch.ones(2).double(), vjp=vjp)
        ys = pyseminorm.solve(field, y0, T, backend="julia").ys
        with pytest.raises(UnsupportedError, match=f"(?s)vjp='{vjp}' cannot differentiate.*MethodError.*of your own"):
            ys.sum().backward()
    wrong = JuliaFunction("(du, u, p, t) -> (du .= p .* u)", torch.ones(2).double(), vjp="(dλ, λ) -> nothing")
    ys = pyseminorm.solve(wrong, y0, T, backend="julia").ys
    with pytest.raises(InvalidInputError, match=r"takes no arguments \(dλ, dp, λ, u, p, t\)"):
        ys.sum().backward()
    given = JuliaFunction(MLP, weights(), vjp=MLP_VJP)
    ys = pyseminorm.solve(given, batch(2), T, adjoint=BacksolveAdjoint(norm="torchdiffeq"), backend="julia").ys
    with pytest.raises(UnsupportedError, match=r'torchdiffeq.*vjp="auto"'):
        ys.sum().backward()
    t = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(UnsupportedError, match='vjp="auto"'):
        given(t, batch(2)).sum().backward()


# ---- signals
