"""Gradients against finite differences and against tight references, on every engine with every adjoint."""

import pytest
import torch
from problems import MLP, ContinuousFlow, Hamiltonian, Linear, LotkaVolterra, batch, cotangents, relative
from thresholds import DEFAULT_GRADIENTS, DEFAULT_VALUES, GRADCHECK, INNER_AUTOGRAD, TIGHT

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint
from pyseminorm.methods.tableaus import FIXED_STEP_METHODS, TABLEAUS

ADJOINTS = [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint]
TIMES = {"increasing": [0.2, 0.5, 0.9, 1.1], "decreasing": [1.1, 0.7, 0.6, 0.1]}


class Forced(torch.nn.Module):
    """Time-dependent, with parameters and an argument, nonlinear in all of them."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([[0.4, -1.2], [0.9, 0.3]], dtype=torch.float64))

    def forward(self, t, y, u):
        return torch.tanh(y @ self.w.T + u["drive"] * torch.cos(2 * t)) - 0.3 * y


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_gradcheck_of_y0_params_args_and_t(engine, adjoint, order):
    field = Forced()
    y0 = batch(3).requires_grad_()
    drive = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)
    t = torch.tensor(TIMES[order], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 3, 2, dtype=torch.float64)  # random cotangents on all outputs

    def loss(y0, drive, t, w):
        # The module's own parameter is perturbed in place of w, so that params= is not needed.
        functional = lambda t, y, u: torch.tanh(y @ w.T + u["drive"] * torch.cos(2 * t)) - 0.3 * y  # noqa: E731
        solution = pyseminorm.solve(
            functional, y0, t, args=({"drive": drive},), params=[w], adjoint=adjoint(), backend=engine, **TIGHT
        )
        return (solution.ys * weights).sum()

    assert torch.autograd.gradcheck(loss, (y0, drive, t, field.w), fast_mode=False, **GRADCHECK)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "vern7", "dopri8"])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_gradcheck_with_every_adaptive_method(engine, adjoint, method):
    w = torch.tensor([[0.4, -1.2], [0.9, 0.3]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 0.4, 0.5], dtype=torch.float64)
    weights = torch.randn(3, 2, 2, dtype=torch.float64)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if method == "bosh3" else TIGHT

    def loss(y0, w):
        solution = pyseminorm.solve(
            lambda t, y: torch.tanh(y @ w.T) * torch.cos(t),
            y0,
            t,
            params=[w],
            method=method,
            adjoint=adjoint(),
            backend=engine,
            **tolerance,
        )
        return (solution.ys * weights).sum()

    assert torch.autograd.gradcheck(loss, (batch(2).requires_grad_(), w), **GRADCHECK)


@pytest.mark.parametrize("method", FIXED_STEP_METHODS)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_fixed_steps_converge_to_the_exact_gradient(engine, adjoint, method):
    field, y0 = Linear(), batch(3).requires_grad_()
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    field.exact(y0, 1.0).pow(2).sum().backward()
    exact, exact_y0 = field.matrix.grad.clone(), y0.grad.clone()
    errors = []
    for dt in (0.02, 0.01):
        field.matrix.grad = y0.grad = None
        ys = pyseminorm.solve(field, y0, t, method=method, dt=dt, adjoint=adjoint(), backend=engine).ys
        ys[-1].pow(2).sum().backward()
        errors.append(relative(field.matrix.grad, exact) + relative(y0.grad, exact_y0))
    order = TABLEAUS[method].order
    # InterpolatingAdjoint reads y from cubic Hermite output, exact enough for order 4 here.
    assert errors[1] < errors[0] / 2 ** (order - 0.5)
    assert errors[1] < {1: 5e-2, 2: 1e-3, 3: 1e-5, 4: 1e-7}[order]


@pytest.mark.parametrize("dt", [0.05, [0.05 * i for i in range(21)]], ids=["step", "grid"])
@pytest.mark.parametrize("adjoint", ADJOINTS[:3])
def test_fixed_steps_of_another_method_backwards_are_as_long(engine, adjoint, dt):
    field, t = Linear(), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    found = []
    for backward in (None, "midpoint"):
        y0 = batch(3).requires_grad_()
        s = pyseminorm.solve(field, y0, t, method="rk4", dt=dt, adjoint=adjoint(method=backward), backend=engine)
        s.ys[-1].pow(2).sum().backward()
        found.append(y0.grad)
        assert s.stats.backward.naccept == s.stats.forward.naccept == 20
    assert 0.0 < relative(*found) < 1e-2


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_default_tolerances_agree_with_a_tight_reference(engine, adjoint):
    t = torch.linspace(0, 2, 5, dtype=torch.float64)
    results = []
    for tolerances in ({}, TIGHT):
        field, y0 = MLP(), batch(8).requires_grad_()
        ys = pyseminorm.solve(field, y0, t, adjoint=adjoint(), backend=engine, **tolerances).ys
        (ys * cotangents(5, 8, 2)).sum().backward()
        results.append((ys.detach(), y0.grad, torch.cat([p.grad.reshape(-1) for p in field.parameters()])))
    (ys, g0, gp), (ys_ref, g0_ref, gp_ref) = results
    assert relative(ys, ys_ref) < DEFAULT_VALUES
    assert relative(g0, g0_ref) < DEFAULT_GRADIENTS
    assert relative(gp, gp_ref) < DEFAULT_GRADIENTS


@pytest.mark.parametrize("enable", [True, False], ids=["enable_grad inside", "bare autograd.grad"])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_hamiltonian_net_differentiates_inside_itself(engine, adjoint, enable):
    field = Hamiltonian(enable)
    t = torch.tensor([0.0, 0.6, 1.0], dtype=torch.float64)
    weights = torch.randn(3, 2, 2, dtype=torch.float64)

    def loss(y0, *params):
        ys = pyseminorm.solve(field, y0, t, adjoint=adjoint(), backend=engine, **TIGHT).ys
        return (ys * weights).sum()

    y0 = batch(2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (y0, *field.parameters()), **INNER_AUTOGRAD)
    ys = pyseminorm.solve(field, y0, t, backend=engine, **TIGHT).ys
    energy = [field.net(y).sum().item() for y in ys]
    assert abs(energy[-1] - energy[0]) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_continuous_normalising_flow(engine, adjoint):
    field = ContinuousFlow()
    t = torch.tensor([0.0, 0.8], dtype=torch.float64)
    weights = torch.randn(2, dtype=torch.float64)

    def loss(z0, *params):
        z, logp = pyseminorm.solve(
            field, (z0, torch.zeros(2, dtype=torch.float64)), t, adjoint=adjoint(), backend=engine, **TIGHT
        ).ys
        return (z[-1] ** 2).sum() + (logp[-1] * weights).sum()

    z0 = batch(2).requires_grad_()
    assert torch.autograd.gradcheck(loss, (z0, *field.parameters()), **INNER_AUTOGRAD)
    # The divergence integral is the log-determinant of the flow's Jacobian.
    with torch.no_grad():
        _, logp = pyseminorm.solve(
            field, (z0.detach(), torch.zeros(2, dtype=torch.float64)), t, backend=engine, **TIGHT
        ).ys
    jacobian = torch.autograd.functional.jacobian(
        lambda z: pyseminorm.solve(field, (z[None], z.new_zeros(1)), t, backend=engine, adjoint=adjoint(), **TIGHT).ys[
            0
        ][-1][0],
        z0[0].detach(),
    )
    assert abs(torch.linalg.slogdet(jacobian).logabsdet.item() + logp[-1][0].item()) < 1e-8


def test_times_of_a_flow_that_differentiates_itself(engine):
    """dL/dt calls func on saved outputs, by which func differentiates."""
    field, z0 = ContinuousFlow(), batch(2)
    t = torch.tensor([0.0, 0.4, 0.8], dtype=torch.float64, requires_grad=True)

    def loss(t):
        z, logp = pyseminorm.solve(field, (z0, z0.new_zeros(2)), t, backend=engine, **TIGHT).ys
        return (z**2).sum() + logp.sum()

    assert torch.autograd.gradcheck(loss, t, **INNER_AUTOGRAD)


def test_nested_states_and_args(engine):
    """Trees in, trees out, gradients to every leaf."""
    y0 = {"a": batch(2).requires_grad_(), "b": (torch.tensor(0.5, dtype=torch.float64, requires_grad=True),)}
    rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def func(t, y, factors):
        return {"a": -factors["rate"] * y["a"], "b": (y["b"][0] * 0 + y["a"].sum(),)}

    ys = pyseminorm.solve(func, y0, t, args=({"rate": rate, "name": "unused"},), backend=engine, **TIGHT).ys
    assert ys["a"].shape == (2, 2, 2) and ys["b"][0].shape == (2,)
    (ys["a"][-1].sum() + ys["b"][0][-1]).backward()
    decay = torch.exp(-rate.detach())
    integral = (1 - decay) / rate.detach()
    assert torch.allclose(y0["a"].grad, (decay + integral).expand(2, 2), rtol=1e-9)
    assert torch.allclose(y0["b"][0].grad, torch.ones((), dtype=torch.float64), rtol=1e-9)
    by_rate = -decay + (decay * rate.detach() + decay - 1) / rate.detach() ** 2  # of decay + integral
    assert torch.allclose(rate.grad, by_rate * batch(2).sum(), rtol=1e-9)


def test_complex_state_on_the_embedded_engine():
    """z' = w z: a complex state with the right (conjugate) gradients."""
    w = torch.tensor(-0.2 + 1.5j, dtype=torch.complex128, requires_grad=True)
    z0 = torch.tensor([1.0 + 0.5j, -0.3j], dtype=torch.complex128, requires_grad=True)
    t = torch.tensor([0.0, 1.3], dtype=torch.float64)
    z = pyseminorm.solve(lambda t, z: w * z, z0, t, params=[w], backend="auto", **TIGHT)
    assert z.backend == "torch"
    loss = (z.ys[-1].real ** 2 + 0.5 * z.ys[-1].imag).sum()
    gw, gz = torch.autograd.grad(loss, [w, z0])
    exact = z0 * torch.exp(w * 1.3)
    ew, ez = torch.autograd.grad((exact.real**2 + 0.5 * exact.imag).sum(), [w, z0])
    assert torch.allclose(gw, ew, rtol=1e-8) and torch.allclose(gz, ez, rtol=1e-8)


