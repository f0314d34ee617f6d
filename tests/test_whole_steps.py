"""Whole steps as compiled graphs: the same steps, values and gradients as stage by stage, in fewer calls."""

import logging
import shutil
import threading

import pytest
import torch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, SolveError, StepCallbacks
from pyseminorm.engines import forms
from pyseminorm.engines.torch import attempts, whole_sweep
from pyseminorm.graphs import step_graphs as steps_module
from pyseminorm.methods.tableaus import FIXED_STEP_METHODS
from pyseminorm.passes import embedded_errors

pytestmark = [
    pytest.mark.capture,
    pytest.mark.skipif(
        shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
    ),
]

ADJOINTS = {
    "backsolve": BacksolveAdjoint(),
    "backsolve, mu controlled": BacksolveAdjoint(param_rtol=1e-6),
    "backsolve, rms": BacksolveAdjoint(norm="rms"),
    "backsolve, torchdiffeq": BacksolveAdjoint(norm="torchdiffeq"),
    "backsolve, a norm of one's own": BacksolveAdjoint(norm=lambda s: s.adjoint.abs().max()),
    "interpolating": InterpolatingAdjoint(),
    "gauss": GaussAdjoint(),
    "gauss, y solved": GaussAdjoint(interpolate=False),
    "discrete": DiscreteAdjoint(),
    "discrete, stages": DiscreteAdjoint(keep="stages"),
    "discrete, checkpoints": DiscreteAdjoint(keep="checkpoints"),
}


class Field(nn.Module):
    """A field that depends on time and on one of its two parameters."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.5], [-1.5, -0.1]], dtype=dtype))
        self.idle = nn.Parameter(torch.ones(3, dtype=dtype))

    def forward(self, t, y):
        return torch.tanh(y @ self.matrix) * (1.0 + t)


class Cubic(nn.Module):
    """y' = y^3, which no number holds for long."""

    def forward(self, t, y):
        return y**3


class Idle(nn.Module):
    """A field that reads a parameter, to no effect."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, t, y):
        return torch.sin(y) + self.matrix * 0.0


def solve_cubic(field, times, method, compile):
    y0 = torch.tensor([1.5], dtype=torch.float64)
    return pyseminorm.solve(field, y0, times, method=method, dt=0.1, backend="torch", compile=compile, throw=False)


def solve(field, compile, adjoint, *, dtype=torch.float64, t=(0.0, 0.35, 1.0, 1.4), y0=None, **settings):
    """The solution, and gradients by y0 and the matrix."""
    field.zero_grad()
    if y0 is None:
        y0 = torch.tensor([[1.0, 0.3], [-0.4, 0.8]], dtype=dtype)
    y0 = y0.clone().requires_grad_()
    settings = {"rtol": 1e-6, "atol": 1e-8, **settings}
    solution = pyseminorm.solve(field, y0, list(t), backend="torch", compile=compile, adjoint=adjoint, **settings)
    sum(x.pow(2).sum() for x in solution.ys).backward()
    return solution, [y0.grad, *(p.grad for p in field.parameters() if p.grad is not None)]


def check_equal(field, adjoint, **settings):
    """See to it that both ways take the same steps; their sizes follow errors, small differences of large numbers."""
    (mine, made), (other, expected) = (solve(field, c, adjoint, **settings) for c in ("inductor", "trace"))
    for a, b in ((mine.stats.forward, other.stats.forward), (mine.stats.backward, other.stats.backward)):
        assert (a.naccept, a.nreject) == (b.naccept, b.nreject)
        torch.testing.assert_close(a.times, b.times, rtol=1e-5, atol=1e-6)
        for found, wanted in ((a.param_error, b.param_error), (a.state_error, b.state_error)):
            assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-3))
    torch.testing.assert_close(mine.ys, other.ys, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(made, expected, rtol=1e-7, atol=1e-9)
    return mine


FIELD = Field()  # what was compiled for one test serves the others


@pytest.fixture
def ran(monkeypatch):
    """The kinds of steps that ran as graphs."""
    kinds, run = [], steps_module.StepGraphs.run

    def record(self, kind, constants, arguments):
        made = run(self, kind, constants, arguments)
        assert made is not None
        kinds.append(type(kind).__name__)
        return made

    monkeypatch.setattr(steps_module.StepGraphs, "run", record)
    return kinds


@pytest.fixture
def compiled(monkeypatch):
    """The kinds of steps that were compiled."""
    kinds, compile = [], steps_module.StepGraphs._compile

    def record(self, kind, arguments):
        kinds.append(type(kind).__name__)
        return compile(self, kind, arguments)

    monkeypatch.setattr(steps_module.StepGraphs, "_compile", record)
    return kinds


@pytest.fixture
def summed(monkeypatch):
    """Whether the cotangents of a sweep's steps were given as sums, of each step."""
    found, of = [], whole_sweep.StepNumbers.of

    def record(self, n):
        made = of(self, n)
        found.append(made[2])
        return made

    monkeypatch.setattr(whole_sweep.StepNumbers, "of", record)
    return found


