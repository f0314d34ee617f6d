"""Classification of time series by a Neural CDE (the demo's model and data)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyseminorm.demo.data import load
from pyseminorm.demo.neural_cde import NeuralCDE

from ..experiment import Batch
from ..pairs import Sizes
from ..solver import Solver


class Classification:
    """Batches are (series, labels)."""

    quality_name = "test accuracy"

    def __init__(self, dataset: str, sizes: Sizes) -> None:
        self.sizes = sizes
        train, test, self.classes = load(dataset)
        self.train = (train.series[..., :: sizes.stride], train.labels)
        self.test = (test.series[..., :: sizes.stride], test.labels)
        spread = torch.linspace(0, len(test.labels) - 1, sizes.held).long()  # series of all classes: they are sorted
        self.held: Batch = tuple(x[spread] for x in self.test)

    def model(self) -> nn.Module:
        channels = self.train[0].shape[1]
        return NeuralCDE(channels, self.classes, hidden=self.sizes.state, width=self.sizes.width)

    def batches(self) -> list[Batch]:
        order = torch.randperm(len(self.train[1]))
        rows = torch.split(order, self.sizes.batch)[: self.sizes.batches]
        return [tuple(x[row] for x in self.train) for row in rows]

    def loss(self, model: nn.Module, batch: Batch, solver: Solver) -> Tensor:
        series, labels = batch
        return cross_entropy(model(series, solver), labels)

    def quality(self, model: nn.Module, solver: Solver) -> float:
        series, labels = self.test
        return float((model(series, solver).argmax(dim=1) == labels).float().mean())

    def samples(self, model: nn.Module, solver: Solver) -> list[list[float]]:
        return []
