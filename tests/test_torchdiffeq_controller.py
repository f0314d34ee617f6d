"""controller="torchdiffeq": the step sequence of the installed torchdiffeq, forward and backward."""

import dataclasses

import pytest
import torch
from problems import MLP, Linear, LotkaVolterra, Oscillating, Pendulum, batch, relative

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    SolveError,
    StepCallbacks,
    TorchdiffeqController,
)

METHODS = ("dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2")
LOW = ("adaptive_heun", "fehlberg2", "bosh3")
T = [0.1, 0.5, 0.6, 2.0]


class Jump(torch.nn.Module):
    """A control that switches at t = 1."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t, y):
        return -self.gain * y if t < 1.0 else torch.cos(y)


@dataclasses.dataclass
class Case:
    """A problem, and the settings of its solve in both languages of options."""

    field: object
    y0: torch.Tensor = dataclasses.field(default_factory=lambda: batch(3))
    t: list = dataclasses.field(default_factory=lambda: T)
    method: str = "dopri5"
    theirs: dict = dataclasses.field(default_factory=dict)
    ours: dict = dataclasses.field(default_factory=dict)
    rtol: float = 1e-5
    norm: str = "torchdiffeq"


CASES = {
    "dopri5": lambda: Case(MLP(width=8)),
    "dopri5, seminorm": lambda: Case(MLP(width=8), norm="torchdiffeq_seminorm"),
    "bosh3": lambda: Case(LotkaVolterra(), y0=batch(2).abs() + 0.5, method="bosh3"),
    "dopri8": lambda: Case(Oscillating(width=8), method="dopri8", rtol=1e-6),
    "adaptive_heun": lambda: Case(Linear(), method="adaptive_heun", rtol=1e-4),
    "fehlberg2, decreasing": lambda: Case(Pendulum(), t=T[::-1], method="fehlberg2"),
    "rejections": lambda: Case(Pendulum(), theirs={"first_step": 5.0}, ours={"dt": 5.0}),
    "a jump": lambda: Case(Jump(), theirs={"jump_t": torch.tensor([1.0])}, ours={"discontinuities": [1.0]}),
    "step_t": lambda: Case(
        Oscillating(width=8),
        theirs={"step_t": torch.tensor([1.0, 0.3], dtype=torch.float64)},
        ours={"tstops": [0.3, 1.0]},
    ),
    "step_t behind the end": lambda: Case(
        MLP(width=8),
        theirs={"step_t": torch.tensor([1.0, T[-1] + 0.01], dtype=torch.float64)},
        ours={"tstops": [1.0, T[-1] + 0.01]},
    ),
    "bounds and factors": lambda: Case(
        Oscillating(width=8),
        theirs={"min_step": 0.01, "max_step": 0.08, "safety": 0.8, "ifactor": 3.0, "dfactor": 0.3},
        ours={"dtmin": 0.01, "dtmax": 0.08, "controller": TorchdiffeqController(0.8, 3.0, 0.3)},
    ),
}


class Watched(torch.nn.Module):
    """A field whose calls are counted, with torchdiffeq's callbacks."""

    def __init__(self, field):
        super().__init__()
        self.field, self.counts = field, dict.fromkeys(("nfe", "accept", "reject"), 0)
        for name in ("accept", "reject"):
            for suffix in ("", "_adjoint"):
                setattr(self, f"callback_{name}_step{suffix}", lambda t, y, dt, name=name: self.count(name))

    def count(self, name):
        self.counts[name] += 1

    def take(self):
        taken = dict(self.counts)
        self.counts = dict.fromkeys(taken, 0)
        return taken

    def forward(self, t, y):
        self.count("nfe")
        return self.field(t, y)


def by_torchdiffeq(case, y0):
    import torchdiffeq

    func, t = Watched(case.field), torch.tensor(case.t, dtype=torch.float64)
    adjoint = {"adjoint_options": {**case.theirs, "norm": "seminorm"}} if "seminorm" in case.norm else {}
    ys = torchdiffeq.odeint_adjoint(
        func, y0, t, rtol=case.rtol, atol=1e-3 * case.rtol, method=case.method, options=dict(case.theirs), **adjoint
    )
    forward = func.take()
    gradients = torch.autograd.grad(ys.pow(2).sum(), [y0, *case.field.parameters()])
    return ys.detach(), gradients, forward, func.take()


def by_us(case, y0, adjoint=None, **settings):
    func = Watched(case.field)
    watch = {name: getattr(func, f"callback_{name}") for name in ("accept_step", "reject_step")}
    watch |= {f"{name}_adjoint": call for name, call in watch.items()}
    settings = {"controller": "torchdiffeq", **case.ours, **settings}
    s = pyseminorm.solve(
        func,
        y0,
        case.t,
        method=case.method,
        rtol=case.rtol,
        atol=1e-3 * case.rtol,
        adjoint=adjoint or BacksolveAdjoint(norm=case.norm, scale_invariant=False),
        callbacks=StepCallbacks(**watch),
        **settings,
    )
    forward = func.take()
    gradients = torch.autograd.grad(s.ys.pow(2).sum(), [y0, *case.field.parameters()])
    return s.ys.detach(), gradients, forward, func.take()


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("name", CASES)
def test_it_takes_the_steps_of_torchdiffeq(name):
    case = CASES[name]()
    y0 = case.y0.requires_grad_()
    theirs, ours = by_torchdiffeq(case, y0), by_us(case, y0)
    assert ours[2:] == theirs[2:]  # calls of func, accepted and rejected steps, of both passes
    rounding = 1e-5 if case.method == "dopri8" else 1e-10  # its estimates of the error cancel to few digits
    assert relative(ours[0], theirs[0]) < rounding
    assert all(relative(a, b) < rounding for a, b in zip(ours[1], theirs[1], strict=True))


