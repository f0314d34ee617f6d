"""GaussAdjoint: the parameter gradient by quadrature, its batching, and what it does where func cannot be batched."""

import functools
import logging
import math

import pytest
import torch
from problems import MLP, Counted, Hamiltonian, Oscillating, batch, cotangents, relative
from thresholds import TIGHT

import pyseminorm
from pyseminorm import AdjointState, BacksolveAdjoint, GaussAdjoint, InvalidInputError, torch_internals
from pyseminorm.passes.gauss_quadrature import check_rules, check_step

T = torch.linspace(0, 2, 4, dtype=torch.float64)


def _solve(field, engine, adjoint, y0=None, **settings):
    for p in field.parameters():
        p.grad = None
    y0 = (batch(4) if y0 is None else y0).clone().requires_grad_()
    s = pyseminorm.solve(field, y0, T, backend=engine, adjoint=adjoint, **settings)
    (s.ys * cotangents(*s.ys.shape)).sum().backward()
    return s.stats.backward, torch.cat([p.grad.reshape(-1) for p in field.parameters()])


@functools.cache
def _reference():
    return _solve(Oscillating(), "torch", BacksolveAdjoint(), **TIGHT)[1]


@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "bosh3", "vern7", "dopri8"])
def test_it_agrees_with_a_tight_reference(engine, method, interpolate):
    adjoint = GaussAdjoint(interpolate=interpolate)
    _, gradient = _solve(Oscillating(), engine, adjoint, method=method, rtol=1e-6, atol=1e-8)
    assert relative(gradient, _reference()) < 1e-4


@pytest.mark.capture
@pytest.mark.parametrize("compile", [None, "trace"])
def test_nodes_of_a_function_that_differentiates_itself_are_evaluated_one_by_one(engine, compile):
    stats, gradient = _solve(Hamiltonian(enable=True), engine, GaussAdjoint(), compile=compile, rtol=1e-6, atol=1e-8)
    expected = _solve(Hamiltonian(enable=True), "torch", BacksolveAdjoint(), **TIGHT)[1]
    assert stats.nvjp_param > 0 and relative(gradient, expected) < 1e-4


TRANSFORMED = {
    "vmap": lambda net, y: torch.func.vmap(lambda x: torch.tanh(net(x)) * x.sum())(y),
    "grad": lambda net, y: torch.func.grad(lambda x: torch.tanh(net(x)).sum())(y),
    "jacrev": lambda net, y: torch.func.vmap(torch.func.jacrev(net))(y).sum(1),
    "jvp": lambda net, y: torch.func.jvp(net, (y,), (torch.cos(y),))[1],
}


@pytest.mark.capture
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")  # of forward mode, at its first use
@pytest.mark.parametrize("name", TRANSFORMED)
def test_nodes_of_a_graph_that_enters_transforms_of_torch_func(name):
    net, gradients = MLP(), []
    for compile in (None, "trace"):
        y0, settings = batch(4).requires_grad_(), {"params": list(net.parameters()), "compile": compile}
        s = pyseminorm.solve(
            lambda t, y: TRANSFORMED[name](lambda x: net(t, x), y), y0, T, backend="torch", adjoint=GaussAdjoint(),
            **settings,
        )  # fmt: skip
        gradients.append(torch.autograd.grad(s.ys.pow(2).sum(), [y0, *net.parameters()], allow_unused=True))
        assert not torch_internals.transform_is_active()
    torch.testing.assert_close(*gradients)


def test_nodes_are_counted_one_by_one(engine):
    stats, _ = _solve(Oscillating(), engine, GaussAdjoint())
    assert stats.nvjp == 0 and stats.nvjp_state > 0
    # Tsit5: order 5, (5 + 1) // 2 nodes in a step; in the largest one two rules of two, and another for the estimate.
    assert stats.nvjp_param == 3 * stats.naccept + 1 + 5
    assert stats.evaluations == stats.nvjp_state + stats.nvjp_param


def test_a_step_in_which_rules_of_a_node_less_agree_is_checked_by_no_other(engine):
    s = pyseminorm.solve(MLP(), batch(4), [0.0, 0.02, 0.05], backend=engine, adjoint=GaussAdjoint())
    s.ys.sum().backward()
    stats = s.stats.backward
    assert stats.nvjp_param == 3 * stats.naccept + 1 and 0 < stats.param_error < 1e-6


