"""The paper's tasks: records, resuming, counts, and the command."""

import dataclasses
import json

import pytest

pytest.importorskip("aeon", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch
from torch import nn
from typer.testing import CliRunner

from benchmarks.paper import ablations, command, gradients, training
from benchmarks.paper.__main__ import app
from benchmarks.paper.contenders import CONTENDERS, Contender, OurCountingSolver, paper_norm
from benchmarks.paper.cost import Cost
from benchmarks.paper.pairs import TASKS, pairs
from benchmarks.paper.record import Epoch, Record, RecordError, path_of, read_record, read_records, settings_of, write
from benchmarks.paper.summary import Quality, Results
from benchmarks.paper.tasks import experiment
from benchmarks.paper.tasks.control import HamiltonianNet
from benchmarks.paper.training import Training
from benchmarks.requirements import INSTALL
from pyseminorm import BacksolveAdjoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def _named(name):
    return next(c for c in CONTENDERS if c.name == name)


@pytest.fixture(scope="module")
def pendulum():
    (pair,) = pairs("pendulum", quick=True)
    pair = dataclasses.replace(pair, epochs=3)
    return pair, experiment(pair.task, pair.sizes)


def _training(pendulum, out, contender="norm-seminorm", seed=0):
    pair, task = pendulum
    return Training(pair, _named(contender), seed, task, "torch", out)


def _losses(record):
    return [epoch.loss for epoch in record.epochs]


def test_a_training_that_is_resumed_is_the_same_as_one_that_was_not(pendulum, tmp_path, monkeypatch):
    whole = _training(pendulum, tmp_path / "whole").run(lambda: None)
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)
    interrupted = _training(pendulum, tmp_path / "halves")
    done = []

    def stop():
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.run(stop)
    assert interrupted.checkpoint_path.exists() and not interrupted.record_path.exists()
    steps = []
    resumed = _training(pendulum, tmp_path / "halves").run(lambda: steps.append(1))
    assert len(steps) == 3 and len(resumed.epochs) == 3
    assert _losses(resumed) == _losses(whole) and resumed.quality == whole.quality
    assert len(set(_losses(whole))) == 3
    assert not interrupted.checkpoint_path.exists() and interrupted.record_path.exists()


def test_what_is_recorded_is_not_run_again(pendulum, tmp_path, monkeypatch):
    first = _training(pendulum, tmp_path).run(lambda: None)
    monkeypatch.setattr(Training, "_epoch", lambda self: pytest.fail("trained again"))
    again = _training(pendulum, tmp_path).run(lambda: None)
    assert [e.backward_evaluations for e in again.epochs] == [e.backward_evaluations for e in first.epochs]


@pytest.mark.parametrize("pair", [*pairs(), *pairs(quick=True)], ids=lambda pair: f"{pair.name}-{pair.epochs}")
def test_the_settings_of_a_pair_are_those_that_its_record_gives_back(pair, tmp_path):
    write(tmp_path / "settings.json", settings_of(pair))
    assert json.loads((tmp_path / "settings.json").read_text()) == settings_of(pair)
    assert settings_of(pair)["rtol"] == pair.rtol and settings_of(pair)["sizes"]["rate"] == pair.sizes.rate


def test_a_record_of_other_settings_is_refused(pendulum, tmp_path):
    pair, task = pendulum
    _training(pendulum, tmp_path).run(lambda: None)
    other = Training(dataclasses.replace(pair, epochs=2), _named("norm-seminorm"), 0, task, "torch", tmp_path)
    with pytest.raises(RecordError, match="other settings"):
        other.run(lambda: None)


def test_a_training_that_fails_says_why_and_leaves_a_record(pendulum, tmp_path):
    pair, task = pendulum
    made = Contender("stuck", "stuck", BacksolveAdjoint(max_steps=1))
    record = Training(pair, made, 0, task, "torch", tmp_path).run(lambda: None)
    assert "MaxIters" in record.failure and record.final_quality is None
    (kept,) = read_records(tmp_path)
    assert kept.failure == record.failure and Results([kept]).records == []


