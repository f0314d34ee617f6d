"""Who takes part in the comparison of speed: cases, peers and modes, each on a tiny case."""

import importlib.metadata
import importlib.util

import pytest

pytest.importorskip("matplotlib", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch
from found_julia import HAS_SENSITIVITY
from speed_cases import KINDS, OSCILLATING, TINY, measured
from typer.testing import CliRunner

from benchmarks.requirements import INSTALL
from benchmarks.speed import modes
from benchmarks.speed.__main__ import app
from benchmarks.speed.cases import CASES, Case, Problem, relative_error
from benchmarks.speed.peers import jax_packages, sciml, torch_packages
from benchmarks.speed.reference import Reference, disagreement, reference


def test_cases_span_what_they_should():
    assert [c.parameters for c in CASES if c.bar == 1] == [354]
    assert sum(p.numel() for p in Problem(TINY).params) == TINY.parameters
    assert len({c.name for c in CASES}) == len(CASES)
    assert min(c.parameters for c in CASES) == 354 and max(c.parameters for c in CASES) >= 1e7
    assert min(c.state for c in CASES) == 2 and max(c.state for c in CASES) == 1e5
    assert {c.outputs for c in CASES} >= {2, 1000} and {c.dtype for c in CASES} == {"float32", "float64"}


def test_the_field_takes_a_time_for_each_row():
    problem = Problem(OSCILLATING)
    times = torch.tensor([0.1, 0.2, 0.3])
    together = problem.field(times, problem.y0)
    one_by_one = torch.stack([problem.field(t, y[None])[0] for t, y in zip(times, problem.y0, strict=True)])
    assert torch.allclose(together, one_by_one, atol=1e-7) and together.abs().max() > 1e-3


@pytest.mark.peer("torchdiffeq")
def test_the_reference_agrees_with_torchdiffeq():
    problem = Problem(TINY)
    found = reference(problem)
    assert disagreement(problem, found) < 1e-8
    assert disagreement(problem, Reference(found.loss, found.gradient * (1 + 1e-6))) > 1e-7


def check_contender(contender, case):
    """The gradient is close to the reference, and the loss moves a little with the parameters."""
    problem = Problem(case)
    exact = reference(problem)
    solver = contender.make(problem, 1e-7)  # oscillating ones have errors of some 1e-3 at 1e-5
    solver.refresh()
    solver.step()
    made = solver.outcome()
    assert made.loss == pytest.approx(exact.loss, rel=1e-5)
    assert relative_error(made.gradient, exact.gradient) < 2e-4
    problem.change(1)
    solver.refresh()
    solver.step()
    assert 0 < abs(solver.outcome().loss - made.loss) < 1e-3
    return made


QUICK_PEERS = [c for c in torch_packages.peers()[0] if c.quick]  # the other one compiles for minutes


@pytest.mark.peer("torchdiffeq", "torchode")
@pytest.mark.parametrize("contender", QUICK_PEERS, ids=lambda c: c.name)
def test_peers_in_torch_solve_the_same_problem(contender):
    made = check_contender(contender, OSCILLATING)
    if contender.package != torch_packages.IMPORTED:  # whose calls nobody counts: a hook would be captured
        assert made.forward.nf > 5 and made.backward.nvjp > 5


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.kind)
def test_rows_of_a_field_are_states_of_their_own(case):
    """Each at its own time, as torchode asks for them."""
    problem = Problem(case)
    t = torch.linspace(0, 1, len(problem.y0))
    rows = [problem.field(moment, y.unsqueeze(0)) for moment, y in zip(t, problem.y0, strict=True)]
    torch.testing.assert_close(problem.field(t, problem.y0), torch.cat(rows))
    assert problem.y0.numel() == case.state and sum(p.numel() for p in problem.params) == case.parameters


def test_a_flow_has_the_trace_of_its_jacobian():
    problem = Problem(Case("flow", 3, 4, 1, 2, kind="flow"))
    jacobian = torch.autograd.functional.jacobian(lambda y: problem.field(problem.t[0], y), problem.y0)[0, :, 0]
    torch.testing.assert_close(problem.field(problem.t[0], problem.y0)[0, -1], -jacobian[:3, :3].trace())


