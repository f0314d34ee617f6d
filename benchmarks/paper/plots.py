"""The pictures of the page of results."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .ablations import COMPARED, SERIES, Measured
from .contenders import CONTENDERS
from .pairs import TASKS
from .summary import Results

LABELS = {contender.name: contender.label for contender in CONTENDERS}
NORMS = ("norm-torchdiffeq", "norm-rms", "norm-seminorm")
STYLES: dict[str, dict[str, Any]] = {  # lines that lie on each other stay visible
    "norm-torchdiffeq": {"linewidth": 3.5, "alpha": 0.6},
    "norm-seminorm": {"linestyle": "--"},
}


def plot_reductions(results: Results, file: Path) -> None:
    """Bars: the share of backward evaluations saved by the norm, in our engine and in torchdiffeq's package."""
    figure, axes = _pyplot().subplots(figsize=(8, 0.45 * len(results.pairs) + 1.2), layout="constrained")
    compared = (
        ("our engine", "norm-seminorm", "norm-torchdiffeq"),
        ("torchdiffeq 0.2.5", "package-seminorm", "package-default"),
    )
    for i, (label, new, usual) in enumerate(compared):
        saved = [100 * (results.reduction(pair, new, usual) or 0.0) for pair in results.pairs]
        axes.barh([y - 0.2 + 0.4 * i for y in range(len(saved))], saved, height=0.38, label=label)
    axes.axvline(40, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="backward evaluations saved by the seminorm, % (dashed: the paper's median)")
    axes.set_yticks(range(len(results.pairs)), results.pairs)
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    _save(figure, file)


def plot_times(results: Results, contenders: Sequence[str], file: Path) -> None:
    """Points: training time over that of torchdiffeq's package with its default norm."""
    figure, axes = _pyplot().subplots(figsize=(8, 0.4 * len(results.pairs) + 1.4), layout="constrained")
    for contender, marker in zip(contenders, "osD^v<", strict=True):
        ratios = [results.ratio(pair, contender, "package-default", "cpu_seconds") for pair in results.pairs]
        shown = [float("nan") if r is None else r for r in ratios]
        axes.plot(shown, range(len(ratios)), marker, alpha=0.8, label=LABELS[contender])
    axes.axvline(0.5, color="grey", linestyle="--", linewidth=1)
    axes.axvline(1.0, color="grey", linewidth=1)
    axes.set(xlabel="training time over torchdiffeq's default (dashed: the goal)", xlim=(0, None))
    axes.set_yticks(range(len(results.pairs)), results.pairs)
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    _save(figure, file)


def plot_training(results: Results, file: Path) -> None:
    """Lines: backward evaluations per optimiser step by epoch, means over seeds, for the norms."""
    columns = 4
    rows = -(-len(results.pairs) // columns)
    figure, grid = _pyplot().subplots(rows, columns, figsize=(11, 2.3 * rows), layout="constrained", squeeze=False)
    for axes, pair in zip(grid.flat, results.pairs, strict=False):
        for norm in NORMS:
            records = list(results.of(pair, norm).values())
            steps = [r.settings["sizes"]["batches"] for r in records]
            curves = [[e.backward_evaluations / n for e in r.epochs] for r, n in zip(records, steps, strict=True)]
            mean = [statistics.mean(point) for point in zip(*curves, strict=True)] if curves else []
            style = {"marker": "o", "markersize": 2, **STYLES.get(norm, {})}
            axes.plot(range(1, len(mean) + 1), mean, label=LABELS[norm], **style)
        axes.set_title(pair, fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, None)
        axes.tick_params(labelsize=7)
    for axes in list(grid.flat)[len(results.pairs) :]:
        axes.axis("off")
    _legend_above(figure, grid[0, 0])
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("backward evaluations per step", fontsize=9)
    _save(figure, file)


def plot_ablations(measured: Sequence[Measured], file: Path) -> None:
    """For every series evaluations above and gradient errors below, medians over seeds."""
    shown = [series for series in SERIES if any(m.series == series.name for m in measured)]
    figure, grid = _pyplot().subplots(
        2, len(shown), figsize=(2.4 * len(shown), 5.4), layout="constrained", squeeze=False, sharex="col", sharey="row"
    )
    for i, series in enumerate(shown):
        for contender in COMPARED:
            chosen = [m for m in measured if (m.series, m.contender) == (series.name, contender)]
            values = sorted({m.value for m in chosen})
            for row, name in enumerate(("backward_evaluations", "error")):
                medians = [statistics.median(getattr(m, name) for m in chosen if m.value == v) for v in values]
                style = STYLES.get(contender, {})
                grid[row, i].plot(values, medians, marker="o", markersize=3, label=LABELS[contender], **style)
                grid[row, i].set_yscale("log")
        if 0 not in series.values:
            grid[1, i].set_xscale("log")
            grid[1, i].set_xticks(series.values, [f"{value:g}" for value in series.values])
            grid[1, i].minorticks_off()
        grid[1, i].tick_params(axis="x", labelsize=7, rotation=45)
        grid[0, i].set_title(textwrap.fill(series.title, 26), fontsize=8)
        grid[1, i].set_xlabel(series.axis)
    grid[0, 0].set_ylabel("backward evaluations")
    grid[1, 0].set_ylabel("relative error of dL/dθ")
    _legend_above(figure, grid[0, 0])
    _save(figure, file)


def plot_samples(results: Results, file: Path) -> None:
    """What the flows generate: points in the plane, and images."""
    found = {r.settings["task"]: r.samples for r in results.records if r.samples}
    drawn = {task.name: found[task.name] for task in TASKS if task.name in found}
    figure, grid = _pyplot().subplots(
        1, len(drawn), figsize=(3.2 * len(drawn), 3.2), layout="constrained", squeeze=False
    )
    for axes, (task, samples) in zip(grid.flat, drawn.items(), strict=True):
        if len(samples[0]) == 2:
            axes.scatter(*zip(*samples, strict=True), s=2)
            axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        else:
            axes.imshow(_mosaic(samples), cmap="gray_r", vmin=0, vmax=1)
            axes.axis("off")
        axes.set_title(task, fontsize=9)
    _save(figure, file)


def _mosaic(images: list[list[float]]) -> Any:
    """Images of 64 pixels in rows of 8, with grey lines between them."""
    import numpy as np

    pixels = np.array(images).reshape(-1, 8, 8, 8)  # row of the mosaic, image, y, x
    framed = np.pad(pixels, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=0.4)
    whole = framed.transpose(0, 2, 1, 3).reshape(-1, framed.shape[1] * framed.shape[3])
    return np.pad(whole, ((0, 1), (0, 1)), constant_values=0.4)


def _legend_above(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    _pyplot().close(figure)
