"""Work-precision plots: time and evaluations of a step against the relative error of dL/dtheta."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .contender import OURS
from .records import CaseRecord, Row, evaluations

MARKERS = "osv^D<>pPX*hd"
MOST = 8  # lines of ours: the modes that are fastest at some error


def work_precision(record: CaseRecord, folder: Path, stem: str) -> Path | None:
    """Draw a PNG into ``folder``; gives it, or None where there is no curve to draw."""
    lines = _lines(record)
    if not any(len(rows) > 1 for rows in lines.values()):
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    _draw(left, lines, lambda row: 1e3 * (row.median or 0.0))
    _draw(right, lines, _calls)
    left.set(ylabel="ms, forward + backward", title=record.case["name"])
    right.set(ylabel="calls of f and its products", title="where they are known")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{stem}.png", dpi=120)
    plt.close(figure)
    return folder / f"{stem}.png"


def _lines(record: CaseRecord) -> dict[str, list[Row]]:
    """The timed rows of every peer, and of our modes that are the fastest at some error."""
    lines: dict[str, list[Row]] = {}
    for row in sorted(record.rows, key=lambda r: -r.tolerance):
        if row.seconds:
            lines.setdefault(row.contender, []).append(row)
    ours = {name: rows for name, rows in lines.items() if rows[0].package == OURS}
    kept = set(_front([row for rows in ours.values() for row in rows])[:MOST])
    return {name: rows for name, rows in lines.items() if name not in ours or name in kept}


def _front(rows: list[Row]) -> list[str]:
    """Names of those that no other row beats in both error and time, fastest first, each once."""
    names: dict[str, None] = {}
    best = float("inf")
    for row in sorted(rows, key=lambda r: r.median or 0.0):
        if row.error < best:
            best = row.error
            names[row.contender] = None
    return list(names)


def _draw(axes: Any, lines: dict[str, list[Row]], work: Callable[[Row], float | None]) -> None:
    for i, (name, rows) in enumerate(lines.items()):
        points = [(row.error, made) for row in rows if (made := work(row)) is not None]
        if points:
            ours = rows[0].package == OURS
            axes.loglog(
                [p[0] for p in points], [p[1] for p in points], linestyle="-" if ours else "--",
                marker=MARKERS[i % len(MARKERS)], linewidth=2 if ours else 1, color=f"C{i}", label=name,
            )  # fmt: skip
    axes.set(xlabel="relative error of dL/dθ")
    axes.invert_xaxis()
    axes.tick_params(axis="x", which="minor", labelrotation=45, labelsize="x-small")  # they are there on short axes
    axes.grid(alpha=0.3)


def _calls(row: Row) -> float | None:
    forward, backward = evaluations(row.forward), evaluations(row.backward)
    return None if forward is None or backward is None else forward + backward
