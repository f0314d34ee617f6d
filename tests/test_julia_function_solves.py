"""Solves of fields written in Julia: against the same in torch, on both engines, with no Python in the loop."""

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
from julia_functions import ADJOINTS, MLP, MLP_VJP, VJPS, T, TorchMLP, gradients, julia, sciml, weights
from problems import batch, cotangents, relative
from thresholds import GRADCHECK, TIGHT
from torch import nn

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    JuliaFunction,
    UnsupportedError,
)
from pyseminorm.engines.julia.engine import JuliaEngine
from pyseminorm.engines.julia.session.runtime import runtime


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
