"""OrdinaryDiffEq's algorithms through the Julia engine: by name, with options, as objects, and stiff ones."""

import pytest
import torch
from problems import MLP, Hamiltonian, batch, cotangents, relative

import pyseminorm
from pyseminorm import Algorithm, BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, InvalidInputError

pytestmark = pytest.mark.julia
T = torch.linspace(0, 1, 4, dtype=torch.float64)

EXPLICIT = ["Vern9", "VCABM", "SSPRK43", "BS5"]
IMPLICIT = ["Rodas5P", "TRBDF2", "FBDF"]  # one of a family: each takes Julia a while to compile


def _loaded(method):
    """Skips where the Julia project has not the sub-package."""
    from pyseminorm.engines.julia.session import runtime

    julia = runtime.runtime()
    package = julia.module.package_to_load(method)
    if package and not julia.load(package):
        pytest.skip(f"the Julia project has no {package}")


class Stiff(torch.nn.Module):
    """y' = -k (y - cos t), Prothero and Robinson's problem with a decay rate to train: tends to cos t."""

    def __init__(self, rate=1000.0, dtype=torch.float64):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([rate, rate / 2], dtype=dtype))

    def forward(self, t, y):
        return -self.rate * (y - torch.cos(t))


class VanDerPol(torch.nn.Module):
    def __init__(self, mu=100.0):
        super().__init__()
        self.mu = torch.nn.Parameter(torch.tensor(mu, dtype=torch.float64))

    def forward(self, t, y):
        x, v = y[..., 0], y[..., 1]
        return torch.stack([v, self.mu * ((1 - x**2) * v) - x], dim=-1)


def _gradient(field, y0, t=T, **settings):
    y0 = y0.clone().requires_grad_()
    for p in field.parameters():
        p.grad = None
    settings.setdefault("adjoint", "auto")
    s = pyseminorm.solve(field, y0, t, backend="julia", **settings)
    (s.ys * cotangents(*s.ys.shape, dtype=y0.dtype)).sum().backward()
    return s.stats, torch.cat([y0.grad.reshape(-1), *(p.grad.reshape(-1) for p in field.parameters())])


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
@pytest.mark.parametrize("method", EXPLICIT)
def test_explicit_algorithms_by_name(method, adjoint):
    _loaded(method)
    _, reference = _gradient(MLP(), batch(2), method="vern7", rtol=1e-11, atol=1e-11)
    _, gradient = _gradient(MLP(), batch(2), method=method, adjoint=adjoint(), rtol=1e-7, atol=1e-8)
    assert relative(gradient, reference) < 1e-4


@pytest.mark.parametrize("method", IMPLICIT)
def test_implicit_algorithms_by_name(method):
    _loaded(method)
    _, reference = _gradient(VanDerPol(5.0), batch(1), method="vern7", rtol=1e-11, atol=1e-11)
    stats, gradient = _gradient(VanDerPol(5.0), batch(1), method=method, rtol=1e-7, atol=1e-8)
    assert relative(gradient, reference) < 1e-3
    assert stats.forward.njac > 0 and stats.backward.njac > 0


def test_a_stiff_problem_takes_few_steps():
    _loaded("Rodas5P")
    y0 = torch.zeros(3, 2, dtype=torch.float64)
    gauss = GaussAdjoint(verbose=False)  # transients of lambda that steps go over look like errors
    explicit, reference = _gradient(Stiff(), y0, method="tsit5", rtol=1e-9, atol=1e-9, adjoint=gauss)
    stiff, gradient = _gradient(Stiff(), y0, method="Rodas5P", rtol=1e-7, atol=1e-9)
    assert relative(gradient, reference) < 1e-4
    assert stiff.forward.naccept < explicit.forward.naccept / 5
    assert stiff.backward.naccept < explicit.backward.naccept / 2  # every jump of lambda starts a transient


