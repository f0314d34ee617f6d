"""The Julia engine says the same of the gradient's error as the embedded engine, whatever form the function has."""

import pytest
import torch
from problems import MLP, batch

from pyseminorm import (
    Algorithm,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    JuliaFunction,
    UnsupportedError,
    solve,
)

pytestmark = pytest.mark.julia

D = torch.float64
FORCED = """
function f!(du, u, p, t)
    du .= p.a .* u .+ p.b .* sin(10t)
end
"""
FORCED_VJP = """
function vjp!(dλ, dp, λ, u, p, t)
    dλ .= p.a .* λ
    dp.a .= u .* λ
    dp.b .= λ .* sin(10t)
end
"""


class Forced(torch.nn.Module):
    """The JuliaFunction above, in PyTorch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.linspace(-1, x, 3, dtype=D)) for x in (0.5, 2.0))

    def forward(self, t, y):
        return self.a * y + self.b * torch.sin(10 * t)


def backward(field, params, backend, adjoint, *, y0, **settings):
    settings = {"rtol": 1e-4, "atol": 1e-6, **settings}
    s = solve(field, y0, torch.linspace(0, 2, 4, dtype=D), params=params, adjoint=adjoint, backend=backend, **settings)
    gradients = torch.autograd.grad(s.ys[1:].pow(2).sum(), params)
    return gradients, s.stats


ADJOINTS = {
    "backsolve": BacksolveAdjoint(verbose=False),
    "interpolating": InterpolatingAdjoint(verbose=False),
    "gauss": GaussAdjoint(verbose=False),
    "gauss, y solved backwards": GaussAdjoint(interpolate=False, verbose=False),
    "discrete": DiscreteAdjoint(verbose=False),
    "discrete, stages": DiscreteAdjoint(keep="stages", verbose=False),
}


def oscillating(width):
    """A field with few parameters, or with more than are looked at."""
    net = MLP(width=width).double()
    return lambda t, y: 2 * net(t, y) * torch.sin(9 * t + 1), list(net.parameters())


def same(ours, theirs, wanted, found):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
    assert found.backward.naccept == wanted.backward.naccept and found.backward.nreject == wanted.backward.nreject
    if wanted.backward.param_error is None:
        assert found.backward.param_error is None
    else:
        assert found.backward.param_error == pytest.approx(wanted.backward.param_error, rel=1e-4)
    cancellation = wanted.backward.cancellation
    assert found.backward.cancellation == (cancellation and pytest.approx(cancellation, rel=1e-4))
    assert found.forward.state_error == pytest.approx(wanted.forward.state_error, rel=1e-4)
    if wanted.backward.state_error is not None:
        assert found.backward.state_error == pytest.approx(wanted.backward.state_error, rel=1e-4)


@pytest.mark.parametrize("compile", [None, "julia"])
@pytest.mark.parametrize("width", [8, 140])
@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("method", ["tsit5", "bosh3"])
def test_both_engines_say_the_same(method, adjoint, width, compile):
    field, params = oscillating(width)
    y0, settings = batch(3), {"method": method}
    theirs, wanted = backward(field, params, "torch", ADJOINTS[adjoint], y0=y0, **settings)
    ours, found = backward(field, params, "julia", ADJOINTS[adjoint], y0=y0, compile=compile, **settings)
    same(ours, theirs, wanted, found)
    # Of bosh3 the last stage, which weighs nothing in a step and is in no sweep, has a weight in the error.
    assert (found.backward.param_error is None) == (method == "bosh3" and adjoint.startswith("discrete"))


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "vern7"])
def test_a_julia_function_has_the_same_errors(method, adjoint):
    field = Forced()
    julia = JuliaFunction(FORCED, vjp=FORCED_VJP, params={"a": field.a, "b": field.b})
    y0, settings = torch.linspace(1, 2, 3, dtype=D), {"method": method, "rtol": 1e-3}
    theirs, wanted = backward(field, [field.a, field.b], "torch", ADJOINTS[adjoint], y0=y0, **settings)
    ours, found = backward(julia, [field.a, field.b], "julia", ADJOINTS[adjoint], y0=y0, **settings)
    same(ours, theirs, wanted, found)


@pytest.mark.parametrize("adjoint", ["backsolve", "discrete"])
def test_fixed_steps_have_no_estimate(adjoint):
    field, params = oscillating(8)
    for compile in (None, "julia"):
        settings = {"method": "rk4", "dt": 0.1, "compile": compile}
        _, stats = backward(field, params, "julia", ADJOINTS[adjoint], y0=batch(3), **settings)
        assert stats.backward.param_error is None and stats.forward.state_error is None


@pytest.mark.parametrize("compile", [None, "julia"])
@pytest.mark.parametrize("width", [8, 140])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
def test_control_takes_the_same_steps(adjoint, width, compile):
    field, params = oscillating(width)
    settings = {"y0": batch(3), "method": "tsit5", "rtol": 1e-3}
    controlled = adjoint(param_rtol=1e-4, verbose=False)  # of 22 parts of it one is left: both solves are made again
    theirs, wanted = backward(field, params, "torch", controlled, **settings)
    ours, found = backward(field, params, "julia", controlled, compile=compile, **settings)
    same(ours, theirs, wanted, found)
    _, free = backward(field, params, "torch", adjoint(verbose=False), **settings)
    assert found.backward.naccept > free.backward.naccept
    assert found.backward.nf > free.backward.nf == 0


@pytest.mark.parametrize("compile", [None, "julia"])
@pytest.mark.parametrize("width", [8, 140])
@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("method", ["tsit5", "bosh3"])
def test_a_quadrature_is_refined_in_the_same_parts(method, interpolate, width, compile):
    field, params = oscillating(width)
    settings = {"y0": batch(3), "method": method, "rtol": 1e-3}
    adjoint = GaussAdjoint(param_rtol=1e-6, interpolate=interpolate, verbose=False)
    theirs, wanted = backward(field, params, "torch", adjoint, **settings)
    ours, found = backward(field, params, "julia", adjoint, compile=compile, **settings)
    same(ours, theirs, wanted, found)
    assert found.backward.nvjp_param == wanted.backward.nvjp_param
    free, stats = backward(field, params, "torch", GaussAdjoint(interpolate=interpolate), **settings)
    assert found.backward.nvjp_param > 2 * stats.backward.nvjp_param
    assert any(not torch.allclose(a, b, rtol=1e-5, atol=1e-8) for a, b in zip(ours, free, strict=True))


@pytest.mark.parametrize("interpolate", [True, False])
def test_a_quadrature_of_a_julia_function_is_refined_in_the_same_parts(interpolate):
    field = Forced()
    julia = JuliaFunction(FORCED, vjp=FORCED_VJP, params={"a": field.a, "b": field.b})
    params, settings = [field.a, field.b], {"y0": torch.linspace(1, 2, 3, dtype=D), "method": "tsit5", "rtol": 1e-3}
    evaluations = []
    for rtol in (None, 1e-6):
        adjoint = GaussAdjoint(param_rtol=rtol, interpolate=interpolate, verbose=False)
        theirs, wanted = backward(field, params, "torch", adjoint, **settings)
        ours, found = backward(julia, params, "julia", adjoint, **settings)
        same(ours, theirs, wanted, found)
        assert found.backward.nvjp_param == wanted.backward.nvjp_param
        evaluations.append(found.backward.nvjp_param)
    assert evaluations[1] > 1.5 * evaluations[0]


def test_a_quadrature_over_stiff_steps_is_refined():
    field = Forced()
    params, settings = [field.a, field.b], {"y0": torch.ones(3, dtype=D), "rtol": 1e-6, "atol": 1e-8}
    tight = {**settings, "method": "vern7", "rtol": 1e-11, "atol": 1e-12}
    truth = torch.cat(backward(field, params, "torch", InterpolatingAdjoint(norm="rms"), **tight)[0])
    errors = []
    for rtol in (None, 1e-6):
        adjoint = GaussAdjoint(param_rtol=rtol, method=Algorithm("Rosenbrock23"), verbose=False)
        found = torch.cat(backward(field, params, "julia", adjoint, **settings)[0])
        errors.append(float((found - truth).norm() / truth.norm()))
    assert errors[1] < 1e-5 < 1e-4 < errors[0]


def test_control_that_cannot_be_had_is_refused_before_any_step():
    field, params = oscillating(8)
    with pytest.raises(UnsupportedError, match="stages are not known here"):
        backward(field, params, "julia", BacksolveAdjoint(param_rtol=1e-2), y0=batch(3), method=Algorithm("Tsit5"))