def test_the_first_contender_measures_all_gradients(pendulum, tmp_path):
    record = _training(pendulum, tmp_path, "norm-torchdiffeq").run(lambda: None)
    assert {e.contender for e in record.gradients} == {c.name for c in CONTENDERS}
    assert {e.epoch for e in record.gradients} == {0, 1, 3}
    assert all(0 < e.error < 1e-2 for e in record.gradients)
    assert record.parameters == sum(p.numel() for p in HamiltonianNet(1, 128).parameters()) and record.state == 64


def test_contenders_by_name_are_timed_beside_torchdiffeqs_default(tmp_path, monkeypatch):
    """In whole trainings, and without the first epoch, which may compile."""
    options = ["pendulum", "--quick", "--backend", "torch", "--seeds", "1", "--out", str(tmp_path)]
    chosen = ["--contender", "package-default", "--contender", "traced"]
    done = CliRunner().invoke(app, [*options, *chosen])
    assert done.exit_code == 0, done.output
    assert {record.contender for record in read_records(tmp_path)} == {"traced", "package-default"}
    assert "traced: " in done.output and "in the median of 1" in done.output
    done = CliRunner().invoke(app, [*options, "--contender", "euler"])
    assert done.exit_code == 1 and "'euler' is not a contender" in done.output


def test_times_of_whole_trainings_are_ratios_over_all_seeds():
    def record(contender, seed, *seconds):
        (pair,) = pairs("pendulum", quick=True)
        epochs = [Epoch(0.0, 1, 1, 0, 0, s, s) for s in seconds]
        return Record(pair.name, contender, seed, "torch", settings_of(pair), {}, "loss", epochs=epochs)

    results = Results(
        [
            *(record("discrete", seed, 3.0 + seed, 1.0) for seed in range(3)),
            *(record("package-default", seed, 4.0, 4.0 + seed) for seed in range(2)),
        ]
    )
    lines = list(command._times(results, [_named("discrete"), _named("package-default")]))
    assert "discrete: 0.529 of package-default's time; without the first epoch 0.222" in lines[0]
    assert lines[1:] == ["discrete: 0.529 in the median of 1, 0.529 to 0.529"]


def test_a_gradient_that_cannot_be_solved_is_recorded_as_failed(pendulum, monkeypatch):
    pair, task = pendulum
    stuck = Contender("stuck", "stuck", BacksolveAdjoint(max_steps=1))
    monkeypatch.setattr(gradients, "CONTENDERS", (stuck, _named("discrete")))
    failed, solved = gradients.gradient_errors(pair, task, task.model(), 0, "torch")
    assert failed == gradients.GradientError("stuck", 0, None, 0) and 0 < solved.error < 1e-3


def test_records_are_written_whole_and_read_back(pendulum, tmp_path):
    record = _training(pendulum, tmp_path, "discrete", seed=1).run(lambda: None)
    path = path_of(tmp_path, record.pair, "discrete", "torch", 1)
    kept = read_record(path)
    assert kept.settings == settings_of(pendulum[0]) and kept.total("backward_evaluations") > 0
    assert not list(tmp_path.rglob("*.tmp"))
    path.write_text(path.read_text()[:50])
    with pytest.raises(RecordError, match="not a record"):
        read_records(tmp_path)


class _Decay(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.0))
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return -self.rate * y * (1 + torch.sin(9 * t))


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("name", ["norm-torchdiffeq", "package-default", "package-seminorm"])
def test_counts_are_calls_of_the_field(name):
    (pair,) = pairs("pendulum", quick=True)
    solver, field = _named(name).solver(pair, "torch"), _Decay()
    ys = solver(field, torch.ones(3), [0.0, 1.0, 2.0], field.parameters())
    forward = field.calls
    assert solver.cost() == Cost(forward, 0, solver.cost().forward_rejected, 0)
    ys.sum().backward()
    assert solver.cost().forward_evaluations == forward
    assert solver.cost().backward_evaluations == field.calls - forward > 0
    assert field.rate.grad < 0


@pytest.mark.peer("torchdiffeq")
def test_rejected_steps_of_torchdiffeq_are_seen():
    (pair,) = pairs("pendulum", quick=True)
    solver, field = _named("package-default").solver(dataclasses.replace(pair, rtol=1e-7, atol=1e-9), "torch"), _Decay()
    solver(field, torch.ones(3), [0.0, 2.0], field.parameters()).sum().backward()
    assert solver.cost().forward_rejected > 0 and solver.cost().backward_rejected > 0


