"""The run: all trainings that are not recorded yet, one after the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
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
from .record import Record, read_records
from .summary import Results, spread
from .tasks import experiment
from .training import Training

ABLATIONS = "ablations"
USUAL = "package-default"

Work = Callable[[Callable[[], None]], str]


@dataclass(frozen=True)
class Job:
    """One training, or one series of ablations: ``work`` says what went wrong, or nothing."""

    name: str
    steps: int
    work: Work


def run(
    *,
    task: str | None,
    backend: str,
    quick: bool,
    seeds: int,
    out: Path,
    contenders: Sequence[str] = (),
) -> list[str]:
    """Run what is not recorded in ``out``; gives the trainings that failed, with their reasons.

    ``contenders``: names of those that are trained, instead of all.
    """
    torch.set_num_threads(1)  # the tensors are small, and times must not depend on how busy other cores are
    console = Console()
    engine = _engine(backend)
    chosen = _chosen(contenders)
    jobs = _jobs(task, engine, chosen, quick=quick, seeds=seeds, out=out)
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
    for line in _times(Results(read_records(out)), chosen):
        console.print(line, soft_wrap=True)
    return failures


def _chosen(names: Sequence[str]) -> list[Contender]:
    unknown = set(names).difference(c.name for c in CONTENDERS)
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not a contender: give one of {', '.join(c.name for c in CONTENDERS)}.")
    return [c for c in CONTENDERS if not names or c.name in names]


def _times(results: Results, contenders: Sequence[Contender]) -> Iterator[str]:
    """Seconds of whole trainings over torchdiffeq's default, and of all epochs but the first, which may compile."""
    for contender in contenders:
        ratios: list[float | None] = []
        for pair in results.pairs:
            mine, usual = (results.of(pair, name) for name in (contender.name, USUAL))
            seeds = mine.keys() & usual.keys()
            if contender.name == USUAL or not seeds:
                continue
            whole, later = (_ratio([(mine[s], usual[s]) for s in seeds], start) for start in (0, 1))
            ratios.append(whole)
            yield f"{pair} {contender.name}: {whole:.3f} of {USUAL}'s time; without the first epoch {later:.3f}"
        middle = spread(ratios)
        if middle is not None:
            median, least, most = middle
            yield f"{contender.name}: {median:.3f} in the median of {len(ratios)}, {least:.3f} to {most:.3f}"


def _ratio(records: Sequence[tuple[Record, Record]], start: int) -> float:
    mine, usual = (
        sum(epoch.seconds for r in column for epoch in r.epochs[start:]) for column in zip(*records, strict=True)
    )
    return mine / usual if usual else math.nan


def _engine(backend: str) -> str:
    """The engine that "auto" is here; starts it, so that no training pays for the start."""
    return solve(lambda t, y: -y, torch.ones(1), [0.0, 1.0], backend=backend).backend


def _jobs(
    task: str | None, backend: str, contenders: Sequence[Contender], *, quick: bool, seeds: int, out: Path
) -> list[Job]:
    """First seeds of everything first: an interrupted run has something of all."""
    chosen = [] if task == ABLATIONS else pairs(task, quick=quick)
    made = functools.lru_cache(maxsize=None)(lambda pair: experiment(pair.task, pair.sizes))
    jobs = []
    for seed in range(seeds):
        jobs += [_training(pair, contender, seed, made, backend, out) for pair in chosen for contender in contenders]
    if task == ABLATIONS or (task is None and len(contenders) == len(CONTENDERS)):
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
