"""The demo's run: the same training twice, with a table and a plot of what the norm of the backward solve costs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from .. import BacksolveAdjoint, PassStats, Solution, solve
from .data import Split, load
from .neural_cde import NeuralCDE

NORMS = ("torchdiffeq", "seminorm")

# The paper's first tolerance pair for Neural CDEs, and its solver.
METHOD, RTOL, ATOL = "dopri5", 1e-3, 1e-6
HIDDEN, WIDTH = 16, 32


class Training:
    """A training with one norm, and what it cost: the statistics of the backward pass and the loss of every epoch."""

    solution: Solution

    def __init__(self, norm: str, backend: str) -> None:
        # Without our scaling of the cotangents, as in torchdiffeq: only the norm differs.
        self._settings: dict[str, Any] = {
            "adjoint": BacksolveAdjoint(norm=norm, scale_invariant=False),
            "backend": backend,
        }
        self.passes: list[PassStats] = []
        self.losses: list[float] = []
        self.seconds = self.accuracy = 0.0

    def solve(self, field: Any, y0: Tensor, times: Any, params: Any) -> Tensor:
        """Return the states (len(times), *y0.shape)."""
        self.solution = solve(field, y0, times, params=params, method=METHOD, rtol=RTOL, atol=ATOL, **self._settings)
        ys: Tensor = self.solution.ys
        return ys

    def run(self, model: NeuralCDE, train: Split, test: Split, epochs: int, advance: Callable[[], None]) -> None:
        optimiser, started = torch.optim.Adam(model.parameters(), lr=1e-2), time.perf_counter()
        for _ in range(epochs):
            optimiser.zero_grad()
            loss = cross_entropy(model(train.series, self.solve), train.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            assert self.solution.stats.backward is not None
            self.passes.append(self.solution.stats.backward)
            self.losses.append(loss.item())
            advance()
        self.seconds = time.perf_counter() - started
        with torch.no_grad():
            right = model(test.series, self.solve).argmax(dim=1) == test.labels
        self.accuracy = right.float().mean().item()


def run(*, dataset: str, backend: str, epochs: int, seed: int, plot: Path) -> None:
    """Train with each norm, print the table, save the plot."""
    console = Console()
    torch.set_num_threads(1)  # the tensors are small: a second thread gains little, and costs much on a busy machine
    train, test, classes = load(dataset)
    trainings: dict[str, Training] = {}
    with Progress(
        TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"),
        TimeElapsedColumn(), console=console,
    ) as progress:  # fmt: skip
        for norm in NORMS:
            torch.manual_seed(seed)
            model = NeuralCDE(train.series.shape[1], classes, hidden=HIDDEN, width=WIDTH)
            if not trainings:
                parameters, state = sum(p.numel() for p in model.field.parameters()), train.series.shape[0] * HIDDEN
                console.print(
                    f"Neural CDE on {dataset}: {len(train.labels)} series, {parameters:,} parameters in the vector "
                    f"field, a state of {state:,}, {METHOD}, rtol {RTOL:g}, atol {ATOL:g}, one thread"
                )
            task = progress.add_task(f'norm "{norm}"', total=epochs)
            trainings[norm] = Training(norm, backend)
            trainings[norm].run(model, train, test, epochs, functools.partial(progress.advance, task))
    console.print(_table(trainings))
    _plot(trainings, dataset, plot)
    console.print(f"Plot of the evaluations per epoch: {plot}")


def _table(trainings: dict[str, Training]) -> Table:
    table = Table(title=f'Same seed, same data, engine "{trainings[NORMS[0]].solution.backend}"')
    for name in ("backward norm", "backward evaluations", "rejected steps", "backward s", "total s", "test accuracy"):
        table.add_column(name, justify="left" if name == "backward norm" else "right")
    costs = {norm: _costs(training) for norm, training in trainings.items()}
    for norm, cost in costs.items():
        shown = (f"{x:,}" if isinstance(x, int) else f"{x:.1f}" for x in cost)
        table.add_row(norm, *shown, f"{trainings[norm].accuracy:.1%}")
    table.add_section()
    usual, ours = (trainings[norm].accuracy for norm in NORMS)
    changes = (_change(new, old) for new, old in zip(costs[NORMS[1]], costs[NORMS[0]], strict=True))
    table.add_row("change", *changes, f"{100 * (ours - usual):+.1f} points")
    return table


def _costs(training: Training) -> tuple[int, int, float, float]:
    passes = training.passes
    seconds = sum(p.seconds for p in passes)
    return sum(p.evaluations for p in passes), sum(p.nreject for p in passes), seconds, training.seconds


def _change(new: float, old: float) -> str:
    return f"{100 * (new / old - 1):+.0f} %" if old else "-"


def _plot(trainings: dict[str, Training], dataset: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for norm, training in trainings.items():
        left.plot([p.evaluations for p in training.passes], label=norm)
        right.plot(training.losses, label=norm)
    left.set(xlabel="epoch", ylabel="backward evaluations", ylim=(0, None), title=dataset)
    right.set(xlabel="epoch", ylabel="training loss", yscale="log", title="same training")
    left.legend(title="backward norm")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)
