"""Speed: the ladder, turns, what is left out, records, the report, and the peers on a tiny case."""

import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
import signal
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("matplotlib", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch
from found_julia import HAS_SENSITIVITY
from typer.testing import CliRunner

from benchmarks.requirements import INSTALL
from benchmarks.speed import bars, command, first, machine, measure, memory, modes, outputs, report
from benchmarks.speed.__main__ import app
from benchmarks.speed.cases import CASES, GPU, Case, Problem, relative_error
from benchmarks.speed.contender import Contender, Outcome
from benchmarks.speed.contenders import find_contenders
from benchmarks.speed.fields import KINDS as KIND_NAMES
from benchmarks.speed.measure import Plan
from benchmarks.speed.peers import jax_packages, sciml, torch_packages
from benchmarks.speed.records import CaseRecord, Record, Row, load
from benchmarks.speed.reference import Reference, disagreement, reference
from benchmarks.speed.work_precision import COMPARED, LADDER, descend, first_rung
from pyseminorm import UnsupportedError
from pyseminorm.engines.julia.session import detect

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed"
needs_results = pytest.mark.skipif(not RESULTS.exists(), reason="the results are in a checkout only")
TINY = Case("tiny", 2, 4, 3, 3, bar=1)
OSCILLATING = Case("tiny-oscillating", 2, 4, 3, 4, oscillating=True)


@pytest.fixture
def no_julia(monkeypatch):
    monkeypatch.setattr(detect, "find_julia", lambda: detect.NoJulia("there is none"))


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Garbage is collected before every turn, which takes a second with all packages loaded."""
    monkeypatch.setattr(measure, "gc", SimpleNamespace(collect=lambda: None))


def row(contender, seconds, error, tolerance=COMPARED, package=None, **settings):
    made = [seconds] if seconds else []
    package = package or ("pyseminorm" if settings else contender.split()[0])
    return Row(contender, package, tolerance, 1.0, error, 0.1, settings=settings, seconds=made)


class Clock:
    """Time that passes when a stub says so."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(measure, "time", made)
    return made


class Stub:
    """A solver whose gradient has a relative error of its choice; it notes the parameter that it sees."""

    def __init__(self, name, problem, error, log, *, loss=1.0, clock=None, takes=0.0, stuck=False):
        self.name, self.problem, self.error, self.log, self.loss = name, problem, error, log, loss
        self.clock, self.takes, self.stuck = clock, takes, stuck

    def refresh(self):
        self.seen = float(self.problem.params[0].detach().flatten()[0])

    def step(self):
        self.log.append((self.name, self.seen))
        if self.clock is not None:
            self.clock.now += self.takes
        if self.stuck:
            signal.pause()  # until the limit's alarm

    def outcome(self):
        return Outcome(self.loss, torch.tensor([1.0 + self.error, 0.0], dtype=torch.float64))


def stub(name, error, log, *, ours=False, refuse=None, **kwargs):
    """``error``: of a tolerance."""

    def make(problem, tolerance):
        if refuse:
            raise refuse
        return Stub(f"{name} {tolerance:.0e}", problem, error(tolerance), log, **kwargs)

    return Contender(name, "pyseminorm" if ours else name, make, {"adjoint": "A"} if ours else {})


def measured(contenders, case=TINY, **plan):
    problem, record = Problem(case), CaseRecord(asdict(case))
    exact = Reference(1.0, torch.tensor([1.0, 0.0], dtype=torch.float64))
    measure.measure(problem, exact, contenders, Plan(**{"repeats": 2, "limit": 5.0, **plan}), record, lambda _: None)
    return record


def test_the_ladder_is_fixed():
    assert LADDER[0] == pytest.approx(1e-1) and LADDER[-1] == pytest.approx(1e-9) and len(LADDER) == 17
    assert all(b / a == pytest.approx(10**-0.5) for a, b in itertools.pairwise(LADDER))


def test_the_descent_stops_at_the_first_rung_that_meets_the_target():
    errors = {1e-2: 5.0, 1e-3: 2.0, 1e-4: 1.0, 1e-5: 0.1}
    visited = descend(lambda t: (t, errors[t]), lambda rung: rung[1], 1.0, list(errors))
    assert [t for t, _ in visited] == [1e-2, 1e-3, 1e-4]
    assert len(descend(lambda t: None if t < 1e-3 else t, lambda _: 9.0, 1.0, list(errors))) == 2


def test_the_first_rung_is_the_loosest_that_is_good_enough_not_the_best():
    rows = [row("m", 1.0, e, t) for t, e in ((1e-2, 3e-3), (1e-3, 1e-3), (1e-4, 2e-3), (1e-5, 1e-6))]
    assert first_rung(rows, 1e-3).tolerance == 1e-3
    assert first_rung(rows, 9e-4).tolerance == 1e-5
    assert first_rung(rows, 1e-9) is None


def test_peers_run_at_the_compared_tolerance_and_modes_at_the_rungs_that_meet_them():
    log = []
    record = measured(
        [
            stub("loose", lambda _: 1.1e-3, log),
            stub("tight", lambda _: 1.1e-5, log),
            stub("mode", lambda t: t, log, ours=True),
        ]
    )
    timed = {(r.contender, round(r.tolerance, 9)) for r in record.rows if r.seconds}
    assert timed == {("loose", 1e-5), ("tight", 1e-5), ("mode", 1e-3), ("mode", 1e-5)}
    visited = [r.tolerance for r in record.rows if r.contender == "mode"]
    assert visited == list(LADDER[:9])  # to 1e-5, which meets the tightest target, and no further


def test_what_made_its_first_step_within_the_budget_is_timed(clock):
    log = []
    slow = [stub(name, lambda t: t, log, clock=clock, takes=20.0) for name in ("first", "second")]
    record = measured([*slow, stub("mode", lambda t: 0.0, log, ours=True, clock=clock)], budget=30.0, limit=60.0)
    assert {row.contender for row in record.rows if row.seconds} == {"first", "second"}
    assert record.left_out[0]["contender"].startswith("mode") and "no time was left" in record.left_out[0]["why"]


def test_contenders_take_turns_and_see_the_same_changing_parameters(clock):
    log = []
    long = 1.5 * measure.TURN  # one step to warm up and one that counts
    measured([stub(name, lambda _: 1e-3, log, clock=clock, takes=long) for name in ("a", "b")], repeats=3)
    turns = log[2:]  # after one step of each for the error
    order = [name.split()[0] for i, (name, _) in enumerate(turns) if i == 0 or turns[i - 1][0] != name]
    assert order == ["a", "b", "a", "b"]  # a, b; then b, a; then a, b: the one that comes first changes
    seen = {name: [value for n, value in turns if n.startswith(name)] for name in ("a", "b")}
    assert seen["a"] == seen["b"] and len(seen["a"]) == 3 * 2
    assert max(Counter(seen["a"]).values()) == 1
    assert log[0][1] == log[1][1] == float(Problem(TINY).params[0].detach().flatten()[0])


def test_what_is_compared_takes_its_turns_before_what_is_only_drawn(monkeypatch):
    monkeypatch.setattr(measure, "TURN", 1e9)  # turns of the same length however slow the machine is
    monkeypatch.setattr(measure, "SLOW", 1e9)
    log = []
    both = [stub("peer", lambda _: 1.1e-2, log), stub("mode", lambda t: t, log, ours=True)]
    compared = measured(both, repeats=4).rows
    made = len(log)  # the same steps come first where curves are drawn, but for the first ones of the rows of the curve
    drawn = measured(both, case=replace(TINY, curve=True), repeats=4).rows
    first = [name for name, _ in log[made + len(drawn) :]]
    assert first[: made - len(compared)] == [name for name, _ in log[len(compared) : made]]
    assert [len(r.seconds) for r in compared if r.seconds] == [4 * measure.LONGEST_TURN] * 2
    few = [r for r in drawn if r.tolerance not in (1e-5, 1e-2)]
    assert {len(r.seconds) for r in few} == {measure.CURVE_REPEATS * measure.LONGEST_TURN} and len(few) == 6


def test_a_slow_contender_gets_few_repeats_and_no_step_to_warm_up(clock):
    log, takes = [], 1.5 * measure.VERY_SLOW
    (found,) = measured([stub("slow", lambda _: 1e-3, log, clock=clock, takes=takes)], repeats=9).rows
    assert found.seconds == pytest.approx([takes] * measure.FEW_REPEATS) and len(log) == 1 + 1 + measure.FEW_REPEATS


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"refuse": UnsupportedError("no such case")}, "UnsupportedError: no such case"),
        ({"loss": 1.01}, "its loss is 1.01"),
        ({"stuck": True}, "over 0.2 s"),
    ],
)
def test_what_cannot_be_measured_is_left_out_by_name(monkeypatch, kwargs, says):
    monkeypatch.setattr(measure, "COMPILING", 0.0)
    record = measured([stub("odd", lambda _: 1e-3, [], **kwargs), stub("fine", lambda _: 1e-3, [])], limit=0.2)
    assert [r.contender for r in record.rows] == ["fine"]
    (left,) = record.left_out
    assert left["contender"] == "odd at 1e-05" and says in left["why"]


