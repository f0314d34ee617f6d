"""What the absolute tolerance of the backward solve has to do with what the seminorm saves.

    python -m benchmarks.studies.absolute_tolerance            # about five minutes

The tasks of `benchmarks.paper` (Neural CDEs at their loosest pair), each trained for its epochs by DiscreteAdjoint.
Then backward passes over one batch, with only the backward solve's atol changed. A cell is what the seminorm saves, and
the backward evaluations of torchdiffeq's norm / the seminorm, both with unscaled cotangents / BacksolveAdjoint(), which
scales them. Nothing is timed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from benchmarks.paper.contenders import CONTENDERS
from benchmarks.paper.experiment import Batch, Experiment
from benchmarks.paper.pairs import Pair, pairs
from benchmarks.paper.solver import Field
from benchmarks.paper.tasks import experiment
from pyseminorm import BacksolveAdjoint

FACTORS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
COMPARED = ("norm-torchdiffeq", "norm-seminorm", "backsolve")
BY_NAME = {contender.name: contender for contender in CONTENDERS}


def trained(pair: Pair, task: Experiment) -> torch.nn.Module:
    torch.manual_seed(0)
    model, solver = task.model(), BY_NAME["discrete"].solver(pair, "torch")
    optimiser = torch.optim.Adam(model.parameters(), lr=pair.sizes.rate)
    for epoch in range(pair.epochs):
        torch.manual_seed(epoch)
        for batch in task.batches():
            optimiser.zero_grad()
            torch.autograd.backward(task.loss(model, batch, solver))
            optimiser.step()
    return model


def sizes(pair: Pair, task: Experiment, model: torch.nn.Module, batch: Batch) -> tuple[float, float]:
    """The largest rms of dL/dy over the output times, and the rms of dL/dtheta of the field."""
    solver = BY_NAME["discrete"].solver(pair, "torch")
    seen: list[Tensor] = []

    def watched(func: Field, y0: Tensor, t: Sequence[float], params: Iterable[Tensor]) -> Tensor:
        seen.append(solver(func, y0, t, params))
        return seen[0]

    loss = task.loss(model, batch, watched)
    ys, *gradients = torch.autograd.grad(loss, [seen[0], *model.get_submodule("field").parameters()])
    largest = ys.flatten(1).square().mean(dim=1).sqrt().max().item()
    return largest, torch.cat([g.flatten() for g in gradients]).square().mean().sqrt().item()


def evaluations(pair: Pair, task: Experiment, model: torch.nn.Module, batch: Batch, name: str, atol: float) -> int:
    contender = BY_NAME[name]
    assert isinstance(contender.adjoint, BacksolveAdjoint)
    contender = dataclasses.replace(contender, adjoint=dataclasses.replace(contender.adjoint, atol=atol))
    solver = contender.solver(pair, "torch")
    torch.autograd.backward(task.loss(model, batch, solver))
    return solver.cost().backward_evaluations


def main() -> None:
    torch.set_num_threads(1)
    heads = " | ".join(f"atol x {factor:g}" for factor in FACTORS)
    print(f"| task, rtol, atol | largest rms of dL/dy | rms of dL/dtheta | {heads} |")
    print("|---" * (len(FACTORS) + 3) + "|")
    for task_name in dict.fromkeys(pair.task for pair in pairs()):
        pair = pairs(task_name)[0]
        task = experiment(pair.task, pair.sizes)
        model = trained(pair, task)
        torch.manual_seed(1000)
        batch = task.batches()[0]
        cells = [f"{size:.0e}" for size in sizes(pair, task, model, batch)]
        for factor in FACTORS:
            counts = [evaluations(pair, task, model, batch, name, factor * pair.atol) for name in COMPARED]
            cells.append(f"{100 - 100 * counts[1] / counts[0]:.0f} %: " + " / ".join(map(str, counts)))
        print(f"| {pair.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