def test_the_paper_norm_ignores_parameters_and_time():
    y, adjoint = torch.full((4,), 2.0), torch.full((4,), 3.0)
    assert paper_norm((torch.tensor(99.0), y, adjoint, torch.full((5,), 99.0))).item() == 3.0
    assert paper_norm((torch.tensor(99.0), 2 * y, adjoint)).item() == 4.0


def test_the_table_has_every_task_at_the_paper_s_tolerances():
    names = [pair.name for pair in pairs()]
    for series in ("basic-motions", "japanese-vowels"):
        assert [n for n in names if n.startswith(series)] == [
            f"{series}-1e-03-1e-06", f"{series}-1e-04-1e-07", f"{series}-1e-05-1e-08"
        ]  # fmt: skip
    assert {pair.task for pair in pairs("control")} == {"pendulum", "acrobot"}
    assert all((p.rtol, p.atol) == (1e-4, 1e-4) for p in pairs("control"))
    assert [p.task for p in pairs(quick=True)] == [task.name for task in TASKS]
    with pytest.raises(ValueError, match="not a task"):
        pairs("mnist")


def test_a_silent_parameter_is_where_the_seminorm_costs_accuracy():
    series = next(s for s in ablations.SERIES if s.name == "silent")
    found = {m.contender: m for m in ablations.measure(series, 10, 0, "torch")}
    assert found["norm-seminorm"].error > 1e3 * found["norm-torchdiffeq"].error
    assert found["norm-seminorm"].backward_evaluations < found["norm-torchdiffeq"].backward_evaluations
    net = ablations.Net(series.problem(10))
    assert found["gauss"].parameters == sum(p.numel() for p in net.parameters())


def test_qualities_agree_within_the_larger_deviation():
    assert Quality(1.0, 0.1).agrees_with(Quality(1.2, 0.3)) is True
    assert Quality(1.0, 0.1).agrees_with(Quality(1.2, 0.1)) is False
    assert Quality(1.0, None).agrees_with(Quality(1.0, 0.1)) is None


def test_an_unknown_task_is_named(tmp_path):
    done = CliRunner().invoke(app, ["mnist", "--out", str(tmp_path)])
    assert done.exit_code == 1 and "'mnist' is not a task" in done.output


def test_what_is_missing_is_named_with_its_extra(monkeypatch, tmp_path):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name))
    done = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert done.exit_code == 1 and "needs sklearn" in done.output and INSTALL in done.output


def test_an_interrupt_says_how_to_go_on(monkeypatch, tmp_path):
    from benchmarks.paper import command

    def interrupted(**settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    done = CliRunner().invoke(app, ["pendulum", "--out", str(tmp_path)])
    assert done.exit_code == 130 and "the same command goes on from there" in done.output


def test_our_solver_counts_what_the_statistics_say():
    field = _Decay()
    solver = OurCountingSolver(adjoint=BacksolveAdjoint(), backend="torch")
    solver(field, torch.ones(2), [0.0, 1.0], field.parameters()).sum().backward()
    stats = solver.solution.stats
    assert solver.cost() == Cost(
        stats.forward.evaluations, stats.backward.evaluations, stats.forward.nreject, stats.backward.nreject
    )


@pytest.mark.peer("torchdiffeq", "sklearn")
@pytest.mark.slow
def test_the_quick_run_trains_every_task_and_makes_a_page(engine, tmp_path):
    runner, out = CliRunner(), tmp_path / "records"
    done = runner.invoke(app, ["--quick", "--backend", engine, "--out", str(out)])
    assert done.exit_code == 0, done.output
    records = read_records(out)
    assert len(records) == len(TASKS) * len(CONTENDERS) and not any(r.failure for r in records)
    assert {r.backend for r in records} == {engine, "torchdiffeq"}
    for record in records:
        assert record.total("backward_evaluations") > 0 and record.final_quality is not None
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    done = runner.invoke(app, ["--quick", "--backend", engine, "--out", str(out)])
    assert done.exit_code == 0 and {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == times
    page = tmp_path / "results.md"
    done = runner.invoke(app, ["--out", str(out), "--report", str(page)])
    assert done.exit_code == 0, done.output
    assert all(pair.name in page.read_text() for pair in pairs(quick=True))
    assert (tmp_path / "results" / "samples.png").stat().st_size > 10_000
