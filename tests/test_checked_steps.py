"""A compiled step whose numbers are wrong is not used: inductor has made such code without an error."""

import logging
import shutil

import pytest
import torch
from problems import MLP, batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint
from pyseminorm.graphs import step_graphs
from pyseminorm.graphs.checked_steps import WrongCodeError, check_compiled_step

pytestmark = pytest.mark.capture


def solve(func, params, adjoint, compile, y0=None):
    y0 = (batch(3) if y0 is None else y0.clone()).requires_grad_()
    s = pyseminorm.solve(
        func, y0, [0.0, 0.4, 1.0], params=params, method="midpoint", dt=0.11, adjoint=adjoint, backend="torch",
        compile=compile,
    )  # fmt: skip
    return [s.ys.detach(), *torch.autograd.grad(s.ys.sin().sum(), [y0, *params])]


@pytest.mark.parametrize("wrong", [0, -1])
@pytest.mark.parametrize(
    "adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint(keep="stages")], ids=lambda x: type(x).__name__
)
def test_a_step_of_wrong_numbers_runs_as_single_calls(adjoint, wrong, monkeypatch, caplog):
    def compile_graph(step, examples):
        def compiled(arguments):
            made = list(step(*arguments))
            made[wrong] = made[wrong] + 0.1
            return made

        return compiled

    monkeypatch.setattr(step_graphs, "compile_graph", compile_graph)
    monkeypatch.setattr(step_graphs, "keep_buffers", lambda call: call)
    caplog.set_level(logging.INFO, logger="pyseminorm")
    field = MLP()
    params = list(field.parameters())
    torch.testing.assert_close(
        solve(field, params, adjoint, "inductor"), solve(field, params, adjoint, None), rtol=1e-9, atol=1e-12
    )
    assert "gives other numbers" in caplog.text


@pytest.mark.parametrize(
    "spoil", [lambda x: x * torch.nan, lambda x: 1.1 * x, lambda x: x + torch.inf], ids=["nan", "scaled", "inf"]
)
def test_a_result_is_measured_by_its_own_size(spoil):
    """Beside a larger one, and where it is not finite."""
    small, large = torch.full((3,), 1e-3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    check_compiled_step(lambda x: [x[0].clone(), x[1]], lambda *x: x, [small, large], None)
    with pytest.raises(WrongCodeError):
        check_compiled_step(lambda x: [spoil(x[0]), x[1]], lambda *x: x, [small, large], None)


INDEX = torch.tensor([[0, 2, 1, 1], [3, 3, 0, 2], [1, 0, 2, 3]])
SCATTERED = {
    "max": lambda x: x - x.max(-1, keepdim=True).values,
    "topk": lambda x: x - x.topk(2, -1).values.sum(-1, keepdim=True),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, INDEX, x),
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a compiler")
@pytest.mark.parametrize("name", SCATTERED)
def test_whole_steps_of_a_scatter(name, caplog):
    """PyTorch 2.13's inductor, left alone, makes other products by the weights than the graph that it compiles."""
    torch.compiler.reset()
    torch.manual_seed(0)
    layer, w = torch.nn.Linear(4, 4).double(), torch.randn(4, dtype=torch.float64)

    def func(t, y):
        return 0.5 * torch.tanh(SCATTERED[name](layer(y))) - 0.1 * y * w

    params, y0 = list(layer.parameters()), torch.randn(3, 4, dtype=torch.float64)
    caplog.set_level(logging.INFO, logger="pyseminorm")
    found, expected = (solve(func, params, BacksolveAdjoint(), compile, y0) for compile in ("inductor", None))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert "compiling a backward step" in caplog.text and "other numbers" not in caplog.text
