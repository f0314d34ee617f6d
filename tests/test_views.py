"""Views that change nothing are left out of graphs that run call by call; the others stay."""

import inspect

import pytest
import torch
from captures import capture
from torch import nn

pytestmark = pytest.mark.capture
D = torch.float64


class Control(nn.Module):
    """A controlled equation: a product of matrices with one column, as batches of matrices."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 6))

    def forward(self, t, y):
        return (self.net(y).view(5, 3, 2) @ torch.stack([t.cos(), t.sin()]).expand(5, 2).unsqueeze(-1)).squeeze(-1)


class Squares(nn.Module):
    """Transposed twice, and in places where that is something else: square matrices, a broadcast, a slice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 15).view(3, 5))

    def forward(self, t, y):
        square = y.t() @ y
        return (y @ square.t()).t().t() + y[0:5].view(5, 3) * self.weight.sum(0, keepdim=True).t() - y.mean(0, True)


def calls(function):
    return [line.split(" = ")[1].split("(")[0] for line in inspect.getsource(function).splitlines() if "op_" in line]


@pytest.mark.parametrize("make", [Control, Squares])
def test_values_and_products_stay(make):
    torch.manual_seed(0)
    y0 = torch.randn(5, 3, dtype=D)
    field, graph, flat = capture(make().double(), y0)
    adjoint = torch.randn_like(flat)
    mine, theirs = (x.vjp(0.7, flat + 0.1, adjoint, params=True, time=True) for x in (graph, field))
    torch.testing.assert_close(mine[:2], theirs[:2], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(list(mine[2]), list(theirs[2]), rtol=1e-14, atol=1e-14)
    assert (mine[3] is None) == (theirs[3] is None)
    if theirs[3] is not None:
        torch.testing.assert_close(mine[3], theirs[3], rtol=1e-14, atol=1e-14)


def test_views_that_change_nothing_are_left_out():
    y0 = torch.randn(5, 3, dtype=D)
    _, graph, flat = capture(Control().double(), y0)
    whole = [node.target.__name__ for node in graph.graph.module.graph.nodes if node.op == "call_function"]
    graph.vjp(0.7, flat, flat)
    (products,) = (made for made in graph._functions._adjoints.values())
    run = calls(graph._functions.primal) + calls(products)
    assert {"_unsafe_view.default", "view.default"} <= set(whole)
    assert "op__unsafe_view_default" not in run
    # One for (5, 6) as (5, 3, 2), and one back: not those around products of matrices, and behind sums over the batch.
    assert run.count("op_view_default") == 2 and run.count("op_sum_dim_IntList") == 2
