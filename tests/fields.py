"""Vector fields of many kinds, for captures and their Julia code: name -> () -> (func, y0, args)."""

import torch
from problems import MLP, ContinuousFlow, Hamiltonian, LotkaVolterra, Oscillating, Pendulum
from torch import nn
from torch.nn import functional

D = torch.float64


def _net(*layers):
    torch.manual_seed(3)
    return nn.Sequential(*layers).to(D)


class OfTime(nn.Module):
    """A network of the state and an embedding of time."""

    def __init__(self):
        super().__init__()
        self.net = _net(nn.Linear(7, 8), nn.SiLU(), nn.Linear(8, 3))
        self.register_buffer("frequencies", torch.tensor([1.0, 2.5], dtype=D))

    def forward(self, t, y):
        phase = self.frequencies * t
        embedding = torch.cat([torch.sin(phase), torch.cos(phase)]).expand(y.shape[0], 4)
        return self.net(torch.cat([y, embedding], dim=1))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = _net(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8), nn.ELU(), nn.Linear(8, 3))

    def forward(self, t, y):
        return self.net(y) * torch.cos(t)


class Gated(nn.Module):
    """A GRU's gates, as in GRU-ODE."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.cell = nn.GRUCell(2, 3).to(D)
        self.x = torch.tensor([[0.3, -0.7]], dtype=D)

    def forward(self, t, y):
        return self.cell(self.x.expand(y.shape[0], 2), y) - y


class Attention(nn.Module):
    """Softmax, batched products, einsum, over a set of points."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.query, self.key = (nn.Parameter(torch.randn(3, 4, dtype=D)) for _ in range(2))

    def forward(self, t, y):  # (sets, points, 3)
        scores = torch.einsum("bid,bjd->bij", y @ self.query, y @ self.key)
        return torch.softmax(scores, dim=-1) @ y - y


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.form = nn.Bilinear(3, 3, 3).to(D)

    def forward(self, t, y):
        return torch.tanh(self.form(y, y))


def written_in_place(t, y, rates):
    dy = torch.zeros_like(y)
    dy[:, 0] = rates[0] * y[:, 1]
    dy[:, 1:] = -rates[1] * y[:, :2] ** 2
    return dy


def physics(t, y):
    a, b, c = y.unbind(-1)
    return torch.stack([10 * (b - a), a * (2 - c) - b.abs(), a * b - 8 / 3 * c.clamp(-0.5, 0.5)], dim=-1)


def elementary(t, y):
    x = y / (1 + y.pow(2).sum(dim=1, keepdim=True)).sqrt()
    return (
        functional.softplus(x) - torch.sigmoid(x) + torch.log1p(x * x) * torch.exp(-x)
        + torch.where(x > 0.1, x.relu(), functional.leaky_relu(x)) - torch.maximum(x, x.mean(dim=0)) ** 3
        + torch.amax(x, dim=1, keepdim=True) * torch.atan(x) + t * torch.erf(x) - x.permute(1, 0).reshape(3, -1).t()
    )  # fmt: skip


def nested(t, y):
    position, velocity = y["q"], y["v"]
    return {"q": velocity, "v": -torch.sin(position) - 0.1 * velocity * position.norm()}


def _batch(*shape):
    n = torch.Size(shape).numel()
    return torch.sin(torch.arange(1, n + 1, dtype=D) * 1.7).reshape(shape)


FIELDS = {
    "mlp": lambda: (MLP(width=8), _batch(4, 2), ()),
    "mlp batch 1": lambda: (MLP(width=16), _batch(1, 2), ()),
    "mlp vector": lambda: (MLP(width=8), _batch(2), ()),
    "oscillating": lambda: (Oscillating(width=8), _batch(4, 2), ()),
    "lotka": lambda: (LotkaVolterra(), _batch(4, 2) + 2, ()),
    "pendulum": lambda: (Pendulum(), _batch(4, 2), ()),
    "hamiltonian": lambda: (Hamiltonian(enable=False), _batch(4, 2), ()),
    "flow": lambda: (ContinuousFlow(), (_batch(4, 2), _batch(4)), ()),
    "time": lambda: (OfTime(), _batch(4, 3), ()),
    "normed": lambda: (Normed(), _batch(4, 3), ()),
    "gated": lambda: (Gated(), _batch(4, 3), ()),
    "attention": lambda: (Attention(), _batch(2, 5, 3), ()),
    "bilinear": lambda: (Bilinear(), _batch(4, 3), ()),
    "in place": lambda: (written_in_place, _batch(4, 3), (torch.tensor([0.7, 0.4], dtype=D, requires_grad=True),)),
    "physics": lambda: (physics, _batch(4, 3), ()),
    "elementary": lambda: (elementary, _batch(4, 3), ()),
    "nested": lambda: (nested, {"q": _batch(4, 2), "v": _batch(4, 2) / 2}, ()),
}
