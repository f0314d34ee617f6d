"""Lowering to Julia: memory as torch lays it out, and every operation of the table."""

import itertools
import math

import pytest
import torch
from captures import capture
from fields import FIELDS
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import OPERATIONS, WRITTEN_BY_OTHERS
from problems import MLP, batch
from torch import nn

from pyseminorm.engines.julia.native.lowered import LoweredVectorField
from pyseminorm.graphs.lowering import ops
from pyseminorm.graphs.lowering.loops import Statement
from pyseminorm.graphs.lowering.memory import Buffer, View
from pyseminorm.graphs.lowering.sections import share
from pyseminorm.graphs.lowering.writer import LoweringError, Writer

D = torch.float64


def state(dtype=D):
    return (torch.sin(torch.arange(12, dtype=D) * 1.7 + 0.4) * 0.9).reshape(3, 4).to(dtype)


def field_of(operation):
    """Uses the operation on the state and on a parameter."""
    function = (OPERATIONS | WRITTEN_BY_OTHERS)[operation]

    class Field(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.weight = nn.Parameter(state(dtype).flip(0) * 0.8)

        def forward(self, t, y):
            return function(y) + t * function(self.weight * y)

    return Field


# ---- memory


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_views_are_those_of_torch(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    tensor = torch.arange(math.prod(shape))
    mine, theirs = View.whole(Buffer("b", tensor.numel()), tuple(shape)), tensor.reshape(shape)
    for _ in range(data.draw(st.integers(1, 4))):
        rank = len(mine.shape)
        kinds = ["permute", "unsqueeze", "squeeze", "expand", "view", *["select", "slice", "split"] * (rank > 0)]
        kind, how, number = data.draw(st.sampled_from(kinds)), (), 0
        if kind == "permute":
            operation, how = torch.permute, (data.draw(st.permutations(range(rank))),)
        elif kind == "select":
            dim = data.draw(st.integers(0, rank - 1))
            operation, how = torch.select, (dim, data.draw(st.integers(-mine.shape[dim], mine.shape[dim] - 1)))
        elif kind == "slice":
            dim = data.draw(st.integers(0, rank - 1))
            how = (dim, data.draw(st.integers(0, mine.shape[dim] - 1)), None, data.draw(st.integers(1, 2)))
            operation = torch.ops.aten.slice
        elif kind == "split":
            dim = data.draw(st.integers(-rank, rank - 1))
            operation, how, number = torch.split, (data.draw(st.integers(1, 3)), dim), data.draw(st.integers(-1, 0))
        elif kind == "unsqueeze":
            operation, how = torch.unsqueeze, (data.draw(st.integers(-rank - 1, rank)),)
        elif kind == "squeeze":
            operation = torch.squeeze
        elif kind == "expand":
            operation, how = torch.Tensor.expand, ([2, *(3 if n == 1 else -1 for n in mine.shape)],)
        else:
            operation, how = torch.Tensor.view, (data.draw(st.sampled_from([[-1], [1, -1], [*mine.shape[:1], -1]])),)
        seen = mine.look(operation, *how)
        try:
            made = operation(theirs, *how)
        except RuntimeError:
            assert seen is None
            continue
        mine, theirs = (seen[number], made[number]) if kind == "split" else (seen, made)
    assert mine.shape == tuple(theirs.shape)
    assert torch.equal(torch.as_strided(tensor, mine.shape, mine.strides, mine.offset), theirs)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(1, 40)), min_size=1, max_size=10))
def test_buffers_that_are_used_together_share_no_memory(uses):
    sizes = {f"w{i}": size for i, (_, _, size) in enumerate(uses)}
    spans = {f"w{i}": (first, first + length) for i, (first, length, _) in enumerate(uses)}
    calls = [Statement([], others=[name for name, (a, b) in spans.items() if a <= i <= b]) for i in range(31)]
    places, end = share(sizes, calls)
    for a, b in itertools.combinations(sizes, 2):
        together = spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]
        beside = places[a] + sizes[a] <= places[b] or places[b] + sizes[b] <= places[a]
        assert beside or not together
    assert end >= max(places[name] + size for name, size in sizes.items())


