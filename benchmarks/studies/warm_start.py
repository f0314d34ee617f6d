"""What `WarmStart` saves in trainings: the twelve pairs of the paper's tasks, with it and without.

    python -m benchmarks.studies.warm_start [task]
    python -m benchmarks.studies.warm_start report

The first trains what is not recorded yet in benchmarks/results/warm-start.json, with and without in turns; the second
prints the table: evaluations of whole trainings, their times, and the quality at the end, means over seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from pyseminorm import BacksolveAdjoint, DiscreteAdjoint

from ..paper.contenders import Contender
from ..paper.pairs import pairs
from ..paper.record import Record, write
from ..paper.tasks import experiment
from ..paper.training import Training

RECORD = Path("benchmarks/results/warm-start.json")
SEEDS = 3
COLD = (
    Contender("backsolve", "BacksolveAdjoint()", BacksolveAdjoint(verbose=False), compile="trace"),
    Contender(
        "stages", 'DiscreteAdjoint(keep="stages")', DiscreteAdjoint(keep="stages", verbose=False), compile="trace"
    ),
)


def warm(contender: Contender) -> Contender:
    """Return a contender with a warm start."""
    return dataclasses.replace(contender, name=f"{contender.name}-warm", warm=True)


@dataclasses.dataclass(frozen=True)
class Row:
    """A whole training: its evaluations and processor seconds, and the quality at its end, if it came there."""

    pair: str
    contender: str
    seed: int
    forward_evaluations: int
    backward_evaluations: int
    seconds: float
    quality: float | None

    @classmethod
    def of(cls, record: Record) -> Row:
        """Return the row of a record."""
        forward, backward, seconds = (
            record.total(x) for x in ("forward_evaluations", "backward_evaluations", "cpu_seconds")
        )
        return cls(
            record.pair, record.contender, record.seed, int(forward), int(backward), seconds, record.final_quality
        )


def recorded(file: Path = RECORD) -> list[Row]:
    """Return all trainings that are recorded."""
    return [Row(**row) for row in json.loads(file.read_text())] if file.exists() else []


def train(task: str | None, *, quick: bool = False, seeds: int = SEEDS, file: Path = RECORD) -> None:
    """Make the trainings that are not recorded."""
    torch.set_num_threads(1)
    rows = recorded(file)
    done = {(row.pair, row.contender, row.seed) for row in rows}
    for seed, pair in itertools.product(range(seeds), pairs(task, quick=quick)):
        ways = [way for cold in COLD for way in (cold, warm(cold)) if (pair.name, way.name, seed) not in done]
        made = experiment(pair.task, pair.sizes) if ways else None
        for contender in ways:
            assert made is not None
            with tempfile.TemporaryDirectory() as out:
                record = Training(pair, contender, seed, made, "torch", Path(out)).run(lambda: None)
            rows.append(Row.of(record))
            write(file, [dataclasses.asdict(row) for row in rows])
            print(f"{pair.name} {contender.name} {seed}: {rows[-1].seconds:.1f} s {record.failure}", flush=True)


@dataclasses.dataclass(frozen=True)
class Saving:
    """What a warm start changes in the trainings of a pair, all seeds together.

    Attributes:
        forward, backward: shares of the evaluations that are saved.
        time: over that without.
        apart: how far the mean quality at the end is from that without, over the larger of both standard deviations.
    """

    pair: str
    contender: str
    forward: float
    backward: float
    time: float
    apart: float


def savings(rows: Sequence[Row]) -> list[Saving]:
    """Return what the rows say, in the order of the pairs; where a training did not come to its end, nothing."""
    found = []
    for pair in dict.fromkeys(row.pair for row in rows):
        for cold in COLD:
            ways = [[r for r in rows if (r.pair, r.contender) == (pair, c.name)] for c in (cold, warm(cold))]
            if all(ways) and all(r.quality is not None for way in ways for r in way):
                found.append(_saving(pair, cold.name, *ways))
    return found


def _saving(pair: str, contender: str, cold: Sequence[Row], warmed: Sequence[Row]) -> Saving:
    def ratio(column: str) -> float:
        after, before = (sum(float(getattr(row, column)) for row in way) for way in (warmed, cold))
        return after / before

    before, after = ([row.quality or 0.0 for row in way] for way in (cold, warmed))
    deviation = max(statistics.pstdev(before), statistics.pstdev(after))
    moved = abs(statistics.fmean(after) - statistics.fmean(before))
    forward, backward = (1 - ratio(f"{name}_evaluations") for name in ("forward", "backward"))
    apart = moved / deviation if deviation else 0.0
    return Saving(pair, contender, forward, backward, ratio("seconds"), apart)


def table(found: Sequence[Saving]) -> str:
    """Return the table of docs/warm-start.md."""
    lines = [
        "| task, rtol, atol | adjoint | forward calls saved | backward | time, of that without | quality apart |",
        "|---|---|---:|---:|---:|---:|",
    ]
    labels = {c.name: f"`{c.label}`" for c in COLD}
    for one in found:
        lines.append(f"| {one.pair} | {labels[one.contender]} | {_cells(one)} | {one.apart:.1f} σ |")
    for name in dict.fromkeys(one.contender for one in found):
        own = [one for one in found if one.contender == name]
        middle = Saving("", "", *(_median(own, x) for x in ("forward", "backward", "time", "apart")))
        lines.append(f"| **median** | {labels[name]} | {_cells(middle)} | {middle.apart:.1f} σ |")
    return "\n".join(lines)


def _median(found: Sequence[Saving], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in found))


def _cells(one: Saving) -> str:
    return f"{round(100 * one.forward)} % | {round(100 * one.backward)} % | {one.time:.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", help='a task of the paper, or "report": only the table of what is recorded')
    task = parser.parse_args().task
    if task == "report":
        print(table(savings(recorded())))
    else:
        train(task)
