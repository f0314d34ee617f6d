"""Captured graphs: the same numbers as the function itself, and what stays eager."""

import gc
import inspect
import logging
import shutil
import signal
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from captured_fields import Counting, D, Scaled, T, value
from captures import capture
from fields import FIELDS
from problems import MLP, Oscillating, batch, relative
from torch import nn

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    HiddenParametersWarning,
    InterpolatingAdjoint,
    InvalidInputError,
)
from pyseminorm.graphs.capture import capturing
from pyseminorm.graphs.traced_field import TracedVectorField

pytestmark = pytest.mark.capture


@pytest.mark.parametrize("name", FIELDS)
def test_values_and_products_are_those_of_the_function(name):
    func, y0, args = FIELDS[name]()
    field, graph, flat = capture(func, y0, args)
    assert isinstance(graph, TracedVectorField)
    y = flat * 1.1 + 0.05  # not where it was captured
    adjoint = torch.cos(torch.arange(len(flat), dtype=D))
    torch.testing.assert_close(graph.f(0.7, y), field.f(0.7, y))
    for params, time in ((True, True), (False, False), (True, False)):
        mine = graph.vjp(0.7, y, adjoint, params=params, time=time)
        theirs = field.vjp(0.7, y, adjoint, params=params, time=time)
        assert (mine[3] is None) == (theirs[3] is None)
        torch.testing.assert_close(mine[:2], theirs[:2])
        assert [g is None for g in mine[2]] == [g is None for g in theirs[2]]
        torch.testing.assert_close([g for g in mine[2] if g is not None], [g for g in theirs[2] if g is not None])
        if theirs[3] is not None:
            torch.testing.assert_close(mine[3], theirs[3])


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()])
def test_a_solve_takes_the_same_steps_and_gives_the_same_gradients(engine, adjoint):
    results = []
    for compile in (None, "trace"):
        field, y0 = Oscillating(width=8), batch(3).requires_grad_()
        s = pyseminorm.solve(field, y0, T, backend=engine, adjoint=adjoint, compile=compile)
        s.ys.pow(2).sum().backward()
        results.append((s, y0.grad, [p.grad for p in field.parameters()]))
    (a, *grads), (b, *traced_grads) = results
    assert (a.stats.forward.naccept, a.stats.backward.naccept) == (b.stats.forward.naccept, b.stats.backward.naccept)
    assert a.stats.forward.nf == b.stats.forward.nf
    torch.testing.assert_close(traced_grads, grads)


def test_hidden_parameters_are_told_of_at_the_capture():
    net = MLP(width=8)
    with pytest.warns(HiddenParametersWarning, match="hidden from solve"):
        pyseminorm.solve(lambda t, y: net(t, y), batch(2).requires_grad_(), T, backend="torch", compile="trace")


def branching(t, y):
    return y if bool(y.sum() > 0) else -y


def random(t, y):
    return -y + 0.1 * torch.randn_like(y)


class Running(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2).to(D)

    def forward(self, t, y):
        return -self.norm(y)


@pytest.mark.parametrize(
    ("func", "reason"),
    [
        (branching, "depends on the values"),
        (random, "random"),
        (Counting(), "it changes what it did not make"),
        (Running(), "BatchNorm"),
        (lambda t, y: -y[y > 0].sum() * y, "depends on values"),
        (lambda t, y: -y * t.item(), "depends on values"),
    ],
)
def test_what_cannot_be_captured_stays_eager_and_says_so_once(func, reason, caplog):
    caplog.set_level(logging.INFO, logger="pyseminorm")
    for _ in range(2):
        ys = pyseminorm.solve(func, batch(2), T, backend="torch", compile="trace", method="rk4", dt=0.2).ys
    assert ys.shape == (3, 2, 2)
    said = [r.getMessage() for r in caplog.records if "stays eager" in r.getMessage()]
    assert len(said) == 1
    assert reason in said[0]


def test_an_attempt_to_capture_leaves_what_func_would_change_as_it_is():
    counts = []
    for compile in (None, "trace"):
        field = Running()
        stats = pyseminorm.solve(field, batch(2), T, backend="torch", compile=compile).stats
        counts.append((field.norm.num_batches_tracked.item(), stats.forward.nf))
    assert counts[0] == counts[1] and counts[0][0] == counts[0][1]


def test_what_changes_at_every_solve_stays_eager_in_the_end(caplog):
    caplog.set_level(logging.INFO, logger="pyseminorm")
    field = Scaled()
    for i in range(20):
        field.scale = 1.0 + i
        torch.testing.assert_close(value(field), pyseminorm.solve(field, batch(2), T, backend="torch").ys)
    assert len([r for r in caplog.records if "recompile limit" in r.getMessage()]) == 1


