"""DiscreteAdjoint(keep="stages"): the same gradients, without a second evaluation of the stages."""

import weakref

import pytest
import torch
from problems import ContinuousFlow, Counted, Hamiltonian, Oscillating, batch, cotangents, relative

import pyseminorm
from pyseminorm import DiscreteAdjoint, PIController, ReturnCode, SolveError, StepCallbacks
from pyseminorm.methods.tableaus import BOSH3, METHODS, RK4, TABLEAUS
from pyseminorm.methods.tableaus import FIXED_STEP_METHODS as FIXED
from pyseminorm.passes.stages import StageCollector

ROUNDING = 1e-12
# Sweeps are compared with each other here, of steps that are as loose as they like.
pytestmark = pytest.mark.filterwarnings("ignore::pyseminorm.GradientErrorWarning")
TIMES = {"increasing": [0.0, 0.3, 0.33, 1.1, 2.0], "decreasing": [2.0, 1.7, 0.9, 0.88, 0.0]}
KEEPS = ("states", "stages")
KEPT = DiscreteAdjoint(keep="stages", verbose=False)  # no second look evaluates func again
BOLD = PIController(gamma=0.99, beta2=0.0)  # has steps rejected


def settings_of(method):
    adaptive = {"rtol": 1e-3, "atol": 1e-5, "controller": BOLD}
    return {"method": method, **({"dt": 0.13} if method in FIXED else adaptive)}


def both(func, y0, t, inputs, loss=None, **settings):
    """(gradients, solution) for each of what can be kept."""
    found = []
    for keep in KEEPS:
        s = pyseminorm.solve(func, y0, t, adjoint=DiscreteAdjoint(keep=keep), **settings)
        value = (s.ys * cotangents(*s.ys.shape)).sum() if loss is None else loss(s.ys)
        found.append((torch.autograd.grad(value, inputs, retain_graph=True, materialize_grads=True), s))
    return found


def check_same(plain, kept):
    """Equal gradients, for equal counts."""
    for a, b in zip(kept[0], plain[0], strict=True):
        assert relative(a, b) < ROUNDING if b.any() else not a.any()
    for counts in (lambda s: s.stats.forward, lambda s: s.stats.backward):
        a, b = counts(kept[1]), counts(plain[1])
        assert (a.nf, a.nvjp, a.naccept, a.nreject, a.times) == (b.nf, b.nvjp, b.naccept, b.nreject, b.times)


@pytest.mark.parametrize("order", TIMES)
@pytest.mark.parametrize("method", METHODS)
def test_the_gradients_are_those_of_kept_states(engine, method, order):
    field, y0 = Oscillating(width=16), batch(3).requires_grad_()
    t = torch.tensor(TIMES[order], dtype=torch.float64, requires_grad=True)
    with_times = both(field, y0, t, [y0, t, *field.parameters()], backend=engine, **settings_of(method))
    check_same(*with_times)
    check_same(*both(field, y0, TIMES[order], [y0, *field.parameters()], backend=engine, **settings_of(method)))
    assert with_times[1][1].stats.forward.nreject > 0 or method in FIXED


@pytest.mark.parametrize("method", METHODS)
def test_the_sweep_evaluates_nothing_but_a_first_stage(engine, method):
    field = Counted(Oscillating(width=8))
    s = pyseminorm.solve(field, batch(3), [0.0, 2.0], backend=engine, adjoint=KEPT, **settings_of(method))
    assert field.calls == s.stats.forward.nf
    field.calls = 0
    s.ys[-1].sum().backward()
    assert field.calls <= 1  # f(t0, y0) is the checking call's
    assert s.stats.backward.nvjp == s.stats.backward.evaluations > 1


@pytest.mark.parametrize("method, extra", [("tsit5", 0), ("vern7", 6)])
def test_outputs_inside_steps_evaluate_only_the_interpolants_own_stages(engine, method, extra):
    field = Counted(Oscillating(width=8))
    t = [x / 100 for x in range(201)]
    s = pyseminorm.solve(field, batch(3), t, backend=engine, adjoint=KEPT, **settings_of(method))
    field.calls = 0
    s.ys.sum().backward()
    assert field.calls <= 1 + extra * s.stats.forward.naccept


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", TIMES)
def test_discontinuities(engine, method, order):
    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)

    def func(t, y):
        return -w * y + torch.where(t > 0.8, -3.0, torch.where(t >= 0.3, 5.0, 0.0)).to(y.dtype) * torch.cos(w * y)

    y0, settings = batch(2).requires_grad_(), {"discontinuities": (0.3, 0.8), **settings_of(method)}
    field = Counted(func)
    check_same(*both(field, y0, TIMES[order], [y0, w], params=[w], backend=engine, **settings))
    s = pyseminorm.solve(field, y0, TIMES[order], params=[w], adjoint=KEPT, backend=engine, **settings)
    field.calls = 0
    s.ys[-1].sum().backward()
    assert field.calls <= 1