def test_nodes_are_evaluated_in_few_calls_of_func(engine):
    field = Counted(MLP())
    for compared in (3, 0):  # the first batch of a function with single calls
        s = pyseminorm.solve(field, batch(4).requires_grad_(), T, backend=engine, adjoint=GaussAdjoint())
        field.calls = 0
        s.ys.sum().backward()
        # a batch of all but the largest step, and three of that
        assert field.calls == s.stats.backward.nvjp_state + 1 + 3 + compared


def test_chunks_bound_the_memory(engine, monkeypatch):
    from pyseminorm.passes import gauss_quadrature as quadrature

    _, whole = _solve(MLP(), engine, GaussAdjoint(), **TIGHT)
    monkeypatch.setattr(quadrature, "ELEMENTS_PER_CALL", 40)  # 5 nodes of 8 elements
    _, chunked = _solve(MLP(), engine, GaussAdjoint(), **TIGHT)
    assert relative(chunked, whole) < 1e-12


def test_batched_time_stacks_the_nodes_along_the_models_own_batch_axis(engine):
    class Timed(MLP):
        def forward(self, t, y):
            assert t.dim() == 0 or t.shape == (len(y), 1)
            return self.net(y) * torch.cos(3 * t)

    stats, vmapped = _solve(Timed(), engine, GaussAdjoint())
    stacked_stats, stacked = _solve(Timed(), engine, GaussAdjoint(batched_time=True))
    assert relative(stacked, vmapped) < 1e-12 and stacked_stats.times == stats.times
    with pytest.raises(InvalidInputError, match="y0 is nested"):
        pyseminorm.solve(lambda t, y: y, (batch(2),), T, adjoint=GaussAdjoint(batched_time=True))


@pytest.mark.parametrize(
    "func",
    [lambda t, y: -y * t.item(), lambda t, y: torch.stack([t, t]) - y, lambda t, y: -y.view(4, 2)],
    ids=["a number", "a vector of the times", "a view of one batch"],
)
def test_what_does_not_take_stacked_times_is_told_so(func):
    y0 = torch.ones(4, 2, requires_grad=True)
    w = torch.ones(2, requires_grad=True)
    s = pyseminorm.solve(
        lambda t, y: w * func(t, y), y0, T, params=[w], adjoint=GaussAdjoint(batched_time=True), backend="torch"
    )
    with pytest.raises(InvalidInputError, match=r"where \d+ times are stacked along the batch: .*batched_time=False"):
        s.ys.sum().backward()


