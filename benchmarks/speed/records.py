"""What a run measured, as data that goes to JSON and comes back."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyseminorm import PassStats

FORMAT = 1
DIGITS = 5  # of a time in a file
ROWS = 4  # levels of JSON that are opened, a line for each member: record, cases, case, rows
COUNTS = ("nf", "nvjp", "nvjp_state", "nvjp_param", "naccept", "nreject")


@dataclass
class Row:
    """One contender at one tolerance.

    Attributes:
        contender, package, settings: those of the `Contender`.
        tolerance: rtol and atol.
        loss: of the unchanged parameters.
        error: relative error of dL/dtheta, at the unchanged parameters.
        first_seconds: of the first step, compilation included.
        forward, backward: calls and steps of both passes by the names of `PassStats`; None where unknown.
        seconds: of every timed step; empty where the row was not timed.
    """

    contender: str
    package: str
    tolerance: float
    loss: float
    error: float
    first_seconds: float
    forward: dict[str, int] | None = None
    backward: dict[str, int] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        """Median of ``seconds``; None where there are none."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> float | None:
        """Distance of the quartiles of ``seconds`` over their median; None for fewer than two."""
        if len(self.seconds) < 2:
            return None
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / middle


@dataclass
class CaseRecord:
    """One case: its description, its rows, and by name who was left out and why."""

    case: dict[str, Any]
    reference: str = ""
    loss: float = 0.0
    rows: list[Row] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def leave_out(self, contender: str, why: str) -> None:
        """Say that ``contender`` has no row, or no further row."""
        self.left_out.append({"contender": contender, "why": why})


@dataclass
class Record:
    """A run: where, with what, how, and everything that was measured; ``sections`` are tables by name."""

    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, Any]
    made: str = ""
    notes: list[str] = field(default_factory=list)
    cases: list[CaseRecord] = field(default_factory=list)
    sections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    format: int = FORMAT

    def save(self, file: Path) -> None:
        """Write the file anew; a stop in between leaves the old one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_suffix(".part")
        made.write_text(_opened(self._data(), ROWS) + "\n")
        made.replace(file)

    def _data(self) -> dict[str, Any]:
        data = asdict(self)
        for row in (row for case in data["cases"] for row in case["rows"]):
            row["seconds"] = [float(f"{seconds:.{DIGITS}g}") for seconds in row["seconds"]]
        return data


def _opened(value: Any, levels: int) -> str:
    """Write JSON with a line for each member of the outer ``levels``, so that a row of a table is a line."""
    if levels == 0 or not isinstance(value, dict | list):
        return json.dumps(value)
    if isinstance(value, dict):
        inside = (f"{json.dumps(name)}: {_opened(member, levels - 1)}" for name, member in value.items())
        return "{\n" + ",\n".join(inside) + "\n}"
    return "[\n" + ",\n".join(_opened(member, levels - 1) for member in value) + "\n]"


def load(file: Path) -> Record:
    """The record that `Record.save` wrote."""
    data = json.loads(file.read_text())
    cases = [CaseRecord(**{**case, "rows": [Row(**row) for row in case["rows"]]}) for case in data.pop("cases")]
    return Record(**data, cases=cases)


def counts(stats: PassStats | None) -> dict[str, int] | None:
    """The numbers of a `PassStats` that records keep."""
    return None if stats is None else {name: getattr(stats, name) for name in COUNTS}


def evaluations(calls: dict[str, int] | None) -> int | None:
    """Calls of f and of its products together."""
    return None if calls is None else sum(calls[name] for name in ("nf", "nvjp", "nvjp_state", "nvjp_param"))
