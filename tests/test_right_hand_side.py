"""The backward right-hand side that both engines call, against plain products."""

import itertools

import pytest
import torch
from captures import capture
from problems import ContinuousFlow, Oscillating, batch, cotangents

import pyseminorm
from pyseminorm import BacksolveAdjoint
from pyseminorm.graphs.traced_field import TracedVectorField
from pyseminorm.norms import AdjointLayout
from pyseminorm.passes.right_hand_side import AdjointRightHandSide
from pyseminorm.problem.state import StateSpec
from pyseminorm.problem.vector_field import EagerVectorField

D = torch.float64


class Partial(Oscillating):
    """Has a parameter that nothing depends on."""

    def __init__(self):
        super().__init__(width=8)
        self.unused = torch.nn.Parameter(torch.ones(3, dtype=D))


STATES = {
    "plain": (Partial, lambda: batch(3)),
    "nested": (ContinuousFlow, lambda: (batch(3), torch.zeros(3, dtype=D))),
    "complex": (lambda: lambda t, y: y * (0.3j + t), lambda: torch.complex(batch(3), batch(3) + 1)),
    "constant": (lambda: lambda t, y: torch.ones_like(y), lambda: batch(3)),
}


EAGER = [(state, "eager") for state in STATES]
TRACED = [pytest.param(state, "traced", marks=pytest.mark.capture) for state in STATES if state != "complex"]


@pytest.mark.parametrize("state, kind", [*EAGER, *TRACED])
def test_every_part_is_that_of_a_plain_product(state, kind):
    make, start = STATES[state]
    y0 = start()
    spec = StateSpec(y0)
    field, y = EagerVectorField(make(), (), spec, None), spec.flatten(y0).detach()
    if kind == "traced":
        _, field, _ = capture(field.func, y0)
        assert isinstance(field, TracedVectorField)
    adjoint = cotangents(spec.size)
    f, by_state, by_params, by_time = field.vjp(0.7, y, -adjoint, time=True)
    for has_y, has_time, carried in itertools.product([True, False], repeat=3):
        params = field.sizes if carried else ()
        layout = AdjointLayout(spec.sizes, params, has_y, has_time)
        right_hand_side = AdjointRightHandSide(field, layout, carried=carried)
        out = torch.full((layout.size,), torch.nan, dtype=D)
        z = torch.cat([adjoint, y, torch.zeros(100, dtype=D)])[: 2 * spec.size if has_y else spec.size]
        for again in range(2):  # the second time, views are known
            parts = right_hand_side.read(z)
            with torch.no_grad():
                apart = right_hand_side.write(0.7, parts[0], y.clone().view(spec.shape), out, params=True)
            assert torch.equal(parts[-1].reshape(-1), y if has_y else adjoint), again
            assert torch.equal(out[layout.adjoint_slice], by_state)
            assert torch.equal(out[layout.y_slice], f if has_y else f[:0])
            assert not has_time or out[layout.time_slice].item() == (0.0 if by_time is None else by_time.item())
            found = layout.split_params(out, field.shapes) if carried else apart
            pairs = zip(found, by_params, strict=True)
            assert all((a is None or not a.any()) if b is None else torch.equal(a, b) for a, b in pairs)
            out.fill_(torch.nan)


class Watched(torch.autograd.Function):
    """A parameter, and how often its gradient is made."""

    made = 0

    @staticmethod
    def forward(ctx, w):
        return w.clone()

    @staticmethod
    def backward(ctx, grad):
        Watched.made += 1
        return grad


def test_products_by_the_parameters_are_left_out_where_they_weigh_nothing():
    w = torch.tensor(-1.3, dtype=D, requires_grad=True)
    t = torch.linspace(0, 1, 5, dtype=D)
    s = pyseminorm.solve(
        lambda t, y: Watched.apply(w) * y, batch(3), t, params=[w], method="dopri5", backend="torch",
        adjoint=BacksolveAdjoint(rtol=1e-3),
    )  # fmt: skip
    Watched.made = 0
    s.ys.pow(2).sum().backward()
    backward = s.stats.backward
    steps, outputs = backward.naccept, 3  # those that a step goes on from
    assert backward.nreject == 0 and steps > outputs + 1
    assert backward.nvjp == 2 + 6 * steps + outputs  # two before the first step; outputs renew the first stage
    # The third to the sixth stage (b_2 = b_7 = 0), and the seventh where the next step begins with it.
    assert Watched.made == 2 + 4 * steps + outputs + (steps - outputs - 1)
