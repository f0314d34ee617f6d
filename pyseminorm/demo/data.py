"""Real multivariate time series that ship inside the PyPI package aeon (www.timeseriesclassification.com)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """``series`` (samples, channels, times), the first channel being time; ``labels`` (samples,) of int64."""

    series: Tensor
    labels: Tensor


def load(name: str) -> tuple[Split, Split, int]:
    """Return the training and test split and the number of classes; channels are standardised on the training split."""
    from aeon.datasets import load_basic_motions, load_japanese_vowels

    loader = {"basic-motions": load_basic_motions, "japanese-vowels": load_japanese_vowels}[name]
    (train_x, train_y), (test_x, test_y) = loader(split="train"), loader(split="test")
    classes = {label: i for i, label in enumerate(sorted(set(train_y)))}
    length = max(x.shape[1] for x in [*train_x, *test_x])
    train, test = _pad(train_x, length), _pad(test_x, length)
    mean, deviation = train.mean(dim=(0, 2), keepdim=True), train.std(dim=(0, 2), keepdim=True)
    splits = []
    for x, y in ((train, train_y), (test, test_y)):
        clock = torch.linspace(-1, 1, length).expand(x.shape[0], 1, length)
        labels = torch.tensor([classes[label] for label in y])
        splits.append(Split(torch.cat([clock, (x - mean) / deviation], dim=1), labels))
    return splits[0], splits[1], len(classes)


def _pad(series: Any, length: int) -> Tensor:
    """Pad series of unequal length by their last value (a path that stops contributes nothing more)."""
    rows = [np.pad(x, ((0, 0), (0, length - x.shape[1])), mode="edge") for x in series]
    return torch.tensor(np.stack(rows), dtype=torch.float32)