def test_one_that_is_too_slow_when_timed_keeps_no_times():
    class Late(Stub):
        def step(self):
            super().step()
            self.stuck = True

    late = Contender("late", "late", lambda problem, _: Late("late", problem, 1e-3, []))
    record = measured([late], limit=0.1)
    assert record.rows[0].seconds == [] and "over 0.1 s" in record.left_out[0]["why"]


def test_parameters_change_in_place_and_a_little():
    problem = Problem(TINY)
    before, addresses = [p.detach().clone() for p in problem.params], [p.data_ptr() for p in problem.params]
    problem.change(1)
    assert [p.data_ptr() for p in problem.params] == addresses
    for p, start in zip(problem.params, before, strict=True):
        assert 0 < ((p - start).norm() / start.norm()).item() < 1e-3
    problem.change(0)
    assert all(torch.equal(p, first) for p, first in zip(problem.params, before, strict=True))


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


KINDS = [Case(kind, 2, 3, 4, 3, kind=kind) for kind in KIND_NAMES]


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


def test_the_script_for_a_gpu_names_cases_and_contenders_that_there_are():
    script = (ROOT / "benchmarks" / "gpu.sh").read_text()
    known = {case.name for case in (*CASES, *GPU)}
    named = re.findall(r"cases=\((.*)\)", script)
    assert len(named) == 2 and {name for names in named for name in names.split()} <= known
    contenders = re.findall(r"--contender '(.*)'", script)
    assert len(contenders) == 7 and set(contenders) >= {torch_packages.SEMINORM}
    if importlib.util.find_spec("torchode") is not None:
        assert set(contenders) <= {c.name for c in find_contenders("cuda")[0]}


