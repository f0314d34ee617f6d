"""The field of the tests of whole steps, its solves, and the comparison with steps made stage by stage."""

import shutil

import pytest
import torch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint

NEEDS_A_COMPILER = [
    pytest.mark.capture,
    pytest.mark.skipif(
        shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
    ),
]

ADJOINTS = {
    "backsolve": BacksolveAdjoint(),
    "backsolve, mu controlled": BacksolveAdjoint(param_rtol=1e-6),
    "backsolve, rms": BacksolveAdjoint(norm="rms"),
    "backsolve, torchdiffeq": BacksolveAdjoint(norm="torchdiffeq"),
    "backsolve, a norm of one's own": BacksolveAdjoint(norm=lambda s: s.adjoint.abs().max()),
    "interpolating": InterpolatingAdjoint(),
    "gauss": GaussAdjoint(),
    "gauss, y solved": GaussAdjoint(interpolate=False),
    "discrete": DiscreteAdjoint(),
    "discrete, stages": DiscreteAdjoint(keep="stages"),
    "discrete, checkpoints": DiscreteAdjoint(keep="checkpoints"),
}


class Field(nn.Module):
    """A field that depends on time and on one of its two parameters."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.5], [-1.5, -0.1]], dtype=dtype))
        self.idle = nn.Parameter(torch.ones(3, dtype=dtype))

    def forward(self, t, y):
        return torch.tanh(y @ self.matrix) * (1.0 + t)


FIELD = Field()  # what was compiled for one test serves the others


def solve(field, compile, adjoint, *, dtype=torch.float64, t=(0.0, 0.35, 1.0, 1.4), y0=None, **settings):
    """The solution, and gradients by y0 and the matrix."""
    field.zero_grad()
    if y0 is None:
        y0 = torch.tensor([[1.0, 0.3], [-0.4, 0.8]], dtype=dtype)
    y0 = y0.clone().requires_grad_()
    settings = {"rtol": 1e-6, "atol": 1e-8, **settings}
    solution = pyseminorm.solve(field, y0, list(t), backend="torch", compile=compile, adjoint=adjoint, **settings)
    sum(x.pow(2).sum() for x in solution.ys).backward()
    return solution, [y0.grad, *(p.grad for p in field.parameters() if p.grad is not None)]


def check_equal(field, adjoint, **settings):
    """See to it that both ways take the same steps; their sizes follow errors, small differences of large numbers."""
    (mine, made), (other, expected) = (solve(field, c, adjoint, **settings) for c in ("inductor", "trace"))
    for a, b in ((mine.stats.forward, other.stats.forward), (mine.stats.backward, other.stats.backward)):
        assert (a.naccept, a.nreject) == (b.naccept, b.nreject)
        torch.testing.assert_close(a.times, b.times, rtol=1e-5, atol=1e-6)
        for found, wanted in ((a.param_error, b.param_error), (a.state_error, b.state_error)):
            assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-3))
    torch.testing.assert_close(mine.ys, other.ys, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(made, expected, rtol=1e-7, atol=1e-9)
    return mine