@pytest.mark.peer("torchdiffeq")
def test_the_time_gradient_is_part_of_its_backward_state():
    import torchdiffeq

    field, y0 = Oscillating(width=8), batch(3)
    t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    theirs, ours = Watched(field), Watched(field)
    ys = torchdiffeq.odeint_adjoint(theirs, y0, t, rtol=1e-6, atol=1e-9)
    theirs.take()
    (expected,) = torch.autograd.grad(ys.pow(2).sum(), t)
    adjoint = BacksolveAdjoint(norm="torchdiffeq", scale_invariant=False)
    s = pyseminorm.solve(ours, y0, t, method="dopri5", rtol=1e-6, atol=1e-9, adjoint=adjoint, controller="torchdiffeq")
    ours.take()
    (found,) = torch.autograd.grad(s.ys.pow(2).sum(), t)
    assert ours.take()["nfe"] == theirs.take()["nfe"]
    assert relative(found, expected) < 1e-5  # the first is theirs to the tolerance alone: it is no a_t here


@pytest.mark.parametrize("method", [*METHODS, "tsit5", "vern7"])
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint, DiscreteAdjoint])
def test_every_adjoint_follows_it(adjoint, method):
    case = Case(Pendulum(), method=method, rtol=1e-4 if method in LOW else 1e-6)
    y0 = case.y0.requires_grad_()
    if adjoint is DiscreteAdjoint and method in LOW[:2]:
        with pytest.raises(InvalidInputError, match=f"{method}.*torchdiffeq.*another adjoint"):
            by_us(case, y0, adjoint())
        return
    ys = pyseminorm.solve(case.field, y0, case.t, method="vern7", rtol=1e-10, atol=1e-10, backend="torch").ys
    exact = torch.autograd.grad(ys.pow(2).sum(), [y0, *case.field.parameters()])
    for settings in ({}, {"discontinuities": [0.55, 1.3]}):
        found = by_us(case, y0, adjoint(), **settings)
        bound = 0.2 if method in LOW else 0.02  # outputs are read from its quartic, which is coarser than its steps
        assert all(relative(a, b) < bound for a, b in zip(found[1], exact, strict=True))


@pytest.mark.parametrize("keep", ["states", "stages", "checkpoints"])
def test_the_discrete_gradient_is_that_of_the_numbers(keep):
    """By central differences through the same steps: of a linear field they are the same for all states."""
    y0 = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    s = pyseminorm.solve(
        lambda t, y: -y * torch.cos(t),
        y0,
        T,
        method="dopri5",
        rtol=1e-2,
        atol=1e-12,
        controller="torchdiffeq",
        adjoint=DiscreteAdjoint(keep=keep),
    )
    assert s.stats.forward.times[-1] > T[-1]
    (gradient,) = torch.autograd.grad(s.ys[2:].sum(), y0)
    assert relative(gradient, s.ys[2:].detach().sum()) < 1e-13


def test_its_steps_go_beyond_the_end_and_ours_do_not():
    y0, times = batch(3), []

    def func(t, y):
        times.append(t.item())
        return -y

    s = pyseminorm.solve(func, y0, T, method="dopri5", controller="torchdiffeq", dense=True)
    assert max(times) > T[-1] and s.backend == "torch"
    assert torch.equal(s.interpolate(T[-1]), s.ys[-1])
    times.clear()
    pyseminorm.solve(func, y0, T, method="dopri5", backend="torch")
    assert max(times) <= T[-1]


def test_a_solve_that_fails_says_so():
    def blow_up(t, y):
        return y * y

    with pytest.raises(SolveError) as caught:
        pyseminorm.solve(blow_up, torch.ones(1), [0.0, 2.0], method="dopri5", controller="torchdiffeq")
    assert 0.9 < caught.value.last_good_state.t <= 1.01
    with pytest.raises(SolveError, match=r"MaxIters"):
        pyseminorm.solve(blow_up, torch.ones(1), [0.0, 0.9], method="dopri5", controller="torchdiffeq", max_steps=2)


def test_it_is_refused_where_it_cannot_be():
    with pytest.raises(InvalidInputError, match=r"torchdiffeq.*backend=.torch"):
        pyseminorm.solve(lambda t, y: -y, batch(1), T, controller="torchdiffeq", backend="julia")
    with pytest.raises(InvalidInputError, match=r"expected a pyseminorm.PIController or"):
        pyseminorm.solve(lambda t, y: -y, batch(1), T, controller="torchode")
    with pytest.raises(InvalidInputError, match=r"safety=0"):
        TorchdiffeqController(safety=0)