@pytest.mark.peer("torchdiffeq", "torchode")
@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.kind)
def test_other_kinds_of_fields_are_solved_by_all(case):
    chosen = [c for c in QUICK_PEERS if c.name in (torch_packages.SEMINORM, "torchode AutoDiffAdjoint dopri5")]
    for contender in (*chosen, modes.mode("torch", "trace", "Backsolve", "tsit5")):
        check_contender(contender, case)


@pytest.mark.peer("jax", "diffrax")
def test_diffrax_refuses_what_is_not_written_for_it():
    (contender, *_), _ = jax_packages.peers()
    record = measured([contender], KINDS[0])
    assert "no field of the kind" in record.left_out[0]["why"]


@pytest.mark.peer("jax", "diffrax")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("adjoint", "case"), [("Backsolve", OSCILLATING), ("checkpointed", Case("f64", 2, 4, 3, 4, dtype="float64"))]
)
def test_diffrax_solves_the_same_problem(adjoint, case):
    found, _ = jax_packages.peers()
    (contender,) = (c for c in found if c.quick and adjoint in c.name)
    check_contender(contender, case)


@pytest.mark.julia
def test_scimlsensitivity_solves_the_same_problem():
    found, missing, versions = sciml.peers()
    if not HAS_SENSITIVITY:
        assert not found and "SciMLSensitivity" in missing[0]
        pytest.skip("the Julia project lacks SciMLSensitivity")
    assert "SciMLSensitivity" in versions
    for contender in found:
        made = check_contender(contender, TINY)
        assert made.forward.nf > 5 and made.backward.evaluations > 5


@pytest.mark.parametrize("how", [None, modes.COMPILED])
@pytest.mark.parametrize("adjoint", modes.ADJOINTS)
def test_modes_solve_the_same_problem(engine, adjoint, how):
    made = check_contender(modes.mode(engine, how, adjoint, "tsit5"), OSCILLATING)
    assert made.forward.naccept > 5


@pytest.mark.parametrize("adjoint", modes.WARM_ADJOINTS)
def test_a_warm_mode_is_measured_where_training_has_settled(engine, adjoint):
    counts = {}
    for warm in (False, True):
        contender = modes.mode(engine, modes.COMPILED, adjoint, "tsit5", warm=warm)
        assert contender.name.endswith(" warm") == (contender.settings["start"] == "warm") == warm
        solver = contender.make(Problem(TINY), 1e-5)
        solver.step()
        first, settled = solver._stats.forward.nf, solver.outcome().forward.nf
        counts[warm] = first, settled
    assert counts[False][0] == counts[False][1] == counts[True][0] > counts[True][1]


def test_modes_are_every_combination_and_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(modes, "julia_missing", lambda: None)
    found, missing = modes.modes()
    warm = [c for c in found if c.settings["start"]]
    assert missing == [] and len({c.name for c in found}) == len(found) == 96
    assert len(found) - len(warm) == 8 * 2 * len(modes.ADJOINTS) and len(warm) == 4 * 2 * len(modes.WARM_ADJOINTS)
    assert {"julia+julia Gauss dopri5", "torch+compiled Gauss tsit5"} <= {c.name for c in found}
    monkeypatch.setattr(modes, "julia_missing", lambda: "there is none")
    found, missing = modes.modes()
    assert len(found) == 4 * 2 * len(modes.ADJOINTS) + 8 and {c.settings["backend"] for c in found} == {"torch"}
    assert "there is none" in missing[0]


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert len(torch_packages.peers()[1]) == 2 and "torchode is not installed" in torch_packages.peers()[1][1]
    assert jax_packages.peers() == ([], [f"jax and diffrax not installed: {INSTALL}"])
    done = CliRunner().invoke(app, ["--quick"])
    assert done.exit_code == 1 and INSTALL in done.output
