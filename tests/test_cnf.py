"""Continuous normalising flows: divergences against Jacobians, densities against closed forms, every adjoint."""

import logging

import pytest
import torch
from problems import MLP
from torch import nn

from pyseminorm import (
    CNF,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    UnsupportedError,
    solve,
)

D = torch.float64
ADJOINTS = [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()]
DIVERGENCES = ("exact", "hutchinson")
TIGHT = {"method": "dopri5", "rtol": 1e-8, "atol": 1e-8}


class Linear(nn.Module):
    """dy = A y + b, whose flow and density are known."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.1], [-0.8, 0.4]], dtype=D))
        self.shift = nn.Parameter(torch.tensor([0.2, -0.1], dtype=D))

    def forward(self, t, y):
        return y @ self.matrix.T + self.shift

    def exact(self, y, t, noise=None):
        """y(t) and what logp has gained, with the trace or its estimate."""
        joint = torch.cat([torch.cat([self.matrix, self.shift.unsqueeze(1)], 1), torch.zeros(1, 3, dtype=D)])
        flow = torch.linalg.matrix_exp(joint * t)
        trace = self.matrix.trace() if noise is None else ((noise @ self.matrix) * noise).sum(-1)
        return y @ flow[:2, :2].T + flow[:2, 2], -trace * t * torch.ones(len(y), dtype=D)


def _loss(y, logp):
    return (y.sin().sum(-1) * logp.exp()).sum()


@pytest.mark.capture
@pytest.mark.parametrize("compile", [None, "auto"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda x: type(x).__name__)
def test_the_density_of_a_linear_flow_and_its_gradients(adjoint, divergence, compile, engine, caplog):
    field, y = Linear(), torch.randn(5, 2, dtype=D, requires_grad=True)
    cnf = CNF(field, divergence)
    noise = (cnf.draw(y),) if divergence == "hutchinson" else ()
    settings = {"adjoint": adjoint, "compile": compile, "backend": engine, **TIGHT}
    with caplog.at_level(logging.INFO, "pyseminorm"):
        s = solve(cnf, (y, torch.zeros(5, dtype=D)), [0.0, 0.7], args=noise, **settings)
    assert "stays eager" not in caplog.text and "not lowered" not in caplog.text
    ours, exact = [x[-1] for x in s.ys], field.exact(y, 0.7, *noise)
    sources = [y, field.matrix, field.shift]
    for a, b in zip(ours, exact, strict=True):
        assert torch.allclose(a, b, rtol=1e-7)
    gradients = (torch.autograd.grad(_loss(*x), sources) for x in (ours, exact))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_divergence_is_that_of_the_jacobian(divergence, noise):
    field, y, t = MLP(width=8, size=3), torch.randn(4, 3, dtype=D), torch.tensor(0.2, dtype=D)
    cnf = CNF(field, divergence, noise)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: field(t, row)))(y)
    e = torch.eye(3, dtype=D).expand(4, 3, 3)
    args = ()
    if divergence == "hutchinson":
        args = (cnf.draw(y),)
        e = args[0].unsqueeze(1)
        assert set(e.unique().tolist()) == {-1, 1} if noise == "rademacher" else len(e.unique()) == 12
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            dy, gained = cnf(t, (y, torch.zeros(4, dtype=D)), *args)
        assert dy.requires_grad == gained.requires_grad == recording
        assert torch.allclose(dy, field(t, y))
        assert torch.allclose(gained, -torch.einsum("bki,bij,bkj->b", e, jacobian, e))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_gradients_of_the_field_by_everything_it_reads(divergence):
    field, y, logp = MLP(width=4), torch.randn(3, 2, dtype=D, requires_grad=True), torch.zeros(3, 1, dtype=D)
    cnf, t = CNF(lambda t, y: t * field(t, y), divergence), torch.tensor(0.2, dtype=D, requires_grad=True)
    args = (cnf.draw(y),) if divergence == "hutchinson" else ()
    assert torch.autograd.gradcheck(lambda t, y, *_: cnf(t, (y, logp), *args), (t, y, *field.parameters()))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda x: type(x).__name__)
def test_gradients_of_a_solve_against_finite_differences(adjoint, divergence):
    field, y = MLP(width=4), torch.randn(3, 2, dtype=D)
    cnf = CNF(field, divergence)
    args = (cnf.draw(y),) if divergence == "hutchinson" else ()

    def loss():
        settings = {"adjoint": adjoint, "backend": "torch", "method": "tsit5", "rtol": 1e-9, "atol": 1e-9}
        return _loss(*(x[-1] for x in solve(cnf, (y, torch.zeros(3, dtype=D)), [0.5, 0.0], args=args, **settings).ys))

    parameters = list(field.parameters())
    slope = sum(g.sum() for g in torch.autograd.grad(loss(), parameters))
    with torch.no_grad():
        ends = []
        for move in (1e-4, -2e-4):
            for p in parameters:
                p += move
            ends.append(loss())
    assert slope.item() == pytest.approx((ends[0] - ends[1]).item() / 2e-4, rel=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_events_of_any_shape(divergence, shape):
    rates = torch.rand(1, 3, 3, dtype=D)
    cnf, y = CNF(lambda t, y: rates * y, divergence), torch.randn(2, 1, 3, 3, dtype=D)
    args = (cnf.draw(y),) if divergence == "hutchinson" else ()
    dy, gained = cnf(torch.zeros(()), (y, torch.zeros(shape, dtype=D)), *args)
    assert torch.allclose(dy, rates * y)
    assert torch.allclose(gained, -rates.sum().expand(shape))  # signs are squared


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_field_that_does_not_depend_on_the_state_keeps_densities(divergence):
    speed, y = torch.ones(3, 2, dtype=D, requires_grad=True), torch.randn(3, 2, dtype=D)
    for field in (lambda t, y: speed, lambda t, y: speed.detach(), lambda t, y: torch.sin(speed)):
        cnf = CNF(field, divergence)
        args = (cnf.draw(y),) if divergence == "hutchinson" else ()
        dy, gained = cnf(torch.zeros(()), (y, torch.zeros(3, dtype=D)), *args)
        assert torch.equal(dy, field(0, y)) and not gained.any()


def test_noise_that_was_changed_between_the_passes_is_refused():
    cnf, y = CNF(Linear(), "hutchinson"), torch.randn(3, 2, dtype=D)
    noise = cnf.draw(y)
    s = solve(cnf, (y, torch.zeros(3, dtype=D)), [0.0, 0.5], args=(noise,))
    noise.neg_()
    with pytest.raises(UnsupportedError, match="changed in place"):
        s.ys[1].sum().backward()


def test_what_does_not_fit_is_refused():
    y, logp, t = torch.randn(3, 2, dtype=D), torch.zeros(3, dtype=D), [0.0, 0.5]
    with pytest.raises(InvalidInputError, match="func is a int"):
        CNF(3)
    with pytest.raises(InvalidInputError, match="divergence='trace' is not known"):
        CNF(Linear(), "trace")
    with pytest.raises(InvalidInputError, match="noise='uniform' is not known"):
        CNF(Linear(), "hutchinson", "uniform")
    with pytest.raises(InvalidInputError, match=r"expected the tuple \(y, logp\)"):
        solve(CNF(Linear()), y, t)
    with pytest.raises(InvalidInputError, match=r"y has shape \(3, 2\) and logp \(4,\)"):
        solve(CNF(Linear()), (y, torch.zeros(4, dtype=D)), t)
    with pytest.raises(InvalidInputError, match=r"returned shape \(2,\)"):
        solve(CNF(lambda t, y: y[0]), (y, logp), t)
    cnf = CNF(Linear(), "hutchinson")
    with pytest.raises(InvalidInputError, match="got nothing for its noise"):
        solve(cnf, (y, logp), t)
    with pytest.raises(InvalidInputError, match=r"got shape \(2, 2\) for its noise"):
        solve(cnf, (y, logp), t, args=(cnf.draw(y[:2]),))
