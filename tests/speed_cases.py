"""Tiny cases and solvers that stand in for the contenders of the comparison of speed, and records of them."""

import signal
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch

from benchmarks.speed import measure
from benchmarks.speed.cases import CASES, Case, Problem
from benchmarks.speed.contender import Contender, Outcome
from benchmarks.speed.fields import KINDS as KIND_NAMES
from benchmarks.speed.measure import Plan
from benchmarks.speed.peers import torch_packages
from benchmarks.speed.records import CaseRecord, Record, Row
from benchmarks.speed.reference import Reference
from benchmarks.speed.work_precision import COMPARED

ROOT = Path(__file__).parents[1]


TINY = Case("tiny", 2, 4, 3, 3, bar=1)


OSCILLATING = Case("tiny-oscillating", 2, 4, 3, 4, oscillating=True)


KINDS = [Case(kind, 2, 3, 4, 3, kind=kind) for kind in KIND_NAMES]


def row(contender, seconds, error, tolerance=COMPARED, package=None, **settings):
    made = [seconds] if seconds else []
    package = package or ("pyseminorm" if settings else contender.split()[0])
    return Row(contender, package, tolerance, 1.0, error, 0.1, settings=settings, seconds=made)


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