@pytest.mark.parametrize(
    ("index", "later", "taken"),
    [("3i0 + i1", [], True), ("i0 + 3i1", [], False), ("3i0 + i1", [("w0", "0")], False)],
    ids=["same place", "another place", "read again"],
)
def test_a_loop_writes_over_what_it_reads_for_the_last_time(index, later, taken):
    loop = Statement([], loads=[("w0", index)], stores=[("w1", "3i0 + i1")])
    statements = [Statement([], others=["w0"]), loop, Statement([], others=["w1"]), Statement([], loads=later)]
    places, _ = share({"w0": 15, "w1": 15}, statements)
    assert (places["w0"] == places["w1"]) is taken


@pytest.mark.slow
@pytest.mark.capture
def test_every_operation_of_the_table_has_a_test_and_is_met_there():
    named = "BOOLEAN COMPARISONS ELEMENTWISE FILLED FORMED OTHERS REDUCTIONS VIEWS"
    tables = [getattr(ops, name) for name in named.split()]
    listed = {*ops.SAME, *(operation for table in tables for operation in table)}
    assert listed == set(OPERATIONS)
    for operation in listed:
        _, graph, _ = capture(field_of(operation)(D), state())
        plain = ops.simplify(graph.graph, graph.sources)
        assert operation in {node.target for node in plain.module.graph.nodes}, operation


@pytest.mark.capture
def test_code_is_the_same_for_the_same_graph():
    codes = [Writer(graph.graph, graph.sources).source for _, graph, _ in (capture(MLP(), batch(3)) for _ in "ab")]
    assert codes[0] == codes[1]


@pytest.mark.capture
@pytest.mark.parametrize("rows", [2, 3])
def test_rows_are_looked_up_only_where_none_outside_can_be_asked_for(rows):
    table, edges = torch.arange(rows, dtype=D), torch.tensor([-0.5, 0.5], dtype=D)
    other = torch.tensor([1])
    fields = [lambda t, y: y * table.index_select(0, torch.bucketize(t.view(1), edges))]
    fields += [lambda t, y: y * table.index_select(0, other)]
    for field, known in zip(fields, (rows > 2, False), strict=True):
        _, graph, _ = capture(field, batch(3), t=-1.0)
        if known:
            assert "unsafe_copyto!" in Writer(graph.graph, graph.sources).source
        else:
            with pytest.raises(LoweringError, match=r"index that is not bucketize's|of torch\.int64"):
                Writer(graph.graph, graph.sources)


# ---- code


def check_products(func, y0, args=(), *, rtol, atol):
    field, code, flat = capture(func, y0, args, mode="julia")
    assert isinstance(code, LoweredVectorField)
    y, adjoint = flat * 1.1 + 0.03, torch.cos(torch.arange(len(flat), dtype=D)).to(flat.dtype)
    close = {"rtol": rtol, "atol": atol, "equal_nan": True}
    torch.testing.assert_close(code.f(0.7, y), field.f(0.7, y), **close)
    for params, time in ((True, True), (False, False), (True, False)):
        mine, theirs = (f.vjp(0.7, y, adjoint, params=params, time=time) for f in (code, field))
        torch.testing.assert_close(mine[:2], theirs[:2], **close)
        for a, b, target in zip(mine[2], theirs[2], field.targets, strict=False):
            torch.testing.assert_close(a, torch.zeros_like(target) if b is None else b, **close)
        if time:
            torch.testing.assert_close(mine[3], torch.zeros_like(mine[3]) if theirs[3] is None else theirs[3], **close)


@pytest.mark.julia
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("operation", [*OPERATIONS, *WRITTEN_BY_OTHERS], ids=str)
def test_an_operation_gives_what_torch_gives(operation, dtype):
    bound = 1e-12 if dtype == torch.float64 else 3e-5
    check_products(field_of(operation)(dtype), state(dtype), rtol=bound, atol=bound)