def test_float32(engine):
    field, y0 = Oscillating(torch.float32, width=16), batch(3, torch.float32).requires_grad_()
    plain, kept = both(
        Counted(field), y0, [0.1, 0.7, 1.1], [y0, *field.parameters()], loss=lambda ys: ys[1:].sum(), backend=engine
    )
    # The sweep makes stages of its own with another rounding than the solver's, which float32 gradients show.
    assert all(relative(a, b) < (1e-5 if engine == "torch" else 2e-4) for a, b in zip(kept[0], plain[0], strict=True))


@pytest.mark.parametrize("trace", [None, "trace"])
def test_args(engine, trace):
    def func(t, y, args):
        return torch.tanh(y @ args["w"].T + args["drive"] * torch.cos(7 * t)) - 0.3 * y

    y0 = batch(2).requires_grad_()
    w = torch.tensor([[0.4, -1.2], [0.9, 0.3]], dtype=torch.float64, requires_grad=True)
    drive = (2 * w[0]).clone()  # not a leaf
    settings = {"args": ({"w": w, "drive": drive},), "backend": engine, "compile": trace}
    check_same(*both(func, y0, TIMES["increasing"], [y0, drive, w], method="vern7", **settings))


@pytest.mark.parametrize("enable", [True, False], ids=["enable_grad inside", "bare autograd.grad"])
def test_functions_that_differentiate_inside(engine, enable):
    field, y0 = Hamiltonian(enable), batch(3).requires_grad_()
    check_same(*both(field, y0, TIMES["increasing"], [y0, *field.parameters()], backend=engine))


@pytest.mark.parametrize("trace", [None, "trace"])
def test_a_nested_state(engine, trace):
    field, z0 = ContinuousFlow(), batch(2).requires_grad_()
    state = (z0, torch.zeros(2, dtype=torch.float64))
    settings = {"loss": lambda ys: (ys[0][1:] ** 2).sum() + ys[1].sum(), "backend": engine, "compile": trace}
    check_same(*both(field, state, [0.0, 0.5, 0.8], [z0, *field.parameters()], method="bosh3", **settings))


class Mark:
    """Lives as long as the graph that it is in."""


class Marked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mark, y):
        ctx.mark = mark
        return y.clone()

    @staticmethod
    def backward(ctx, grad):
        return None, grad


class Remembering(Oscillating):
    """Knows which of its graphs are alive."""

    def __init__(self):
        super().__init__(width=8)
        self.marks = []

    def forward(self, t, y):
        mark = Mark()
        self.marks.append(weakref.ref(mark))
        return super().forward(t, Marked.apply(mark, y))

    @property
    def alive(self):
        return sum(x() is not None for x in self.marks)


def test_stages_of_accepted_steps_live_until_a_sweep(engine):
    field, y0 = Remembering(), batch(3).requires_grad_()
    s = pyseminorm.solve(field, y0, [0.0, 2.0], adjoint=DiscreteAdjoint(keep="stages"), controller=BOLD, backend=engine)
    steps = s.stats.forward
    assert steps.nreject > 0 and 6 * steps.naccept - 1 <= field.alive <= 6 * steps.naccept + 3
    (first,) = torch.autograd.grad(s.ys[-1].sum(), y0, retain_graph=True)
    assert field.alive == 0
    field.marks.clear()
    (again,) = torch.autograd.grad(s.ys[-1].sum(), y0)
    assert relative(again, first) < ROUNDING and len(field.marks) == s.stats.backward.nvjp and field.alive == 0


def test_stages_go_with_the_solution(engine):
    field = Remembering()
    s = pyseminorm.solve(field, batch(3), [0.0, 2.0], adjoint=DiscreteAdjoint(keep="stages"), backend=engine)
    assert field.alive > 0
    del s
    assert field.alive == 0