def test_half_precision_states_run_on_the_embedded_engine():
    y0 = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    solution = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 0.5], rtol=1e-2, atol=1e-2)
    solution.ys[-1].sum().backward()
    assert solution.ys.dtype == y0.grad.dtype == torch.bfloat16
    assert (y0.grad.float() - 0.6065).abs().max() < 0.02


def test_unused_parameters_get_zero_gradient(engine):
    field = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "unused": torch.nn.Linear(2, 2)}).double()
    params = list(field.parameters())
    ys = pyseminorm.solve(lambda t, y: field["used"](y), batch(2), [0.0, 1.0], params=params, backend=engine).ys
    ys[-1].sum().backward()
    assert field["used"].weight.grad.abs().sum() > 0
    assert torch.equal(field["unused"].weight.grad, torch.zeros(2, 2, dtype=torch.float64))


def test_all_norms_converge_to_the_same_gradient(engine):
    reference = None
    norms = [
        "seminorm",
        "seminorm_joint",
        "rms",
        "torchdiffeq",
        "torchdiffeq_seminorm",
        lambda s: s.adjoint.abs().max(),
    ]
    for norm in norms:
        for adjoint in (BacksolveAdjoint, InterpolatingAdjoint):
            field, y0 = LotkaVolterra(), torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
            ys = pyseminorm.solve(
                field,
                y0,
                torch.linspace(0, 2, 4, dtype=torch.float64),
                adjoint=adjoint(norm=norm),
                backend=engine,
                rtol=1e-9,
                atol=1e-9,
            ).ys
            (ys * cotangents(4, 2)).sum().backward()
            found = torch.cat([y0.grad, field.rates.grad])
            reference = found if reference is None else reference
            assert relative(found, reference) < 1e-6, (norm, adjoint)