class WithBatchNorm(torch.nn.Module):
    """Running statistics are buffers that func changes: vmap refuses them, and nodes must not be stacked."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2).double()
        self.norm = torch.nn.BatchNorm1d(2).double()
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.3, -0.8], [0.5, 0.1]]))
            self.linear.bias.zero_()

    def forward(self, t, y):
        return torch.tanh(self.linear(self.norm(y)))


@pytest.mark.parametrize("make", [WithBatchNorm, lambda: Hamiltonian(True)], ids=["BatchNorm", "Hamiltonian"])
def test_what_vmap_cannot_batch_is_looped_with_one_log_line(engine, make, caplog):
    from pyseminorm.problem import vector_field

    vector_field._NOT_BATCHABLE.clear()
    field = make()
    _, reference = _solve(field, "torch", BacksolveAdjoint(), **TIGHT)
    with caplog.at_level(logging.INFO, logger="pyseminorm"):
        for _ in range(2):
            _, gradient = _solve(field, engine, GaussAdjoint(), **TIGHT)
    assert relative(gradient, reference) < 1e-7
    assert sum("one by one" in r.message for r in caplog.records) == 1


def test_what_vmap_differentiates_wrongly_is_looped(engine):
    """PyTorch 2.13 gives other gradients of select_scatter, without an error."""
    net = MLP()

    def func(t, y):
        x = net(t, y)
        return x.select_scatter(x[0].sin(), 0, 1)

    gradients = []
    for adjoint in (GaussAdjoint(), GaussAdjoint(), BacksolveAdjoint()):
        s = pyseminorm.solve(func, batch(4), T, params=net.parameters(), adjoint=adjoint, backend=engine, **TIGHT)
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(s.ys.sum(), [*net.parameters()])]))
    assert relative(gradients[0], gradients[2]) < 1e-7 and relative(gradients[1], gradients[2]) < 1e-7


def test_what_vmap_differentiates_wrongly_in_another_function_of_the_same_code_is_looped(engine):
    net = MLP()

    def make(scatter):
        return lambda t, y: (x := net(t, y)).select_scatter(x[0].sin(), 0, 1) if scatter else net(t, y)

    gradients = []
    for scatter, adjoint in ((False, GaussAdjoint()), (True, GaussAdjoint()), (True, BacksolveAdjoint())):
        s = pyseminorm.solve(
            make(scatter), batch(4), T, params=net.parameters(), adjoint=adjoint, backend=engine, **TIGHT
        )
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(s.ys.sum(), [*net.parameters()])]))
    assert relative(gradients[1], gradients[2]) < 1e-7 < relative(gradients[0], gradients[2])


def test_its_norms(engine):
    with pytest.raises(InvalidInputError, match="torchdiffeq's norms"):
        GaussAdjoint(norm="torchdiffeq")
    seen = []
    _solve(MLP(), engine, GaussAdjoint(norm=lambda s: (seen.append(s), s.adjoint.abs().max())[1]))
    assert seen and all(isinstance(s, AdjointState) and s.y is None and s.params == () for s in seen)


def test_an_error_of_funcs_own_at_the_nodes_arrives_as_itself(engine):
    armed = []

    def func(t, y, w):
        if armed and not y.requires_grad:
            raise ZeroDivisionError("at a node")
        return -w * y

    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    ys = pyseminorm.solve(func, batch(2), T, args=(w,), backend=engine, adjoint=GaussAdjoint(batched_time=True)).ys
    armed.append(True)
    with pytest.raises(ZeroDivisionError, match="at a node"):
        ys.sum().backward()


@pytest.mark.parametrize("order", [3, 5, 7])
def test_two_mirrored_rules_of_a_node_less_add_up_to_one_as_exact(order):
    (points, _), first, second, _ = check_rules(order)
    nodes = [*zip(*first, strict=True), *zip(*second, strict=True)]
    assert len(nodes) == max(2 * len(points) - 2, 2) and first[0] == pytest.approx([1.0 - x for x in second[0]])
    for power in range(2 * len(points)):
        assert sum(weight * point**power for point, weight in nodes) == pytest.approx(1.0 / (power + 1), rel=1e-14)


@pytest.mark.parametrize("order", [3, 5, 7])
def test_where_a_wave_is_resolved_the_error_of_the_rule_follows_from_the_mirrored_ones(order):
    rules, phase = check_rules(order), 0.5

    def wave(i):  # its real and imaginary parts, as parameters
        points, weights = (torch.tensor(x, dtype=torch.float64) for x in rules[i])
        return [(weights * torch.cos(phase * points)).sum(), (weights * torch.sin(phase * points)).sum()]

    exact = torch.tensor([math.sin(phase) / phase, (1.0 - math.cos(phase)) / phase], dtype=torch.float64)
    error = (torch.stack(wave(0)) - exact).norm() / exact.norm()
    total = [torch.zeros((), dtype=torch.float64) for _ in exact]
    assert check_step(wave, total, order, 1.0) == pytest.approx(error.item(), rel=0.1)
    torch.testing.assert_close(torch.stack(total), exact, rtol=1e-3, atol=0.0)


def test_where_the_forward_solve_is_rough_a_finer_rule_takes_the_place_of_the_largest_steps(engine):
    w = torch.tensor([1.0, 0.3], dtype=torch.float64, requires_grad=True)
    y0, t = torch.tensor([0.5, 0.2], dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)

    def func(t, y):
        return 0.3 * w[0] * torch.floor(2 * t) - w[1] * y

    def solve(**settings):
        adjoint = GaussAdjoint(verbose=False)
        solution = pyseminorm.solve(func, y0, t, params=[w], backend=engine, adjoint=adjoint, **settings)
        (gradient,) = torch.autograd.grad(solution.ys.pow(2).sum(), w)
        return gradient, solution.stats

    exact, smooth = solve(discontinuities=[0.5, 1.0, 1.5, 2.0], **TIGHT)
    found, rough = solve(rtol=1e-5, atol=1e-5)
    assert smooth.forward.nreject == 0 and rough.forward.nreject > rough.forward.naccept
    assert rough.backward.nvjp_param == 3 * rough.backward.naccept + 3 + 5  # of one step the difference of two rules
    assert 0.1 < rough.backward.param_error / relative(found, exact) < 10
