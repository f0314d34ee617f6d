"""The Julia code that graphs are lowered to, as text where there is no Julia, and run where there is one."""

import pytest
import torch
from golden import FOLDER, NAMES, Golden

from pyseminorm.problem.state import StateSpec

D = torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_is_lowered_to_the_code_that_was_kept(name):
    code = Golden.read(name).lowered().source
    assert code == (FOLDER / f"{name}.jl").read_text(), "read the difference; tests/record_golden.py keeps it"


def test_every_file_is_used():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.{kind}" for name in NAMES for kind in ("fx", "jl")}


@pytest.mark.julia
@pytest.mark.parametrize("name", NAMES)
def test_the_code_computes_what_the_graph_computes(name):
    from pyseminorm.engines.julia.native.lowered import LoweredNative
    from pyseminorm.engines.julia.session.memory import Lent

    golden = Golden.read(name)
    graph, sources = golden.graph()
    n, params = golden.leaves, [torch.zeros(shape, dtype=D) for shape in golden.params]
    t, y, adjoint = (
        0.7,
        *(
            torch.cat([x.reshape(-1) for x in leaves])
            for leaves in (graph.examples[1 : n + 1], graph.examples[n + 1 :])
        ),
    )
    code = LoweredNative(graph, StateSpec(y), params, sources)
    code.load_field(code, Lent(sources, D), by_pass=False)
    found = code.vjp(t, y, adjoint, value=True, params=True, time=True)
    results = golden.function()(torch.tensor(t, dtype=D), *graph.examples[1:], *sources)
    shapes = [*golden.inputs[1 : 2 * n + 1], *golden.params, ()]
    flat = [torch.zeros(shape, dtype=D) if x is None else x for x, shape in zip(results, shapes, strict=True)]
    parts = (flat[:n], flat[n : 2 * n], flat[2 * n : -1], flat[-1:])
    for mine, theirs in zip(found, parts, strict=True):
        expected = torch.cat([x.reshape(-1) for x in theirs]) if theirs else torch.zeros(0, dtype=D)
        torch.testing.assert_close(torch.as_tensor(mine, dtype=D).reshape(-1), expected, rtol=1e-11, atol=1e-12)