@pytest.mark.slow
def test_a_device_runs_the_embedded_engine_and_packages_in_pytorch(tmp_path, monkeypatch):
    """By the options of the script for a GPU, on a tiny case."""
    monkeypatch.setattr(command, "GPU", KINDS)
    options = ["--threads", "all", "--section", "cases", "--section", "first", "--no-curves", "--repeats", "1"]
    chosen = [f"--contender={name}" for name in ("torch+trace Discrete-stages tsit5", torch_packages.SEMINORM)]
    monkeypatch.setattr(first, "_in_process", in_this_process)
    done = CliRunner().invoke(app, ["--device", "cpu", "--out", str(tmp_path), "--case", "flow", *options, *chosen])
    assert done.exit_code == 0, done.output
    record = load(tmp_path / "all-cores.json")
    assert len({r.contender for r in record.cases[0].rows if r.seconds}) == 2 == len(record.sections["first"])


def in_this_process(case, contender, device):
    chosen = next(c for c in find_contenders(device)[0] if c.name == contender)
    return first.measured(next(c for c in KINDS if c.name == case), chosen, device)


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


def test_modes_are_every_combination_and_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(modes, "julia_missing", lambda: None)
    found, missing = modes.modes()
    assert missing == [] and len({c.name for c in found}) == len(found) == 8 * 2 * len(modes.ADJOINTS) == 80
    assert {"julia+julia Gauss dopri5", "torch+compiled Gauss tsit5"} <= {c.name for c in found}
    monkeypatch.setattr(modes, "julia_missing", lambda: "there is none")
    found, missing = modes.modes()
    assert len(found) == 4 * 2 * len(modes.ADJOINTS) and {c.settings["backend"] for c in found} == {"torch"}
    assert "there is none" in missing[0]


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert len(torch_packages.peers()[1]) == 2 and "torchode is not installed" in torch_packages.peers()[1][1]
    assert jax_packages.peers() == ([], [f"jax and diffrax not installed: {INSTALL}"])
    done = CliRunner().invoke(app, ["--quick"])
    assert done.exit_code == 1 and INSTALL in done.output