@pytest.mark.parametrize("jacobian", ["reverse", "forward", "finite"])
def test_every_way_to_a_jacobian_takes_the_same_steps(jacobian):
    _loaded("Rodas5P")
    y0 = torch.zeros(1, 2, dtype=torch.float64)
    by_default, reference = _gradient(Stiff(50.0), y0, method="Rodas5P", rtol=1e-6, atol=1e-8)
    stats, gradient = _gradient(Stiff(50.0), y0, method="Rodas5P", rtol=1e-6, atol=1e-8, jacobian=jacobian)
    assert abs(stats.forward.naccept - by_default.forward.naccept) <= 1
    assert relative(gradient, reference) < 1e-5


def test_steps_do_not_grow_with_the_order_lost_to_a_missing_time_derivative():
    """Rosenbrock methods need df/dt, forward and in the adjoint: halving the tolerance 10^4 times costs 10^(4/5)."""
    _loaded("Rodas5P")
    y0 = torch.ones(1, 2, dtype=torch.float64)
    loose, _ = _gradient(Stiff(5.0), y0, method="Rodas5P", rtol=1e-5, atol=1e-5)
    tight, _ = _gradient(Stiff(5.0), y0, method="Rodas5P", rtol=1e-9, atol=1e-9)
    for a, b in ((loose.forward, tight.forward), (loose.backward, tight.backward)):
        assert b.naccept < 12 * a.naccept


def test_float32_nested_states_and_inner_autograd_with_an_implicit_method():
    _loaded("Rodas5P")
    y0 = torch.zeros(2, 2)
    with torch.no_grad():
        s = pyseminorm.solve(Stiff(dtype=torch.float32), y0, [0.0, 1.0], method="Rodas5P", backend="julia")
    assert s.ys.dtype == torch.float32 and torch.allclose(s.ys[-1], torch.cos(torch.tensor(1.0)), atol=2e-2)
    nested = pyseminorm.solve(
        lambda t, y: {"a": -50 * y["a"], "b": y["a"].sum() - y["b"]},
        {"a": torch.ones(2), "b": torch.zeros(1)},
        [0.0, 1.0],
        method="Rodas5P",
        backend="julia",
    )
    assert nested.ys["a"][-1].abs().max() < 1e-2
    field = Hamiltonian(enable=False)
    _, gradient = _gradient(field, batch(2), method="Rodas5P", rtol=1e-8, atol=1e-8)
    _, reference = _gradient(Hamiltonian(enable=False), batch(2), method="vern7", rtol=1e-10, atol=1e-10)
    assert relative(gradient, reference) < 1e-4


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(interpolate=False)])
def test_adjoints_whose_jacobian_is_not_that_of_lambda_are_refused_by_name(adjoint):
    _loaded("Rodas5P")
    with pytest.raises(InvalidInputError, match=r"cannot be solved by Rodas5P.*GaussAdjoint\(\)"):
        pyseminorm.solve(Stiff(), batch(1), T, method="Rodas5P", adjoint=adjoint, backend="julia")
    with torch.no_grad():  # nothing will be differentiated
        assert pyseminorm.solve(
            Stiff(), batch(1), T, method="Rodas5P", adjoint=adjoint, backend="julia"
        ).retcode.success


def test_an_explicit_backward_method_beside_an_implicit_forward_one():
    _loaded("Rodas5P")
    _, reference = _gradient(VanDerPol(5.0), batch(1), method="vern7", rtol=1e-10, atol=1e-10)
    settings = {"method": "Rodas5P", "rtol": 1e-7, "atol": 1e-8}
    _, gradient = _gradient(VanDerPol(5.0), batch(1), adjoint=InterpolatingAdjoint(method="tsit5"), **settings)
    assert relative(gradient, reference) < 1e-3
    stats, gradient = _gradient(
        VanDerPol(5.0), batch(1), method="tsit5", adjoint=GaussAdjoint(method="Rodas5P"), rtol=1e-7, atol=1e-8
    )
    assert relative(gradient, reference) < 1e-3 and stats.forward.njac == 0 < stats.backward.njac