@pytest.mark.parametrize("name", ["backsolve", "discrete"])
def test_the_steps_are_those_made_stage_by_stage(name, ran):
    check_equal(FIELD, ADJOINTS[name])
    assert set(ran) == {"Begin", "Forward", *{"backsolve": ("Stage", "Backward"), "discrete": ("Reverse",)}[name]}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ADJOINTS.keys() - {"backsolve", "discrete"}))
def test_every_other_adjoint(name, ran):
    check_equal(FIELD, ADJOINTS[name])
    assert "Forward" in ran
    assert len(set(ran) - {"Begin", "Stage"}) == (3 if name.startswith("gauss") else 2)


@pytest.mark.parametrize("name", ["discrete", "discrete, stages"])
def test_gradients_by_the_times_of_outputs_are_slopes_of_dense_output(name):
    found = []
    for compile in ("inductor", "trace"):
        t = torch.tensor([0.0, 0.35, 1.0, 1.4], dtype=torch.float64, requires_grad=True)
        solve(FIELD, compile, ADJOINTS[name], t=t, rtol=1e-3, atol=1e-5)
        found.append(t.grad)
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("bosh3", "discrete, stages"),
        ("euler", "discrete, stages"),  # whose last step evaluates no stage
        ("vern7", "discrete"),
        ("adaptive_heun", "gauss"),
        ("rk4", "backsolve"),
        ("heun2", "discrete"),
    ],
)
def test_methods_of_every_form(method, name, ran):
    """With and without error estimate, shared last stage, stages of the interpolant's own."""
    dt = 0.1 if method in FIXED_STEP_METHODS else None
    check_equal(FIELD, ADJOINTS[name], method=method, dt=dt, rtol=1e-3, atol=1e-5)
    assert len(set(ran) - {"Begin", "Stage"}) == (3 if name == "gauss" else 2)


@pytest.mark.slow
def test_backwards_in_time_with_rejected_steps():
    solution = check_equal(FIELD, BacksolveAdjoint(), t=(2.0, 0.5, -2.0), dt=1.5, rtol=1e-7)
    assert solution.stats.forward.nreject > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backsolve", "discrete", "interpolating"])
def test_a_discontinuity_is_a_stop(name):
    class Switched(Field):
        def forward(self, t, y):
            return super().forward(t, y) + torch.where(t < 0.5, 1.0, -2.0)

    check_equal(Switched(), ADJOINTS[name], discontinuities=[0.5])


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 10, 50, 200])
@pytest.mark.parametrize("times", [(0.0, 1.4), (1.4, 0.0)])
def test_few_and_many_outputs_in_a_step(times, count, summed):
    """A step weighs the cotangents of a few outputs by itself; of more, and of large ones, their sums are given."""
    grid = torch.linspace(*times, count, dtype=torch.float64).tolist()
    check_equal(FIELD, DiscreteAdjoint(keep="stages"), t=grid, rtol=1e-4, atol=1e-4, discontinuities=[0.8])
    assert any(summed) == (count > 10)


