"""What goes wrong with a field written in Julia is said by name, and what was chosen in the log."""

import math

import pytest
import torch
from julia_functions import MLP, MLP_VJP, T, julia, sciml, weights
from problems import batch

import pyseminorm
from pyseminorm import (
    BackendUnavailableError,
    BacksolveAdjoint,
    InvalidInputError,
    JuliaFunction,
    JuliaFunctionError,
    UnsupportedError,
)
from pyseminorm.engines.julia.session.runtime import Runtime


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
