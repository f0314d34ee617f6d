"""Speed: the ladder, turns, what is left out, and the command."""

import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("matplotlib", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch
from speed_cases import KINDS, ROOT, ROWS, TINY, Stub, measured, record_with, row, stub
from typer.testing import CliRunner

from benchmarks.speed import command, first, machine, measure, memory, modes, outputs, report
from benchmarks.speed.__main__ import app
from benchmarks.speed.cases import CASES, GPU, Case, Problem
from benchmarks.speed.contender import Contender
from benchmarks.speed.contenders import find_contenders
from benchmarks.speed.peers import sciml, torch_packages
from benchmarks.speed.records import load
from benchmarks.speed.work_precision import LADDER, descend, first_rung
from pyseminorm import UnsupportedError
from pyseminorm.engines.julia.session import detect


@pytest.fixture
def no_julia(monkeypatch):
    monkeypatch.setattr(detect, "find_julia", lambda: detect.NoJulia("there is none"))


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Garbage is collected before every turn, which takes a second with all packages loaded."""
    monkeypatch.setattr(measure, "gc", SimpleNamespace(collect=lambda: None))


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