def test_cotangents_of_large_states_are_summed(summed, monkeypatch):
    monkeypatch.setattr(whole_sweep, "MOST_NUMBERS", 3)
    monkeypatch.setattr(attempts, "MOST_NUMBERS", 3)
    check_equal(FIELD, DiscreteAdjoint(keep="stages"), discontinuities=[0.5])
    assert set(summed) == {True}


def test_callbacks_see_the_same_steps():
    seen = {}
    for compile in ("inductor", "trace"):
        steps = seen[compile] = []
        watch = StepCallbacks(*(lambda t, y, h, steps=steps: steps.append((t, h)) for _ in range(4)))
        solve(FIELD, compile, BacksolveAdjoint(), callbacks=watch)
    torch.testing.assert_close(*seen.values(), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_nested_states():
    class Pair(Field):
        def forward(self, t, state):
            y, z = state
            return torch.tanh(y @ self.matrix), -z * y.sum()

    field, found = Pair(), []
    for compile in ("inductor", "trace"):
        field.zero_grad()
        y0 = (torch.ones(2, 2, dtype=torch.float64), torch.ones((), dtype=torch.float64))
        ys = pyseminorm.solve(field, y0, [0.0, 1.0], rtol=1e-6, backend="torch", compile=compile).ys
        sum(y.sum() for y in ys).backward()
        found.append([*ys, field.matrix.grad.clone()])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_float32_steps():
    tolerances = {"rtol": 1e-4, "atol": 1e-5}  # well above what float32 rounds
    found = [
        solve(Field(torch.float32), c, BacksolveAdjoint(), dtype=torch.float32, **tolerances)
        for c in ("inductor", "trace")
    ]
    (mine, made), (other, expected) = found
    assert abs(mine.stats.backward.naccept - other.stats.backward.naccept) <= 1
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


class Convolution(nn.Module):
    """The field of an ODE-Net: convolutions of a few channels."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1)).double()

    def forward(self, t, y):
        return self.net(y) * (1.0 + t)


class Attention(nn.Module):
    """A field whose points see each other."""

    def __init__(self):
        super().__init__()
        self.query, self.key = (nn.Linear(4, 4).double() for _ in range(2))

    def forward(self, t, y):
        return nn.functional.scaled_dot_product_attention(self.query(y), self.key(y), torch.tanh(y)) - y


class Normalised(nn.Module):
    """A field with operations that have several results, of which the product reads those that f does not."""

    def __init__(self):
        super().__init__()
        self.layers = (
            nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double().eval()
        )

    def forward(self, t, y):
        return self.layers(y)


@pytest.mark.slow
def test_operations_with_several_results(compiled):
    """The sweep gets tensors of the forward steps, and no tuple, which inductor would refuse."""
    check_equal(Normalised(), ADJOINTS["discrete, stages"], y0=torch.randn(3, 2, dtype=torch.float64))
    assert compiled == ["Begin", "Forward", "Reverse"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "shape", "name"), [(Convolution, (1, 2, 5, 5), "backsolve"), (Attention, (1, 3, 4), "discrete")]
)
def test_convolutions_and_attention(field, shape, name):
    check_equal(field(), ADJOINTS[name], y0=torch.randn(shape, dtype=torch.float64), rtol=1e-4)


@pytest.mark.slow
def test_a_failed_solve_says_the_same_and_keeps_the_last_good_state():
    errors = []
    for compile in ("inductor", "trace"):
        with pytest.raises(SolveError) as caught:
            solve(Field(), compile, BacksolveAdjoint(), max_steps=3)
        errors.append(caught.value)
    mine, other = (error.last_good_state for error in errors)
    assert str(errors[0]) == str(errors[1])
    torch.testing.assert_close(mine.t, other.t)
    torch.testing.assert_close(mine.y, other.y)


@pytest.mark.slow
def test_a_product_that_is_not_finite_is_named():
    """sqrt at zero: a finite value with an infinite derivative."""

    class Root(Field):
        def forward(self, t, y):
            return torch.sqrt(y * 0.0) + 0.0 * self.matrix.sum()

    for adjoint in (DiscreteAdjoint(), BacksolveAdjoint()):
        messages = []
        for compile in ("inductor", "trace"):
            with pytest.raises(SolveError) as caught:
                solve(Root(), compile, adjoint)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


@pytest.mark.slow
def test_an_optimisers_step_and_other_tolerances_compile_nothing_anew(compiled):
    field = pyseminorm.compile(Field(), backend="torch", mode="inductor")
    for rtol in (1e-5, 1e-6):
        first = len(compiled)
        with torch.no_grad():
            field.func.matrix.mul_(0.9)
        y0 = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
        ys = pyseminorm.solve(field, y0, [0.0, 1.0], rtol=rtol, adjoint=DiscreteAdjoint()).ys
        eager = pyseminorm.solve(field.func, y0, [0.0, 1.0], rtol=rtol, adjoint=DiscreteAdjoint(), backend="torch").ys
        torch.testing.assert_close(ys, eager)
        torch.testing.assert_close(*(torch.autograd.grad(x.sum(), field.func.matrix) for x in (ys, eager)))
    assert first == len(compiled) == 3


def test_a_compiler_that_fails_leaves_the_graph(caplog, monkeypatch):
    def failing(function, examples):
        raise RuntimeError("no C++ compiler")

    caplog.set_level(logging.INFO, logger="pyseminorm")
    monkeypatch.setattr(steps_module, "compile_graph", failing)
    field = Field()
    for _ in range(2):
        check_equal(field, DiscreteAdjoint())
    assert caplog.text.count("could not be compiled") == 3  # a beginning, a forward and a reverse step, each tried once
    assert "no C++ compiler" in caplog.text
    for name in ("backsolve", "backsolve, mu controlled", "interpolating"):
        solution = check_equal(field, ADJOINTS[name])
        assert solution.stats.backward.param_error is not None


@pytest.mark.parametrize("kept_whole", [2**14, 0])
@pytest.mark.parametrize("name", ["backsolve", "backsolve, mu controlled"])
def test_steps_of_both_kinds_add_up(monkeypatch, kept_whole, name):
    """Where some are compiled and others are not, with and without all parameters' embedded errors."""
    monkeypatch.setattr(embedded_errors, "KEPT_WHOLE", kept_whole)
    run, seen = steps_module.StepGraphs.run, []

    def failing(self, kind, constants, arguments):
        seen.append(type(kind).__name__ == "Backward")
        return None if seen[-1] and sum(seen) % 3 else run(self, kind, constants, arguments)

    monkeypatch.setattr(steps_module.StepGraphs, "run", failing)
    check_equal(FIELD, ADJOINTS[name])
    assert sum(seen) > 3


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_what_is_not_finite_in_a_step_is_nothing_to_the_outputs_before_it(ran, method):
    field, found = Cubic(), []
    for compile in ("inductor", "trace"):
        times = [0.0, *(0.013 + 0.1 * i for i in range(12))]
        found.append(solve_cubic(field, times, method, compile))
    mine, other = found
    assert "Forward" in ran and mine.retcode is other.retcode
    torch.testing.assert_close(mine.ys, other.ys, equal_nan=True)
    assert mine.ys[:3].isfinite().all() and mine.ys[-1].isnan().all()


def test_a_gradient_that_is_zero_has_no_error_to_control(ran):
    field = Idle()
    solution = check_equal(field, BacksolveAdjoint(param_rtol=1e-2))
    assert "Backward" in ran and solution.stats.backward.nreject < 10


@pytest.mark.parametrize("name", ["backsolve, mu controlled", "discrete"])
def test_a_field_that_depends_on_none_of_its_parameters(ran, name):
    class Apart(Field):
        def forward(self, t, y):
            return torch.sin(y)

    solution = check_equal(Apart(), ADJOINTS[name])
    assert "Forward" in ran and solution.stats.backward.param_error is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backsolve", "discrete, stages"])
def test_weights_that_are_one_of_several_results(ran, name):
    field = Field()
    field.layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2).double())
    field.forward = lambda t, y: torch.tanh(field.layer(y))
    check_equal(field, ADJOINTS[name])
    assert "Forward" in ran


