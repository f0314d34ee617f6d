"""The demo's run: the same training twice, with a table and a plot of what the norm of the backward solve costs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch.nn.functional import cross_entropy

from .. import BacksolveAdjoint
from .data import Split, load
from .neural_cde import NeuralCDE
from .solver import OurSolver

NORMS = ("torchdiffeq", "seminorm")


@dataclass
class Record:
    """What one training cost, epoch by epoch."""

    backend: str = ""
    backward_evaluations: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    backward_seconds: float = 0.0
    accuracy: float = 0.0


# The paper's first tolerance pair for Neural CDEs, and its solver.
METHOD, RTOL, ATOL = "dopri5", 1e-3, 1e-6
HIDDEN, WIDTH = 16, 32


def run(*, dataset: str, backend: str, epochs: int, seed: int, plot: Path) -> dict[str, Record]:
    """Train with each norm, print the table, save the plot; gives the records."""
    console = Console()
    torch.set_num_threads(1)  # the tensors are small: a second thread gains little, and costs much on a busy machine
    train, test, classes = load(dataset)
    records: dict[str, Record] = {}
    with Progress(
        TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"),
        TimeElapsedColumn(), console=console,
    ) as progress:  # fmt: skip
        for norm in NORMS:
            torch.manual_seed(seed)
            # Without our scaling of the cotangents, as in torchdiffeq: only the norm differs.
            adjoint = BacksolveAdjoint(norm=norm, scale_invariant=False)
            solver = OurSolver(adjoint=adjoint, backend=backend, method=METHOD, rtol=RTOL, atol=ATOL)
            model = NeuralCDE(train.series.shape[1], classes, hidden=HIDDEN, width=WIDTH)
            if not records:
                parameters, state = sum(p.numel() for p in model.field.parameters()), train.series.shape[0] * HIDDEN
                console.print(
                    f"Neural CDE on {dataset}: {len(train.labels)} series, {parameters:,} parameters in the vector "
                    f"field, a state of {state:,}, {METHOD}, rtol {RTOL:g}, atol {ATOL:g}, one thread"
                )
            task = progress.add_task(f'norm "{norm}"', total=epochs)
            records[norm] = _train(model, solver, train, test, epochs, functools.partial(progress.advance, task))
    console.print(_table(records))
    _plot(records, dataset, plot)
    console.print(f"Plot of the evaluations per epoch: {plot}")
    return records


def _train(
    model: NeuralCDE, solver: OurSolver, train: Split, test: Split, epochs: int, advance: Callable[[], None]
) -> Record:
    record = Record()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    started = time.perf_counter()
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = cross_entropy(model(train.series, solver), train.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        backward = solver.solution.stats.backward
        assert backward is not None
        record.backward_evaluations.append(backward.evaluations)
        record.rejected.append(backward.nreject)
        record.losses.append(loss.item())
        record.backward_seconds += backward.seconds
        advance()
    record.seconds = time.perf_counter() - started
    record.backend = solver.solution.backend
    with torch.no_grad():
        record.accuracy = (model(test.series, solver).argmax(dim=1) == test.labels).float().mean().item()
    return record


def _table(records: dict[str, Record]) -> Table:
    table = Table(title=f'Same seed, same data, engine "{records[NORMS[0]].backend}"')
    for name in ("backward norm", "backward evaluations", "rejected steps", "backward s", "total s", "test accuracy"):
        table.add_column(name, justify="left" if name == "backward norm" else "right")
    for norm, r in records.items():
        table.add_row(
            norm,
            f"{sum(r.backward_evaluations):,}",
            f"{sum(r.rejected):,}",
            f"{r.backward_seconds:.1f}",
            f"{r.seconds:.1f}",
            f"{r.accuracy:.1%}",
        )
    usual, ours = (records[n] for n in NORMS)
    table.add_section()
    table.add_row(
        "change",
        _change(sum(ours.backward_evaluations), sum(usual.backward_evaluations)),
        _change(sum(ours.rejected), sum(usual.rejected)),
        _change(ours.backward_seconds, usual.backward_seconds),
        _change(ours.seconds, usual.seconds),
        f"{100 * (ours.accuracy - usual.accuracy):+.1f} points",
    )
    return table


def _change(new: float, old: float) -> str:
    return f"{100 * (new / old - 1):+.0f} %" if old else "-"


def _plot(records: dict[str, Record], dataset: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for norm, record in records.items():
        left.plot(record.backward_evaluations, label=norm)
        right.plot(record.losses, label=norm)
    left.set(xlabel="epoch", ylabel="backward evaluations", ylim=(0, None), title=dataset)
    right.set(xlabel="epoch", ylabel="training loss", yscale="log", title="same training")
    left.legend(title="backward norm")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)
