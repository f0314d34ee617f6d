"""What the estimate of the parameter gradient's error takes: backward passes with it and without, in turns.

    python -m benchmarks.studies.estimate_cost [--adjoint gauss] [--passes 60]

Of two fields of the speed benchmark and of a Neural CDE of the paper, on the embedded engine, by the processor's time
of ``backward()``: the median of the ratios of neighbours, and the middle half of them. Without: stages are only summed.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.pairs import pairs
from benchmarks.paper.tasks import experiment
from benchmarks.speed.cases import CASES, Problem
from benchmarks.studies.gradient_error import ADJOINTS, Solver
from pyseminorm import solve
from pyseminorm.engines.torch import gauss_nodes
from pyseminorm.methods.tableau import Tableau

# An adjoint -> the loss of a forward pass.
Loss = Callable[[Any], Tensor]


@contextlib.contextmanager
def without_estimate() -> Iterator[None]:
    """Let methods have no embedded error of an integral."""
    patched: list[tuple[Any, str, Any]] = [
        (Tableau, "integral_error", property(lambda tableau: None)),
        (Tableau, "relative_integral_error", property(lambda tableau: None)),
        (gauss_nodes, "estimates", lambda method, traits: False),
    ]
    known = [vars(owner)[name] for owner, name, _ in patched]
    try:
        for owner, name, value in patched:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(patched, known, strict=True):
            setattr(owner, name, value)


def losses() -> Iterator[tuple[str, Loss]]:
    for name in ("case2", "case4"):
        yield name, _case_loss(Problem(next(case for case in CASES if case.name == name)))
    pair = next(pair for pair in pairs() if pair.task == "japanese-vowels")
    torch.manual_seed(0)
    task = experiment(pair.task, pair.sizes)
    model = task.model()

    def loss(adjoint: Any) -> Tensor:
        settings: dict[str, Any] = {"method": "dopri5", "rtol": pair.rtol, "atol": pair.atol, "adjoint": adjoint}
        found: Tensor = task.loss(model, task.held, Solver(**settings))
        return found

    yield pair.name, loss


def _case_loss(problem: Problem) -> Loss:
    def loss(adjoint: Any) -> Tensor:
        settings: dict[str, Any] = {"backend": "torch", "compile": None, "adjoint": adjoint}
        found: Tensor = solve(problem.field, problem.y0, problem.t, rtol=1e-4, atol=1e-4, **settings).ys.pow(2).mean()
        return found

    return loss


def seconds(loss: Tensor) -> float:
    started = time.process_time()
    loss.backward()  # type: ignore[no-untyped-call]
    return time.process_time() - started


def ratios(loss: Loss, adjoint: Any, passes: int) -> list[float]:
    """Return the times of passes with the estimate over those of their neighbours without."""
    found = []
    for i in range(passes + 1):
        pair = []
        for estimated in (i % 2 == 0, i % 2 == 1):  # either is first in turn
            with contextlib.nullcontext() if estimated else without_estimate():
                pair.append((estimated, seconds(loss(adjoint))))
        times = dict(pair)
        found.append(times[True] / times[False])
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adjoint", action="append", choices=ADJOINTS, help="all, where none is named")
    parser.add_argument("--passes", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| problem | adjoint | time with the estimate, without = 1 | middle half |\n|---|---|---:|---:|")
    for name, loss in losses():
        for kind in given.adjoint or ADJOINTS:
            found = ratios(loss, ADJOINTS[kind](verbose=False), given.passes)
            low, middle, high = statistics.quantiles(found, n=4)
            print(f"| {name} | {kind} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