def test_a_sweep_that_is_made_again_reports_every_step_once(monkeypatch):
    run = steps_module.StepGraphs.run

    def failing(self, kind, constants, arguments):  # the sweep's second step, say for want of memory to compile
        reverse = type(kind).__name__ == "Reverse"
        seen.append(reverse)
        return None if reverse and sum(seen) == 2 else run(self, kind, constants, arguments)

    seen, told = [], {}
    for compile in ("trace", "inductor"):
        seen.clear()
        ends = told[compile] = []
        callbacks = pyseminorm.StepCallbacks(accept_step_adjoint=lambda t, state, dt, ends=ends: ends.append(t))
        if compile == "inductor":
            monkeypatch.setattr(steps_module.StepGraphs, "run", failing)
        solve(FIELD, compile, DiscreteAdjoint(), callbacks=callbacks)
    assert told["inductor"] == pytest.approx(told["trace"])


def test_large_models_are_solved_stage_by_stage(ran, monkeypatch):
    monkeypatch.setattr(forms, "MOST_PARAMETERS", 6)
    check_equal(Field(), DiscreteAdjoint())
    assert not ran


def test_threads_compile_a_step_once(compiled):
    field, found = Field(), []

    def run():
        y0 = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
        ys = pyseminorm.solve(
            field, y0, [0.0, 1.0], backend="torch", compile="inductor", adjoint=DiscreteAdjoint()
        ).ys  # fmt: skip
        found.append(torch.autograd.grad(ys[-1].sum(), y0)[0])

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(compiled) == ["Begin", "Forward", "Reverse"]
    assert len(found) == 3 and torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_another_controllers_steps_are_made_stage_by_stage(ran):
    """Whose error estimate and dense output are others."""
    for adjoint in (DiscreteAdjoint(), BacksolveAdjoint()):
        check_equal(FIELD, adjoint, method="dopri5", controller="torchdiffeq")
    assert not ran


@pytest.mark.slow
def test_auto_makes_whole_steps_where_there_is_a_compiler(compiled, auto_finds_a_compiler):
    solve(Field(), "auto", DiscreteAdjoint())
    assert set(compiled) == {"Begin", "Forward", "Reverse"}


def test_auto_takes_the_graphs_where_there_is_none(compiled):
    solve(Field(), "auto", DiscreteAdjoint())
    assert not compiled


def test_a_step_that_could_not_be_compiled_keeps_nothing_of_the_one_before(monkeypatch):
    """The step after a jump is made stage by stage where only the others were compiled."""

    class Switched(Field):
        def forward(self, t, y):
            return super().forward(t, y) + torch.where(t < 0.5, 0.01, -0.01)

    compile = steps_module.StepGraphs._compile

    def refuse_some(self, kind, arguments):
        return None if getattr(kind, "renews", False) else compile(self, kind, arguments)

    monkeypatch.setattr(steps_module.StepGraphs, "_compile", refuse_some)
    solution = check_equal(Switched(), DiscreteAdjoint(keep="stages"), discontinuities=[0.5], rtol=1e-4, atol=1e-6)
    assert solution.stats.forward.nreject == 0  # so that this very step is one of those kept