def test_a_busy_machine_is_named(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 9.0, 9.0))
    assert machine.busy() is None
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert "load 99.0" in machine.busy()


def test_the_spread_is_that_of_the_quartiles():
    found = row("m", 1.0, 1e-3)
    assert found.spread is None
    found.seconds = [1.0, 2.0, 3.0, 4.0, 100.0]
    assert found.spread == pytest.approx((4 - 2) / 3) and found.median == 3.0


def test_one_thread_is_one_core_and_everything_is_put_back():
    before = (torch.get_num_threads(), dict(os.environ), machine.cores())
    with machine.threads(1):
        assert torch.get_num_threads() == 1 and "false" in os.environ["XLA_FLAGS"]
        assert machine.cores() == 1 or not hasattr(os, "sched_setaffinity")
    assert (torch.get_num_threads(), dict(os.environ), machine.cores()) == before


def record_with(rows, **sections):
    record = Record({"processor": "P"}, {"torch": "2"}, {"threads": 1, "repeats": 3, "command": "benchmarks.speed"})
    record.notes.append("no Julia here")
    case = CaseRecord(asdict(CASES[0]), "exact", 1.0, rows)
    case.leave_out("torch Gauss tsit5 at 1e-02", "UnsupportedError: not this")
    record.cases.append(case)
    record.sections.update(sections)
    return record


OURS = {"backend": "torch", "compile": "", "method": "tsit5"}
ROWS = [
    row(torch_packages.SEMINORM, 0.8, 1e-5, package="torchdiffeq"),
    row("diffrax a", 0.03, 1e-6),
    row("diffrax b", 0.01, 1e-4),
    row("torch Discrete tsit5", 0.02, 5e-5, 1e-2, adjoint="Discrete", **OURS),
    row("torch Discrete tsit5", 0.04, 1e-5, 1e-3, adjoint="Discrete", **OURS),
    row("torch Backsolve tsit5", None, 5e-5, 1e-2, adjoint="Backsolve", **OURS),
    row("torch Backsolve tsit5", 0.1, 9e-6, 1e-3, adjoint="Backsolve", **OURS),
]


def test_bars_compare_at_equal_or_smaller_error():
    rows = [
        *ROWS,
        row("torchode a", 0.16, 1e-5),
        row(torch_packages.ADJOINT, 0.6, 2e-5),
        row(f"{torch_packages.ADJOINT}, import changed", 0.15, 3e-5, package=torch_packages.IMPORTED),
    ]
    found = {title: cells[0] for title, cells in bars.verdicts(record_with(rows)).items()}
    ratios = [found[bar.title].found for bar in bars.BARS]
    # None of ours is guarded; of diffrax the fastest is b, whose error is met at 1e-2
    assert ratios == [pytest.approx(20.0), None, *map(pytest.approx, (8.0, 0.5, 20.0, 4.0, 0.5, 4.0))]
    assert [found[bar.title].met for bar in bars.BARS] == [False, None, False, False, False, False, True, True]


