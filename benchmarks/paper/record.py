"""One training's record: raw numbers as compact JSON, written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyseminorm import PySeminormError

from .gradients import GradientError
from .pairs import Pair


class RecordError(PySeminormError):
    """A record that cannot be used: of other settings, or not one of ours."""


@dataclass
class Epoch:
    """Sums over the optimiser steps of one epoch; ``loss`` is their mean; seconds are of training alone."""

    loss: float
    forward_evaluations: int
    backward_evaluations: int
    forward_rejected: int
    backward_rejected: int
    seconds: float
    cpu_seconds: float


@dataclass
class Record:
    """One (pair, contender, seed).

    Attributes:
        settings: the pair as it stands in the table; a record of other settings is refused.
        state, parameters: elements of the solved state, and of the vector field's parameters.
        quality: what ``quality_name`` says, keyed by the number of epochs trained before.
        gradients: of all contenders at this training's weights; only the first contender's first seed measures them.
        samples: what a generative model draws at the end; only the seminorm's first seed.
        failure: why the training ended early, if it did.
    """

    pair: str
    contender: str
    seed: int
    backend: str
    settings: dict[str, Any]
    versions: dict[str, str]
    quality_name: str
    state: int = 0
    parameters: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    quality: dict[str, float] = field(default_factory=dict)
    gradients: list[GradientError] = field(default_factory=list)
    samples: list[list[float]] = field(default_factory=list)
    failure: str = ""

    @property
    def final_quality(self) -> float | None:
        """The quality after all epochs, if the training reached its end."""
        return None if self.failure else self.quality.get(str(self.settings["epochs"]))

    def total(self, column: str) -> float:
        """The sum of a column of `Epoch` over all epochs."""
        return float(sum(getattr(epoch, column) for epoch in self.epochs))


def settings_of(pair: Pair) -> dict[str, Any]:
    """A pair as a record gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(_rounded(dataclasses.asdict(pair))))
    return plain


def path_of(out: Path, pair: str, contender: str, backend: str, seed: int) -> Path:
    """Where a training's record is kept."""
    return out / "trainings" / pair / f"{contender}-{backend}-{seed}.json"


def write(path: Path, content: Any) -> None:
    """Write JSON, numbers to five digits, so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(_rounded(content), separators=(",", ":")) + "\n")
    os.replace(partial, path)  # noqa: PTH105 (Path.replace is the same call)


def write_record(path: Path, record: Record) -> None:
    """Write a record."""
    write(path, dataclasses.asdict(record))


def record_from(content: dict[str, Any]) -> Record:
    """A record from its JSON."""
    epochs = [Epoch(**epoch) for epoch in content["epochs"]]
    gradients = [GradientError(**error) for error in content["gradients"]]
    return Record(**{**content, "epochs": epochs, "gradients": gradients})


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: not a record.
    """
    try:
        return record_from(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{path} is not a record of a training ({error}): move it away and run again.") from None


def read_records(out: Path) -> list[Record]:
    """All records of trainings, in the order of their names."""
    return [read_record(path) for path in sorted(out.glob("trainings/*/*.json"))]


def _rounded(content: Any) -> Any:
    if isinstance(content, float):
        return float(f"{content:.5g}")
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(value) for value in content]
    return content
