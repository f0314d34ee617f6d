"""What of func depends on the time alone, such as an interpolated input, is made for all stages of a step at once."""

import pytest
import torch
from captures import capture
from torch import nn

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, InterpolatingAdjoint, solve
from pyseminorm.graphs import time_part

pytestmark = pytest.mark.capture
D = torch.float64


class Driven(nn.Module):
    """y' = f(y, x(t)) with x from a table, and one leaf's worth of forcing that y has no part in."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0]))
        self.register_buffer("grid", torch.linspace(0, 1, 6))
        self.register_buffer("table", torch.linspace(-1, 1, 12).view(6, 2).sin())

    def forward(self, t, y):
        when = t.view(1)
        i = torch.bucketize(when, self.grid[1:-1])
        start, end = self.grid.index_select(0, i), self.grid.index_select(0, i + 1)
        w = ((when - start) / (end - start)).unsqueeze(1)
        x = torch.lerp(self.table.index_select(0, i), self.table.index_select(0, i + 1), w)[0]
        return torch.tanh(self.net(torch.cat([y, x[:1]]))) + self.scale * x.cos()


@pytest.fixture
def field():
    torch.manual_seed(0)
    return Driven().double()


def test_values_for_several_times_are_those_for_each(field):
    _, graph, flat = capture(field, torch.tensor([0.3, -0.2], dtype=D))
    part, times = graph._functions.time_part, [0.1, 0.35, 0.9, 1.0]
    known = part.values(graph._constants, times, graph.time(0.0))
    assert list(known) == times
    for t in times:
        (values, saved), expected = part.rest(graph._constants, *known[t], flat), graph.time(t)
        assert torch.equal(known[t][0], expected)
        mine, others = [*values, *saved], graph._functions.primal(graph._constants, expected, flat)
        torch.testing.assert_close(mine, [*others[0], *others[1]], rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    "adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), DiscreteAdjoint()], ids=lambda x: type(x).__name__
)
def test_steps_and_gradients_are_those_of_func(field, adjoint, monkeypatch):
    looked, values = [], time_part.TimePart.values
    monkeypatch.setattr(
        time_part.TimePart, "values", lambda self, c, times, like: looked.append(times) or values(self, c, times, like)
    )
    found = []
    for compile in (None, "trace"):
        field.zero_grad()
        y0 = torch.tensor([0.3, -0.2], dtype=D, requires_grad=True)
        s = solve(
            field, y0, torch.linspace(0, 1, 4, dtype=D), rtol=1e-7, atol=1e-9, adjoint=adjoint, compile=compile,
            backend="torch",
        )  # fmt: skip
        s.ys.square().sum().backward()
        stats = s.stats.forward.naccept, s.stats.forward.nreject, s.stats.backward.naccept, s.stats.backward.nreject
        found.append((stats, s.ys.detach(), y0.grad, *(p.grad.clone() for p in field.parameters())))
    assert found[0][0] == found[1][0] and len(looked) >= sum(found[0][0][:2])
    # Of the stages but the first, the last two are at the end; in a sweep of those but the last.
    assert {len(times) for times in looked} == ({5, 6} if isinstance(adjoint, DiscreteAdjoint) else {5})
    torch.testing.assert_close(found[1][1:], found[0][1:], rtol=1e-9, atol=1e-11)


def test_what_cannot_be_batched_or_is_large_is_made_time_by_time(field, monkeypatch):
    _, graph, _ = capture(field, torch.tensor([0.3, -0.2], dtype=D))
    part = graph._functions.time_part
    monkeypatch.setattr(time_part, "MOST_NUMBERS", 1)
    assert part.values(graph._constants, [0.1, 0.2], graph.time(0.1)) == {}
    monkeypatch.undo()

    def refuse(*_):
        raise RuntimeError("Batching rule not implemented")

    _, graph, _ = capture(field, torch.tensor([0.3, -0.2], dtype=D))
    part = graph._functions.time_part
    monkeypatch.setattr(torch, "vmap", lambda function: refuse)
    assert part.values(graph._constants, [0.1, 0.2], graph.time(0.1)) == {}


def test_a_field_that_hardly_reads_the_time_has_no_such_part():
    _, graph, _ = capture(Plain().double(), torch.ones(2, dtype=D))
    assert graph._functions.time_part is None


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, t, y):
        return self.net(y) * t.cos()
