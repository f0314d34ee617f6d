"""The run: all trainings that are not recorded yet, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pyseminorm import solve

from .ablations import SEEDS as ABLATION_SEEDS
from .ablations import SERIES, run_series
from .contenders import CONTENDERS, Contender
from .experiment import Experiment
from .pairs import Pair, pairs
from .tasks import experiment
from .training import Training

ABLATIONS = "ablations"

Work = Callable[[Callable[[], None]], str]


@dataclass(frozen=True)
class Job:
    """One training, or one series of ablations: ``work`` says what went wrong, or nothing."""

    name: str
    steps: int
    work: Work


def run(*, task: str | None, backend: str, quick: bool, seeds: int, out: Path) -> list[str]:
    """Run what is not recorded in ``out``; gives the trainings that failed, with their reasons."""
    torch.set_num_threads(1)  # the tensors are small, and times must not depend on how busy other cores are
    console = Console()
    engine = _engine(backend)
    jobs = _jobs(task, engine, quick=quick, seeds=seeds, out=out)
    failures = []
    with Progress(
        TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    ) as progress:  # fmt: skip
        total = progress.add_task("all epochs", total=sum(job.steps for job in jobs))
        for job in jobs:
            progress.update(total, description=job.name)
            failure = job.work(functools.partial(progress.advance, total))
            if failure:
                failures.append(f"{job.name}: {failure}")
    console.print(f"{len(jobs)} records (engine {engine}) are in {out}.")
    return failures


def _engine(backend: str) -> str:
    """The engine that "auto" is here; starts it, so that no training pays for the start."""
    return solve(lambda t, y: -y, torch.ones(1), [0.0, 1.0], backend=backend).backend


def _jobs(task: str | None, backend: str, *, quick: bool, seeds: int, out: Path) -> list[Job]:
    """First seeds of everything first: an interrupted run has something of all."""
    chosen = [] if task == ABLATIONS else pairs(task, quick=quick)
    made = functools.lru_cache(maxsize=None)(lambda pair: experiment(pair.task, pair.sizes))
    jobs = []
    for seed in range(seeds):
        jobs += [_training(pair, contender, seed, made, backend, out) for pair in chosen for contender in CONTENDERS]
    if task in (None, ABLATIONS):
        for seed in range(min(seeds, ABLATION_SEEDS)):
            for series in SERIES[:1] if quick else SERIES:
                work = functools.partial(run_series, series, seed, backend, out)
                jobs.append(Job(f"ablation {series.name}, seed {seed}", 1, work))
    return jobs


def _training(
    pair: Pair, contender: Contender, seed: int, made: Callable[[Pair], Experiment], backend: str, out: Path
) -> Job:
    def work(advance: Callable[[], None]) -> str:
        return Training(pair, contender, seed, made(pair), backend, out).run(advance).failure

    return Job(f"{pair.name} {contender.name} {seed}", pair.epochs, work)
