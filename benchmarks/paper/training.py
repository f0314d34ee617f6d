"""One training, epoch by epoch, which goes on where an interrupted one stopped."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyseminorm import __version__

from .contenders import FAILURES, Contender, CountingSolver
from .cost import Cost
from .experiment import Batch, Experiment
from .gradients import gradient_errors
from .pairs import Pair
from .record import Epoch, Record, RecordError, path_of, read_record, record_from, settings_of, write_record
from .solver import Field

KEEP_EVERY = 30.0  # seconds between two checkpoints of a training

GRADIENTS_BY, SAMPLES_BY = "norm-torchdiffeq", "norm-seminorm"


class Training:
    """A pair, a contender and a seed; `run` trains to the end and writes the record.

    The weights, the batches and everything random in them depend on the seed and the epoch alone: all contenders see
    the same, and so does a training that is resumed.
    """

    def __init__(
        self, pair: Pair, contender: Contender, seed: int, experiment: Experiment, backend: str, out: Path
    ) -> None:
        self.pair, self.contender, self.seed, self.experiment = pair, contender, seed, experiment
        self.engine = backend
        backend = "torchdiffeq" if contender.adjoint is None else backend
        self.record_path = path_of(out, pair.name, contender.name, backend, seed)
        self.checkpoint_path = self.record_path.with_suffix(".pt")
        self.solver = contender.solver(pair, self.engine)
        torch.manual_seed(seed)
        self.model = experiment.model()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=pair.sizes.rate)
        self.record = Record(
            pair.name, contender.name, seed, backend, settings_of(pair), _versions(), experiment.quality_name
        )

    def run(self, advance: Callable[[], None]) -> Record:
        """The record, if there is one; else train. ``advance`` is told of every epoch, those of earlier runs included.

        Raises:
            RecordError: the record that is there is of other settings.
        """
        if self.record_path.exists():
            return self._recorded(advance)
        self._resume(advance)
        kept = time.monotonic()
        try:
            _warm_up(self.pair, self.contender, self.experiment, self.model, self.engine)
            self._check()
            while len(self.record.epochs) < self.pair.epochs:
                self.record.epochs.append(self._epoch())
                self._check()
                if time.monotonic() - kept > KEEP_EVERY:
                    self._keep()
                    kept = time.monotonic()
                advance()
        except FAILURES as error:
            self.record.failure = str(error) or type(error).__name__
        write_record(self.record_path, self.record)
        self.checkpoint_path.unlink(missing_ok=True)
        return self.record

    def _recorded(self, advance: Callable[[], None]) -> Record:
        record = read_record(self.record_path)
        if record.settings != self.record.settings:
            raise RecordError(
                f"{self.record_path} is of other settings than the table's: give another folder with --out, or move it "
                "away."
            )
        for _ in range(self.pair.epochs):
            advance()
        return record

    def _epoch(self) -> Epoch:
        torch.manual_seed(1_000_000 + 1000 * self.seed + len(self.record.epochs))
        batches = self.experiment.batches()
        cost, losses = Cost(), []
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            losses.append(self._step(batch))
            cost += self.solver.cost()
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        mean = sum(losses) / len(losses)
        return Epoch(mean, **dataclasses.asdict(cost), seconds=seconds, cpu_seconds=cpu_seconds)

    def _step(self, batch: Batch) -> float:
        self.optimiser.zero_grad()
        loss = self.experiment.loss(self.model, batch, self.solver)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.item()

    def _check(self) -> None:
        """At the start, in the middle and at the end: the quality, and where it is this training's part, the rest."""
        epoch, record = len(self.record.epochs), self.record
        if epoch not in (0, self.pair.epochs // 2, self.pair.epochs) or str(epoch) in record.quality:
            return
        watched = _Watched(self.solver)
        with torch.no_grad():
            quality = self.experiment.quality(self.model, self.solver)
            self.experiment.loss(self.model, self.experiment.held, watched)
        record.state = watched.size * self.pair.sizes.batch // self.pair.sizes.held
        record.parameters = sum(p.numel() for p in self.model.get_submodule("field").parameters())
        if self.seed == 0 and self.contender.name == GRADIENTS_BY:
            record.gradients += gradient_errors(self.pair, self.experiment, self.model, epoch, self.engine)
        if self.seed == 0 and self.contender.name == SAMPLES_BY and epoch == self.pair.epochs:
            with torch.no_grad():
                record.samples = self.experiment.samples(self.model, self.solver)
        record.quality[str(epoch)] = quality

    def _keep(self) -> None:
        partial = self.checkpoint_path.with_suffix(".pt.tmp")
        partial.parent.mkdir(parents=True, exist_ok=True)
        weights = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        torch.save({**weights, "record": json.dumps(dataclasses.asdict(self.record))}, partial)
        os.replace(partial, self.checkpoint_path)  # noqa: PTH105 (Path.replace is the same call)

    def _resume(self, advance: Callable[[], None]) -> None:
        if not self.checkpoint_path.exists():
            return
        content = torch.load(self.checkpoint_path, weights_only=True)
        record = record_from(json.loads(content["record"]))
        if record.settings != self.record.settings:
            return
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.record = record
        for _ in self.record.epochs:
            advance()


class _Watched:
    """A solver that tells the size of the state that it was given."""

    size = 0

    def __init__(self, solver: CountingSolver) -> None:
        self.solver = solver

    def __call__(self, field: Field, y0: Tensor, times: Any, params: Any, /) -> Tensor:
        self.size = y0.numel()
        return self.solver(field, y0, times, params)


def _warm_up(pair: Pair, contender: Contender, experiment: Experiment, model: nn.Module, backend: str) -> None:
    """One loose pass on a copy, so that no epoch pays for imports and first calls."""
    loose = dataclasses.replace(pair, rtol=0.1, atol=0.1)
    loss = experiment.loss(copy.deepcopy(model), experiment.held, contender.solver(loose, backend))
    loss.backward()  # type: ignore[no-untyped-call]


def _versions() -> dict[str, str]:
    return {
        "pyseminorm": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread",
    }


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