def test_errors_of_the_function_are_its_own():
    def broken(t, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        value(broken)


def test_a_captured_model_can_be_freed(engine):
    field = MLP(width=8)
    reference = weakref.ref(field.net[0].weight)
    storage = weakref.ref(field.net[0].weight.untyped_storage())
    s = pyseminorm.solve(field, batch(2), T, backend=engine, compile="auto", adjoint=DiscreteAdjoint())
    s.ys.sum().backward()
    del field, s
    gc.collect()
    assert reference() is None
    assert storage() is None


def test_float32_gradients():
    field = MLP(dtype=torch.float32)
    grads = []
    for compile in ("trace", None):
        field.zero_grad()
        y0 = batch(3, dtype=torch.float32)
        pyseminorm.solve(field, y0, T, backend="torch", compile=compile).ys.pow(2).sum().backward()
        grads.append(torch.cat([p.grad.reshape(-1) for p in field.parameters()]))
    assert relative(*grads) < 1e-4


def test_names_are_checked(engine):
    with pytest.raises(InvalidInputError, match="compile='fast' is not known"):
        pyseminorm.solve(MLP(), batch(2), T, backend=engine, compile="fast")
    with pytest.raises(InvalidInputError, match='needs backend="julia"'):
        pyseminorm.solve(MLP(), batch(2), T, backend="torch", compile="julia")


@pytest.mark.slow
@pytest.mark.julia
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")  # torch's own, while it compiles
def test_inductor_behind_julias_callbacks(caplog):
    caplog.set_level(logging.INFO, logger="pyseminorm")
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    field, y0, grads = MLP(width=8), batch(2), []
    for compile in ("inductor", None):
        field.zero_grad()
        pyseminorm.solve(field, y0, T, backend="julia", compile=compile).ys.pow(2).sum().backward()
        grads.append([p.grad.clone() for p in field.parameters()])
    torch.testing.assert_close(*grads)
    assert not [r for r in caplog.records if r.name == "pyseminorm"]  # it was compiled


@pytest.mark.julia
def test_a_compiler_that_fails_leaves_the_graph(caplog, monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    compile = torch.compile

    def failing(function, **settings):
        def call(*_):
            raise TorchDynamoException("no C++ compiler")

        return compile(function, **settings) if "backend" in settings else call

    caplog.set_level(logging.INFO, logger="pyseminorm")
    monkeypatch.setattr(torch, "compile", failing)
    field = MLP(width=8)
    for _ in range(2):
        ys = pyseminorm.solve(field, batch(2), T, backend="julia", compile="inductor").ys
        assert ys.shape == (3, 2, 2)
    assert caplog.text.count("no C++ compiler") == 1  # it is not tried again


def test_a_graphs_function_has_a_source_of_its_own():
    _, traced, _ = capture(MLP(width=8), batch(2))
    primal, constants = traced._functions.primal, traced._functions.constants
    assert "op_tanh" in inspect.getsource(primal)
    assert primal.__code__.co_filename != constants.__code__.co_filename


def test_a_capture_under_hooks_of_saved_tensors_serves_later_solves():
    """Hooks that offload what autograd saves would make constants of it."""
    net, y0 = MLP(width=8), batch(2)

    def gradients(compile):
        ys = pyseminorm.solve(net, y0, T, backend="torch", compile=compile).ys
        return torch.autograd.grad(ys.pow(2).sum(), list(net.parameters()))

    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.detach().numpy().copy(), torch.from_numpy):
        under = gradients("trace")
    with torch.no_grad():
        net.net[0].weight.mul_(1.2)
    assert not torch.equal(under[0], gradients("trace")[0])
    torch.testing.assert_close(gradients("trace"), gradients(None))


def test_a_first_solve_inside_a_checkpoint():
    net, y0 = MLP(width=8), batch(2).requires_grad_()

    def run(y0):
        return pyseminorm.solve(net, y0, T, backend="torch", compile="trace").ys

    (found,) = torch.autograd.grad(torch.utils.checkpoint.checkpoint(run, y0, use_reentrant=False).sum(), [y0])
    (expected,) = torch.autograd.grad(run(y0).sum(), [y0])
    torch.testing.assert_close(found, expected)


def test_a_first_solve_in_inference_mode_serves_later_solves():
    net, y0 = MLP(width=8), batch(2)
    with torch.inference_mode():
        pyseminorm.solve(net, y0, T, backend="torch", compile="trace")
    grads = [
        torch.autograd.grad(pyseminorm.solve(net, y0, T, backend="torch", compile=c).ys.sum(), list(net.parameters()))
        for c in ("trace", None)
    ]
    torch.testing.assert_close(*grads)


def test_captures_in_several_threads():
    nets = [MLP(width=8) for _ in range(4)]

    def run(net):
        return pyseminorm.solve(net, batch(2), T, backend="torch", compile="trace").ys.detach()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, nets))
    torch.testing.assert_close(found, [pyseminorm.solve(net, batch(2), T, backend="torch").ys.detach() for net in nets])


def test_ctrl_c_waits_until_a_capture_is_done():
    """An interrupt inside would leave modes of TorchDynamo switched on."""
    inside, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt), capturing():
            signal.raise_signal(signal.SIGINT)
            inside.append("after the interrupt")
        assert inside
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