def test_what_func_raises_inside_a_jacobian_arrives():
    _loaded("Rodas5P")

    def func(t, y):
        if torch.is_grad_enabled() and t > 0:
            raise ZeroDivisionError("in the graph")
        return -y

    with torch.no_grad(), pytest.raises(ZeroDivisionError, match="in the graph") as info:
        pyseminorm.solve(func, batch(1), T, method="Rodas5P", backend="julia")
    assert info.value.last_good_state.t > 0
    pyseminorm.solve(lambda t, y: -y, batch(1), T, method="Rodas5P", backend="julia")


def test_keyword_arguments_of_an_algorithm():
    named = pyseminorm.solve(MLP(), batch(2), T, method=Algorithm("Vern7", lazy=False), backend="julia", rtol=1e-8)
    assert torch.allclose(named.ys, pyseminorm.solve(MLP(), batch(2), T, method="vern7", backend="julia", rtol=1e-8).ys)
    assert named.stats.forward.nf > 0
    with pytest.raises(InvalidInputError, match="nonsense"):
        pyseminorm.solve(MLP(), batch(2), T, method=Algorithm("Vern9", nonsense=1), backend="julia")
    with pytest.raises(InvalidInputError, match="expected the name"):
        Algorithm("Vern 9")


def test_an_algorithm_object_made_in_julia():
    pyseminorm.solve(lambda t, y: -y, batch(1), T, backend="julia")  # starts Julia
    import juliacall

    tsit5 = juliacall.Main.seval("PySeminorm.Tsit5()")  # what diffeqpy's ode.Tsit5() is
    (ours, gradient), (theirs, same) = (
        _gradient(MLP(), batch(2), method=method, adjoint=BacksolveAdjoint()) for method in ("tsit5", tsit5)
    )
    assert ours.forward.times == theirs.forward.times and ours.backward.times == theirs.backward.times
    # mu is part of the state where the stages are not known: sums in another order.
    torch.testing.assert_close(gradient, same, rtol=1e-12, atol=1e-14)
    _, backward_only = _gradient(MLP(), batch(2), adjoint=BacksolveAdjoint(method=tsit5))
    torch.testing.assert_close(gradient, backward_only, rtol=1e-12, atol=1e-14)
    for wrong in ("1.0", "PySeminorm"):
        with pytest.raises(InvalidInputError, match="is not an OrdinaryDiffEq algorithm"):
            pyseminorm.solve(MLP(), batch(2), T, method=juliacall.Main.seval(wrong + " |> Ref"), backend="julia")
    with pytest.raises(InvalidInputError, match="not known to the embedded engine"):
        pyseminorm.solve(MLP(), batch(2), T, method=tsit5, backend="torch")


def test_a_controller_object_made_in_julia():
    pyseminorm.solve(lambda t, y: -y, batch(1), T, backend="julia")
    import juliacall

    pid = juliacall.Main.seval("PySeminorm.OrdinaryDiffEqCore.PIDController(0.7, -0.4)")
    plain, reference = _gradient(MLP(), batch(2), rtol=1e-8, atol=1e-8)
    stats, gradient = _gradient(MLP(), batch(2), rtol=1e-8, atol=1e-8, controller=pid)
    assert stats.forward.times != plain.forward.times and relative(gradient, reference) < 1e-5


def test_a_package_that_is_not_there_is_named_with_the_command():
    with pytest.raises(InvalidInputError, match=r'OrdinaryDiffEqQPRK, which .* lacks.*Pkg.add\("OrdinaryDiffEqQPRK"\)'):
        pyseminorm.solve(MLP(), batch(2), T, method="QPRK98", backend="julia")
    with pytest.raises(InvalidInputError, match='has an algorithm "NoSuchThing"'):
        pyseminorm.solve(MLP(), batch(2), T, method="NoSuchThing", backend="julia")
