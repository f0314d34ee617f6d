"""The vector fields of the cases: states are rows (batch, columns), ``t`` is a scalar or one time for every row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

FREQUENCY = 20.0  # of the oscillating fields, f sin 20 t


class Field(nn.Module):
    """A field of states with so many ``columns``."""

    columns: int


def make_field(kind: str, size: int, width: int, *, oscillating: bool) -> Field:
    """Return a new field of a kind: "mlp", or one of `KINDS`."""
    return MLP(size, width, oscillating=oscillating) if kind == "mlp" else KINDS[kind](size, width)


def _layers(size: int, width: int) -> nn.Sequential:
    layers = [nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, size)]
    return nn.Sequential(*layers)


class MLP(Field):
    """A tanh MLP of layers size-width-width-size, times sin 20 t where ``oscillating``."""

    def __init__(self, size: int, width: int, *, oscillating: bool) -> None:
        super().__init__()
        self.net, self.oscillating, self.columns = _layers(size, width), oscillating, size

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt of shape (batch, size)."""
        out: Tensor = self.net(y)
        if not self.oscillating:
            return out
        phase = torch.sin(FREQUENCY * t)
        return out * (phase.unsqueeze(-1) if phase.dim() else phase)


class Convolution(Field):
    """The field of an ODE-Net: two 3 x 3 convolutions of ``size`` channels of images ``width`` wide, with the time as
    one more channel, as in torchdiffeq's example.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.shape, self.columns = (-1, size, width, width), size * width**2
        self.first, self.second = (nn.Conv2d(size + 1, size, 3, padding=1) for _ in range(2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt of shape (batch, size * width * width)."""
        images = y.view(self.shape)
        time = t.view(-1, 1, 1, 1) * torch.ones_like(images[:, :1])
        hidden = torch.tanh(self.first(torch.cat([images, time], dim=1)))
        out: Tensor = self.second(torch.cat([hidden, time], dim=1))
        return out.reshape(y.shape)


class Attention(Field):
    """Self-attention of ``width`` tokens of ``size`` features, towards what they see."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.shape, self.columns = (-1, width, size), width * size
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt of shape (batch, width * size)."""
        tokens = y.view(self.shape)
        seen = nn.functional.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))
        return (torch.tanh(seen) - tokens).reshape(y.shape)


class Flow(Field):
    """The field of a continuous normalising flow: (f(y), -tr df/dy), the trace by tangents through a tanh MLP."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.net, self.columns = size, _layers(size, width), size + 1

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt of shape (batch, size + 1)."""
        x = y[:, : self.size]
        unit = torch.eye(self.size, dtype=y.dtype, device=y.device)
        tangents = unit.unsqueeze(1).expand(-1, len(x), -1)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                x, tangents = layer(x), tangents @ layer.weight.T
            else:
                x = torch.tanh(x)
                tangents = tangents * (1 - x.square())
        trace = (tangents * unit.unsqueeze(1)).sum(dim=(0, 2))
        return torch.cat([x, -trace.unsqueeze(1)], dim=1)


KINDS: dict[str, Callable[[int, int], Field]] = {"convolution": Convolution, "attention": Attention, "flow": Flow}