def test_the_explicit_object_is_not_guarded():
    ours = {"backend": "torch", "method": "tsit5", "adjoint": "Discrete"}
    rows = [
        row(f"torch+{how} Discrete tsit5", seconds, 1e-5, 1e-3, compile=how, **ours)
        for how, seconds in (("trace", 0.016), (modes.COMPILED, 0.008))
    ]
    found = bars.verdicts(record_with([*ROWS, *rows]))
    assert found[bars.GUARDED.title][0].found == pytest.approx(50)
    assert found[bars.BEST.title][0].found == pytest.approx(100)


def test_the_other_bars_read_their_sections():
    settings = {"backend": "torch", "compile": "", "adjoint": "Backsolve"}
    record = record_with(
        ROWS,
        overhead=[{"case": "case2", "settings": settings, "ratio": 1.25}],
        outputs=[{"settings": {**settings, "adjoint": "Discrete"}, "ratio": 1.2}],
        memory=[{"backend": "torch", "adjoint": "Gauss", "parameter_bytes": 4e7, "backward_bytes": 1e8}],
    )
    cells = next(cells for title, cells in bars.verdicts(record).items() if "torch engine, BacksolveAdjoint" in title)
    assert [(c.found, c.met) for c in cells] == [(None, None), (1.25, True), (None, None), (None, None)]
    assert [(cell.found, cell.met) for _, cell in bars.further(record)] == [(1.2, False), (2.5, True)]


def test_a_record_comes_back_from_its_file(tmp_path):
    record = record_with(ROWS)
    record.save(tmp_path / "one-thread.json")
    assert asdict(load(tmp_path / "one-thread.json")) == asdict(record)
    assert [p.name for p in tmp_path.iterdir()] == ["one-thread.json"]


def test_the_report_has_tables_bars_notes_and_plots(tmp_path):
    record_with(ROWS).save(tmp_path / "results" / "one-thread.json")
    to = tmp_path / "docs" / "performance.md"
    done = CliRunner().invoke(app, ["report", str(tmp_path / "results"), "--to", str(to)])
    assert done.exit_code == 0, done.output
    text = to.read_text()
    assert '| best mode over torchdiffeq "seminorm" | 20 (≥ 200, **not met**) | – (≥ 20) |' in text
    assert "no Julia here" in text and "torch Gauss tsit5 at 1e-02: UnsupportedError: not this" in text
    assert "| diffrax a | 30 | 1.0e-06 | none reaches it |" in text
    assert "](performance/case1-1-threads.png)" in text
    assert {f.name for f in (to.parent / "performance").iterdir()} == {"case1-1-threads.png"}
    tables = [line.count("|") for line in text.splitlines() if line.startswith("| torch Disc")]
    assert tables and len(set(tables)) == 1


@needs_results
def test_the_page_is_what_the_records_say():
    page = re.sub(r"!\[.*\n\n", "", (ROOT / "docs" / "performance.md").read_text())
    for file in RESULTS.glob("*.json"):
        assert report.text(load(file)).strip() in page, f"make docs/performance.md again: {file.name} has changed"


