"""The problems: tanh MLP fields, from hundreds to ten million parameters, from 2 to 100,000 states; and other kinds."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .fields import Field, make_field

END = 3.0  # all outputs lie on [0, END]
CHANGE = 1e-4  # largest relative change of a parameter from repeat to repeat: an optimiser's small step
SEED = 0


@dataclass(frozen=True)
class Case:
    """A field on a batch of states, with ``outputs`` times on [0, 3].

    Attributes:
        name: what ``--case`` takes.
        size, width: of the field, by its kind; those of tanh MLPs are size-width-width-size.
        bar: number of the column of the bars' table, or None.
        curve: whether work-precision curves are drawn: peers run at more tolerances than the compared one.
        kind: "mlp", or one of `fields.KINDS`.
    """

    name: str
    size: int
    width: int
    batch: int
    outputs: int
    dtype: str = "float32"
    oscillating: bool = False
    bar: int | None = None
    curve: bool = False
    kind: str = "mlp"

    @property
    def field(self) -> Field:
        """A new field of this case, called as ``field(t, y)``."""
        return make_field(self.kind, self.size, self.width, oscillating=self.oscillating)

    @property
    def parameters(self) -> int:
        """Number of parameters of the field."""
        with torch.device("meta"):
            return sum(p.numel() for p in self.field.parameters())

    @property
    def columns(self) -> int:
        """Number of elements of one state."""
        with torch.device("meta"):
            return self.field.columns

    @property
    def state(self) -> int:
        """Number of elements of y."""
        return self.columns * self.batch

    @property
    def title(self) -> str:
        """Layers, batch, outputs, and what is not usual."""
        layers = {
            "convolution": f"ODE-Net, {self.size} channels of {self.width} × {self.width}",
            "attention": f"attention, {self.width} tokens of {self.size}",
            "flow": f"normalising flow, {self.size}-{self.width}-{self.width}-{self.size}",
        }.get(self.kind, f"{self.size}-{self.width}-{self.width}-{self.size}")
        kind = (", f·sin 20t" if self.oscillating else "") + (f", {self.dtype}" if self.dtype != "float32" else "")
        return f"{layers}, batch {self.batch:,}, {self.outputs:,} outputs{kind}"


CASES = (
    Case("case1", 2, 16, 1, 10, bar=1, curve=True),
    Case("case2", 4, 64, 128, 10, bar=2, curve=True),
    Case("case3", 32, 128, 256, 10, bar=3, curve=True),
    Case("case4", 64, 512, 256, 2, bar=4, curve=True),
    Case("outputs-2", 2, 16, 1, 2),
    Case("outputs-1000", 2, 16, 1, 1000),
    Case("outputs-1000-batch", 4, 64, 128, 1000),
    Case("oscillating", 4, 64, 128, 10, oscillating=True, curve=True),
    Case("oscillating-small", 2, 16, 1, 10, oscillating=True),
    Case("float64", 4, 64, 128, 10, dtype="float64", curve=True),
    Case("float64-oscillating", 4, 64, 128, 10, dtype="float64", oscillating=True, curve=True),
    Case("state-1e5", 32, 128, 3125, 10),
    Case("parameters-1e6", 32, 968, 64, 5),
    Case("parameters-1e7", 32, 3130, 16, 2),
    Case("convolution", 8, 8, 16, 2, kind="convolution"),
    Case("attention", 16, 8, 16, 5, kind="attention"),
    Case("flow", 2, 64, 256, 2, kind="flow"),
)
# Of a size for a GPU; they run where they are asked for by name.
GPU = (Case("flow-4096", 2, 64, 4096, 2, kind="flow"), Case("odenet", 64, 8, 128, 2, kind="convolution"))
QUICK = ("case1", "case2")


class Problem:
    """A case with its weights, initial state and times on a device: the same tensors for every contender.

    Attributes:
        field: a `Field`, called as ``field(t, y)``.
        params: its parameters.
        y0: (batch, columns).
        t: (outputs,).
    """

    def __init__(self, case: Case, device: str = "cpu") -> None:
        generator = torch.random.get_rng_state()
        torch.manual_seed(SEED)
        dtype: torch.dtype = getattr(torch, case.dtype)
        self.case = case
        self.field = case.field.to(device, dtype)
        self.y0 = torch.randn(case.batch, case.columns).to(device, dtype)
        self.t = torch.linspace(0, END, case.outputs, dtype=dtype).to(device)
        self.params = list(self.field.parameters())
        self._first = [p.detach().clone() for p in self.params]
        torch.random.set_rng_state(generator)

    @torch.no_grad()
    def change(self, step: int) -> None:
        """Change every parameter a little, in place, as step ``step`` of an optimiser would; 0 is the first value."""
        factor = 1 + CHANGE * math.sin(step)
        for p, first in zip(self.params, self._first, strict=True):
            torch.mul(first, factor, out=p)

    def doubled(self) -> Problem:
        """The same problem in float64, with copies of the unchanged parameters."""
        other = copy.copy(self)
        other.field = copy.deepcopy(self.field).double()
        other.y0, other.t = self.y0.double(), self.t.double()
        other.params = list(other.field.parameters())
        other._first = [first.double() for first in self._first]
        other.change(0)
        return other


def gradient(problem: Problem) -> Tensor:
    """dL/dtheta as it lies in the parameters' ``grad``, as one float64 vector."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in problem.params]
    return torch.cat([part.reshape(-1).double() for part in parts])


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted| in the Euclidean norm; infinite where that is not a number."""
    error = float((found - wanted).norm() / wanted.norm())
    return error if math.isfinite(error) else math.inf
