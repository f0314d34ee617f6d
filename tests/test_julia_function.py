"""A field written in Julia as a module of torch, and its calls, against the same field in torch."""

import pytest
import torch
from julia_functions import ADJOINTS, CHOSEN, MLP, MLP_VJP, VJPS, T, TorchMLP, gradients, julia, weights
from problems import batch, cotangents, relative
from thresholds import GRADCHECK, TIGHT
from torch import nn

import pyseminorm
from pyseminorm import BackendUnavailableError, InvalidInputError, JuliaFunction

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
