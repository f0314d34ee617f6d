"""Whole steps as compiled graphs: the same steps, values and gradients as stage by stage, in fewer calls."""

import threading

import pytest
import torch
from torch import nn
from whole_steps import ADJOINTS, FIELD, NEEDS_A_COMPILER, Field, check_equal, solve

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, SolveError, StepCallbacks
from pyseminorm.engines.torch import attempts, whole_sweep
from pyseminorm.methods.tableaus import FIXED_STEP_METHODS

pytestmark = NEEDS_A_COMPILER


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
def test_the_steps_are_those_made_stage_by_stage(name, ran_steps):
    check_equal(FIELD, ADJOINTS[name])
    assert set(ran_steps) == {"Begin", "Forward", *{"backsolve": ("Stage", "Backward"), "discrete": ("Reverse",)}[name]}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ADJOINTS.keys() - {"backsolve", "discrete"}))
def test_every_other_adjoint(name, ran_steps):
    check_equal(FIELD, ADJOINTS[name])
    assert "Forward" in ran_steps
    assert len(set(ran_steps) - {"Begin", "Stage"}) == (3 if name.startswith("gauss") else 2)


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
def test_methods_of_every_form(method, name, ran_steps):
    """With and without error estimate, shared last stage, stages of the interpolant's own."""
    dt = 0.1 if method in FIXED_STEP_METHODS else None
    check_equal(FIELD, ADJOINTS[name], method=method, dt=dt, rtol=1e-3, atol=1e-5)
    assert len(set(ran_steps) - {"Begin", "Stage"}) == (3 if name == "gauss" else 2)


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
def test_operations_with_several_results(compiled_steps):
    """The sweep gets tensors of the forward steps, and no tuple, which inductor would refuse."""
    check_equal(Normalised(), ADJOINTS["discrete, stages"], y0=torch.randn(3, 2, dtype=torch.float64))
    assert compiled_steps == ["Begin", "Forward", "Reverse"]


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
def test_an_optimisers_step_and_other_tolerances_compile_nothing_anew(compiled_steps):
    field = pyseminorm.compile(Field(), backend="torch", mode="inductor")
    for rtol in (1e-5, 1e-6):
        first = len(compiled_steps)
        with torch.no_grad():
            field.func.matrix.mul_(0.9)
        y0 = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
        ys = pyseminorm.solve(field, y0, [0.0, 1.0], rtol=rtol, adjoint=DiscreteAdjoint()).ys
        eager = pyseminorm.solve(field.func, y0, [0.0, 1.0], rtol=rtol, adjoint=DiscreteAdjoint(), backend="torch").ys
        torch.testing.assert_close(ys, eager)
        torch.testing.assert_close(*(torch.autograd.grad(x.sum(), field.func.matrix) for x in (ys, eager)))
    assert first == len(compiled_steps) == 3


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_what_is_not_finite_in_a_step_is_nothing_to_the_outputs_before_it(ran_steps, method):
    field, found = Cubic(), []
    for compile in ("inductor", "trace"):
        times = [0.0, *(0.013 + 0.1 * i for i in range(12))]
        found.append(solve_cubic(field, times, method, compile))
    mine, other = found
    assert "Forward" in ran_steps and mine.retcode is other.retcode
    torch.testing.assert_close(mine.ys, other.ys, equal_nan=True)
    assert mine.ys[:3].isfinite().all() and mine.ys[-1].isnan().all()


def test_a_gradient_that_is_zero_has_no_error_to_control(ran_steps):
    field = Idle()
    solution = check_equal(field, BacksolveAdjoint(param_rtol=1e-2))
    assert "Backward" in ran_steps and solution.stats.backward.nreject < 10


@pytest.mark.parametrize("name", ["backsolve, mu controlled", "discrete"])
def test_a_field_that_depends_on_none_of_its_parameters(ran_steps, name):
    class Apart(Field):
        def forward(self, t, y):
            return torch.sin(y)

    solution = check_equal(Apart(), ADJOINTS[name])
    assert "Forward" in ran_steps and solution.stats.backward.param_error is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backsolve", "discrete, stages"])
def test_weights_that_are_one_of_several_results(ran_steps, name):
    field = Field()
    field.layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2).double())
    field.forward = lambda t, y: torch.tanh(field.layer(y))
    check_equal(field, ADJOINTS[name])
    assert "Forward" in ran_steps


def test_threads_compile_a_step_once(compiled_steps):
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
    assert sorted(compiled_steps) == ["Begin", "Forward", "Reverse"]
    assert len(found) == 3 and torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
