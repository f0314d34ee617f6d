"""A field written in Julia and the same in torch, with their products and gradients."""

import pytest
import torch
from found_julia import HAS_SENSITIVITY
from problems import cotangents
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint

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
