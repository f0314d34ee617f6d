"""Fields with a forcing that steps go through, their gradients, and how far these are off."""

import warnings

import torch

from pyseminorm import GradientErrorWarning, InterpolatingAdjoint, solve

D = torch.float64
T = torch.tensor([0.0, 2.0], dtype=D)


class Forced(torch.nn.Module):
    """A net with p sin(omega t), p = 0, or, not ``silent``, times sin(omega t)."""

    def __init__(self, omega, seed, silent=True):
        super().__init__()
        torch.manual_seed(seed)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).double()
        self.omega, self.p = omega, torch.nn.Parameter(torch.zeros(2, dtype=D)) if silent else None
        self.y0 = torch.randn(1 + 3 * seed, 2, dtype=D)

    def forward(self, t, y):
        forcing = torch.sin(self.omega * t)
        return self.net(y) * forcing if self.p is None else self.net(y) + self.p * forcing


def gradient(field, adjoint, rtol, engine="torch", **settings):
    """The gradient, the statistics of the backward pass, and whether it warned."""
    s = solve(field, field.y0, T, rtol=rtol, atol=1e-3 * rtol, adjoint=adjoint, backend=engine, **settings)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        parts = torch.autograd.grad(s.ys.pow(2).mean(), list(field.parameters()))
    warned = [x for x in said if x.category is GradientErrorWarning]
    return torch.cat([part.reshape(-1) for part in parts]), s.stats.backward, bool(warned)


def error_of(found, field):
    truth, _, _ = gradient(field, InterpolatingAdjoint(norm="rms"), 1e-10, method="vern7")
    return float((found - truth).norm() / truth.norm())