def test_a_report_of_nothing_says_so(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 1 and "has no *.json" in done.output


def bench(tmp_path, *arguments):
    return CliRunner().invoke(app, ["--out", str(tmp_path), *arguments])


@pytest.mark.peer("torchdiffeq")
def test_the_command_measures_a_tiny_case(tmp_path, monkeypatch, no_julia):
    monkeypatch.setattr(command, "CASES", (TINY,))
    chosen = ["--case", "tiny", "--contender", "torchdiffeq*", "--contender", "torch Discrete*"]
    done = bench(tmp_path, "--quick", *chosen, "--repeats", "1")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "one-thread.json").read_text())
    (case,) = found["cases"]
    assert {"torchdiffeq", torch_packages.IMPORTED, "pyseminorm"} == {r["package"] for r in case["rows"]} and not case[
        "left_out"
    ]
    assert all(0 < r["error"] < 1e-2 for r in case["rows"])
    assert any("torchdiffeq's odeint_adjoint" in note for note in found["notes"])
    assert {r["contender"] for r in found["sections"]["overhead"]} >= {
        torch_packages.SEMINORM,
        "torch Backsolve dopri5",
    }
    assert all(r["seconds"] > 0 and r["f_calls"] > 5 for r in found["sections"]["overhead"])
    assert found["versions"]["torch"] == importlib.metadata.version("torch") and found["machine"]["processor"]
    assert "### tiny: 2-4-4-2, batch 3, 3 outputs" in done.output and "| torch Discrete tsit5 |" in done.output


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize(("flag", "tolerances"), [("--curves", 5), ("--no-curves", 1)])
def test_curves_can_be_left_out(tmp_path, monkeypatch, no_julia, flag, tolerances):
    monkeypatch.setattr(command, "CASES", (replace(TINY, curve=True),))
    chosen = ["--case", "tiny", "--section", "cases", "--contender", torch_packages.SEMINORM, "--repeats", "1"]
    done = bench(tmp_path, flag, *chosen)
    assert done.exit_code == 0, done.output
    assert len(load(tmp_path / "one-thread.json").cases[0].rows) == tolerances


def test_what_was_measured_survives_an_interrupt(tmp_path, monkeypatch, no_julia):
    def interrupted(problem, exact, contenders, plan, record, tell):
        record.rows.append(ROWS[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "CASES", (TINY,))
    monkeypatch.setattr(command, "measure", interrupted)
    done = bench(tmp_path, "--case", "tiny", "--contender", "torch Discrete*")
    assert done.exit_code == 130
    found = load(tmp_path / "one-thread.json")
    assert found.cases[0].rows == [ROWS[0]] and "interrupted" in found.notes[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--case", "nowhere"], "no case 'nowhere': give one of case1"),
        (["--section", "weather"], "no section 'weather'"),
        (["--contender", "fortran*"], "no contender is called fortran*"),
    ],
)
def test_the_command_says_what_it_does_not_know(tmp_path, arguments, says, no_julia):
    done = bench(tmp_path, "--quick", *arguments)
    assert done.exit_code == 1 and says in done.output


def test_outputs_cost_the_discrete_adjoint_nothing(monkeypatch, no_julia):
    few, many = Case("outputs-2", 2, 4, 1, 2), Case("outputs-1000", 2, 4, 1, 200)
    monkeypatch.setattr(outputs, "CASES", (few, many))
    monkeypatch.setattr(outputs, "peers", lambda: ([], []))
    found = {r["contender"]: r for r in outputs.outputs(lambda _: None)}
    assert found["torch Discrete tsit5"]["ratio"] <= 1.1
    assert 1 < found["torch Backsolve tsit5"]["per_output"] <= 8
    assert found["torch Gauss tsit5"]["nodes_many"] > found["torch Gauss tsit5"]["nodes_few"] > 0


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="not Linux")  # noqa: PTH110
def test_memory_is_measured_in_processes_of_their_own(monkeypatch, no_julia):
    monkeypatch.setattr(memory, "WIDTHS", (540,))
    monkeypatch.setattr(memory, "ADJOINTS", {"Gauss": None})
    rows = list(memory.memory(30.0, lambda _: None))
    assert [(r["adjoint"], r["width"]) for r in rows] == [("Gauss", 540)]
    assert rows[0]["parameter_bytes"] == 4 * (2 * 8 * 540 + 540 * 540 + 2 * 540 + 8)
    assert 1 <= rows[0]["backward_bytes"] / rows[0]["parameter_bytes"] < 30
    assert report.text(record_with(ROWS, memory=rows)).count("| torch | Gauss | 301,") == 1


def test_julia_is_named_where_it_is_missing(no_julia):
    assert sciml.peers() == ([], ["SciMLSensitivity takes no part: there is none"], {})
    assert 'backend="julia": there is none' in modes.modes()[1][0]
