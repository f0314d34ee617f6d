"""What the absolute tolerance of the backward solve has to do with what the seminorm saves.

    python benchmarks/absolute_tolerance.py            # about five minutes

The tasks of `pyseminorm reproduce` (Neural CDEs at their loosest pair), each trained for its epochs by DiscreteAdjoint.
Then backward passes over one batch, with only the backward solve's atol changed. A cell is what the seminorm saves, and
the backward evaluations of torchdiffeq's norm / the seminorm, both with unscaled cotangents / BacksolveAdjoint(), which
scales them. Nothing is timed.
"""

from __future__ import annotations

import dataclasses

import torch

from pyseminorm.reproduce.contenders import CONTENDERS
from pyseminorm.reproduce.pairs import Pair, pairs
from pyseminorm.reproduce.tasks import Batch, Experiment, experiment

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
            task.loss(model, batch, solver).backward()
            optimiser.step()
    return model


def sizes(pair: Pair, task: Experiment, model: torch.nn.Module, batch: Batch) -> tuple[float, float]:
    """The largest rms of dL/dy over the output times, and the rms of dL/dtheta of the field."""
    solver, seen = BY_NAME["discrete"].solver(pair, "torch"), []

    def watched(*problem):
        ys = solver(*problem)
        ys.register_hook(lambda g: seen.append(g.flatten(1).square().mean(dim=1).sqrt().max().item()))
        return ys

    loss = task.loss(model, batch, watched)
    gradients = torch.autograd.grad(loss, list(model.get_submodule("field").parameters()))
    return seen[0], torch.cat([g.flatten() for g in gradients]).square().mean().sqrt().item()


def evaluations(pair: Pair, task: Experiment, model: torch.nn.Module, batch: Batch, name: str, atol: float) -> int:
    contender = BY_NAME[name]
    contender = dataclasses.replace(contender, adjoint=dataclasses.replace(contender.adjoint, atol=atol))
    solver = contender.solver(pair, "torch")
    task.loss(model, batch, solver).backward()
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