def test_callbacks_watch_the_same_steps(engine):
    def watched(keep):
        seen = []
        watch = StepCallbacks(*[lambda t, y, h, kind=kind: seen.append((kind, t)) for kind in range(3)])
        field, y0 = Oscillating(width=8), batch(3).requires_grad_()
        settings = {"callbacks": watch, "controller": BOLD, "backend": engine}
        s = pyseminorm.solve(field, y0, [0.0, 2.0], adjoint=DiscreteAdjoint(keep=keep), **settings)
        return torch.autograd.grad(s.ys[-1].sum(), y0)[0], seen

    (plain, steps), (kept, same) = watched("states"), watched("stages")
    assert steps == same and {kind for kind, _ in steps} == {0, 1, 2} and relative(kept, plain) < ROUNDING


def test_a_solve_that_stops_early(engine):
    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    settings = {"throw": False, "max_steps": 2000, "backend": engine}
    plain, kept = both(lambda t, y: y**2, y0, t, [y0], loss=lambda ys: ys[3].sum(), **settings)
    check_same(plain, kept)
    assert kept[1].retcode is not ReturnCode.Success
    with pytest.raises(SolveError, match="did not reach"):
        kept[1].ys[-1].sum().backward()


def test_a_sweep_after_one_that_was_broken_off(engine):
    class Broken(Exception):
        pass

    armed = []

    def tell(t, state, h):
        if armed and t < 1.0:
            raise Broken("on the way")

    field, y0 = Oscillating(width=8), batch(3).requires_grad_()
    settings = {"backend": engine, "callbacks": StepCallbacks(accept_step_adjoint=tell)}
    plain = both(field, y0, [0.0, 2.0], [y0, *field.parameters()], **settings)[0][0]
    s = pyseminorm.solve(field, y0, [0.0, 2.0], adjoint=DiscreteAdjoint(keep="stages"), **settings)
    loss = (s.ys * cotangents(*s.ys.shape)).sum()
    armed.append(True)
    with pytest.raises(Broken):
        torch.autograd.grad(loss, y0, retain_graph=True)
    armed.clear()
    found = torch.autograd.grad(loss, [y0, *field.parameters()])
    assert all(relative(a, b) < ROUNDING for a, b in zip(found, plain, strict=True))


class Labels:
    """A field whose values are labels, for the collector's order."""

    def evaluate_with_vjp(self, t, y):
        return y, None


@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=lambda x: x.name)
def test_a_collector_tells_stages_by_their_order(tableau):
    collector, later = StageCollector(Labels(), tableau), [f"stage {i}" for i in range(1, tableau.stages)]

    def attempt(*labels, accepted, step):
        for label in labels:
            collector(1.0 if label.startswith("stage") else 0.0, label)
        collector.end_attempt(accepted, step, 0.0, 1.0)

    first = [] if tableau.fsal else ["first"]
    if tableau.adaptive:
        attempt("probe", *first, *["bad"] * len(later), accepted=False, step=0)
    attempt("first", *later, accepted=True, step=0)
    if tableau.adaptive:
        attempt("extra", "extra", "first", *["bad"] * len(later), accepted=False, step=1)
    attempt(*first, *later, accepted=True, step=1)
    kept = collector.take()
    assert {n for n, _ in kept} == {0, 1} and collector.take() == {}
    assert all(stage.value == (f"stage {i}" if i else "first") for (_, i), stage in kept.items())


def test_a_collector_may_never_see_a_first_stage():
    collector = StageCollector(Labels(), BOSH3)
    for i in range(1, 4):
        collector(0.0, str(i))
    collector.end_attempt(True, 0, 0.0, 1.0)
    assert {i: stage.value for (_, i), stage in collector.take().items()} == {1: "1", 2: "2", 3: "3"}


@pytest.mark.parametrize("fresh", [True, False], ids=["with its first stage", "without"])
def test_a_fixed_step_may_leave_out_its_last_stage(fresh):
    collector = StageCollector(Labels(), RK4)
    labels = [*(["extra", "first"] if fresh else []), "stage 1", "stage 2", "stage 3"]
    for label in labels:
        collector({"stage 1": 2.5, "stage 2": 2.5, "stage 3": 3.0}.get(label, 2.0), label)
    collector.end_attempt(True, 7, 2.0, 1.0)
    kept = {i: stage.value for (_, i), stage in collector.take().items()}
    assert kept == {**({0: "first"} if fresh else {}), 1: "stage 1", 2: "stage 2", 3: "stage 3"}