TRUTHS = [  # of truth values; in Julia true plus true is two, and false times anything is zero
    lambda t, y: ((y > 0) + (y < 0.5)) * y,
    lambda t, y: ((y > 0) + (y < 0.5)).to(y.dtype) * torch.sin(t) + y,
    lambda t, y: ((y > 0) * (y < 0.5)) * y + torch.isfinite(y) * y,
    lambda t, y: torch.logical_and(y, y > -1) * y + torch.logical_not(y) * y + torch.logical_or(y, y > 0.5) * y,
    lambda t, y: y.bool() * y + (torch.ones_like(y, dtype=torch.bool) & (y > 0)) * y,
    lambda t, y: torch.where(torch.where(y > 0, y < 0.5, y < -0.5), y, 2 * y),
    lambda t, y: torch.where(torch.cat([y[:1] > 0, y[1:] < 0]), y, 2 * y) + torch.where((y > 0).amax(0), y, 3 * y),
    lambda t, y: torch.where(nn.functional.pad(y > 0, (1, 0))[:, 1:], y, 2 * y) + (y > 0).repeat(2, 1)[2:5].sum(0) * y,
    lambda t, y: y.masked_fill((y > 0) * (y < 0.5), 3.0) + y * False + (t > 0.5) * y,
]  # fmt: skip


@pytest.mark.julia
@pytest.mark.parametrize("function", TRUTHS)
def test_truth_values_count_as_in_torch(function):
    class Field(nn.Module):  # an object of its own, with a limit of captures of its own
        def forward(self, t, y):
            return function(t, y)

    _, code, flat = capture(Field(), state(), mode="julia")
    assert isinstance(code, LoweredVectorField)
    for y in (flat, -flat, 0 * flat, flat / 0.0):
        for t in (0.2, 0.7):
            y = y.clone().requires_grad_()
            expected = function(torch.tensor(t, dtype=D), y.view(3, 4)).reshape(-1)
            (product,) = torch.autograd.grad(expected.sum(), y)
            found = code.vjp(t, y.detach(), torch.ones_like(y))[:2]
            torch.testing.assert_close(found, (expected.detach(), product), equal_nan=True)


@pytest.mark.julia
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_gives_what_torch_gives(name):
    func, y0, args = FIELDS[name]()
    check_products(func, y0, args, rtol=1e-11, atol=1e-11)


@pytest.mark.julia
@pytest.mark.parametrize("sizes", [(1, 3, 5), (2, 33, 17), (7, 64, 3), (50, 70, 90), (1, 300, 200)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_matrix_products_of_all_sizes(sizes, dtype):
    rows, inner, width = sizes
    net = nn.Sequential(nn.Linear(inner, width), nn.Linear(width, inner)).to(dtype)
    y0 = torch.sin(torch.arange(rows * inner, dtype=D)).reshape(rows, inner).to(dtype)

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, y):
            return self.net(y)

    bound = 1e-11 if dtype == D else 1e-4
    check_products(Field(), y0, rtol=bound, atol=bound)


@pytest.mark.julia
def test_not_a_number_where_torch_has_none():
    def func(t, y):
        return torch.where(y > 0.5, y, torch.log(y - 0.5) + torch.sqrt(y - 0.6) + (y - 0.7) ** 1.5)

    spec_state = torch.tensor([0.2, 0.55, 0.9], dtype=D)
    field, code, _ = capture(func, torch.tensor([0.8, 0.8, 0.9], dtype=D), mode="julia")
    assert isinstance(code, LoweredVectorField)
    torch.testing.assert_close(code.f(0.3, spec_state), field.f(0.3, spec_state), equal_nan=True)


@pytest.mark.julia
@pytest.mark.parametrize(
    "values", [[-200.0, -90.0, -1e-9, 0.0, 1e-9, 0.3, 40.0, 88.5, 100.0, math.inf, -math.inf, math.nan]]
)
@pytest.mark.parametrize("function", [torch.tanh, torch.exp, torch.sigmoid, torch.expm1, torch.nn.functional.softplus])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_elementary_functions_far_out(values, function, dtype):
    class Field(nn.Module):  # an object of its own, with a limit of captures of its own
        def forward(self, t, y):
            return function(y)

    start = torch.linspace(-1, 1, len(values), dtype=dtype)
    _, code, _ = capture(Field(), start, mode="julia")
    assert isinstance(code, LoweredVectorField)
    y = torch.tensor(values, dtype=dtype)
    bound = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(code.f(0.3, y), function(y), rtol=bound, atol=1e-37, equal_nan=True)
