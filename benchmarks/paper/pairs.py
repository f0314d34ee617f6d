"""The one table of what is trained: every task with its tolerances and sizes, fixed before the first full run.

What differs from the paper (P. Kidger, R. T. Q. Chen, T. Lyons, ICML 2021) in data and scale is said in `Task.differs`,
which the page of results prints.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

METHOD = "dopri5"
SEEDS = 3
TIME_SERIES, GENERATIVE, CONTROL = "time-series", "generative", "control"
FAMILIES = (TIME_SERIES, GENERATIVE, CONTROL)


class Tolerance(NamedTuple):
    """``rtol`` and ``atol`` of both passes, and for how many epochs is trained with them."""

    rtol: float
    atol: float
    epochs: int


@dataclass(frozen=True)
class Sizes:
    """How large a training is.

    Attributes:
        batches: optimiser steps in an epoch, on random batches that need not cover the data.
        batch: samples in a batch.
        width: units in the hidden layers of the vector field.
        state: size of one sample's hidden state, where the task leaves it open; else 0.
        held: samples in the batch on which gradients are compared.
        rate: Adam's learning rate.
        stride: every so many points of a time series are kept.
    """

    batches: int
    batch: int
    width: int
    state: int
    held: int
    rate: float
    stride: int = 1


class Reference(NamedTuple):
    """Method and tolerance (both) of the float64 solve that gradients are compared with.

    Where the field has kinks, high order gains nothing: there bosh3 at 1e-7 was within 1e-5 of dopri5 at 1e-9.
    """

    method: str
    tolerance: float


SMOOTH, KINKED = Reference("vern7", 1e-10), Reference("bosh3", 1e-7)


@dataclass(frozen=True)
class Task:
    """One row: a task, its tolerances, its sizes, and how it differs from the paper's experiment."""

    name: str
    family: str
    tolerances: tuple[Tolerance, ...]
    sizes: Sizes
    differs: str
    reference: Reference = SMOOTH


@dataclass(frozen=True)
class Pair:
    """A task at one tolerance."""

    task: str
    rtol: float
    atol: float
    epochs: int
    sizes: Sizes
    reference: Reference

    @property
    def name(self) -> str:
        return f"{self.task}-{self.rtol:.0e}-{self.atol:.0e}"


def _paper(*epochs: int) -> tuple[Tolerance, ...]:
    """The paper's three pairs for Neural CDEs; tight ones cost many times more, and get fewer epochs."""
    pairs = ((1e-3, 1e-6), (1e-4, 1e-7), (1e-5, 1e-8))
    return tuple(Tolerance(*pair, number) for pair, number in zip(pairs, epochs, strict=False))


TASKS: tuple[Task, ...] = (
    Task(
        "basic-motions",
        TIME_SERIES,
        _paper(12, 4, 2),
        Sizes(batches=1, batch=20, width=32, state=16, held=4, rate=1e-2, stride=10),
        "Neural CDE on BasicMotions (40 series, 6 channels, every tenth of 100 points) instead of Speech Commands "
        "(105,829 recordings, batch 1024, hidden 90); Hermite splines with backward differences instead of natural "
        "ones; 12, 4 and 2 optimiser steps at the three tolerances",
        KINKED,
    ),
    Task(
        "japanese-vowels",
        TIME_SERIES,
        _paper(20, 8, 2),
        Sizes(batches=1, batch=32, width=32, state=16, held=4, rate=1e-2, stride=2),
        "Neural CDE on JapaneseVowels (270 series, 12 channels, every second of up to 29 points), otherwise as above; "
        "20, 8 and 2 optimiser steps",
        KINKED,
    ),
    Task(
        "latent-ode",
        TIME_SERIES,
        _paper(10),
        Sizes(batches=6, batch=45, width=40, state=8, held=16, rate=1e-2),
        "not in the paper: a latent ODE (Rubanova et al., 2019) on JapaneseVowels at 12 irregular times, half of the "
        "points hidden from the encoder; 60 optimiser steps",
    ),
    Task(
        "digits",
        GENERATIVE,
        (Tolerance(1e-5, 1e-5, 6),),
        Sizes(batches=22, batch=64, width=128, state=0, held=16, rate=2e-3),
        "FFJORD with three dense hidden layers on scikit-learn's 8 x 8 digits instead of convolutions on MNIST and "
        "CIFAR-10; 132 optimiser steps",
    ),
    Task(
        "moons",
        GENERATIVE,
        (Tolerance(1e-5, 1e-5, 6),),
        Sizes(batches=15, batch=100, width=64, state=0, held=32, rate=1e-2),
        "not in the paper: a density in the plane, FFJORD's own net for such (64-64-64) and batch, exact trace; 90 "
        "optimiser steps instead of 10,000",
    ),
    Task(
        "checkerboard",
        GENERATIVE,
        (Tolerance(1e-5, 1e-5, 6),),
        Sizes(batches=15, batch=100, width=64, state=0, held=32, rate=1e-2),
        "as moons",
    ),
    Task(
        "pendulum",
        CONTROL,
        (Tolerance(1e-4, 1e-4, 6),),
        Sizes(batches=12, batch=64, width=128, state=0, held=64, rate=2e-3),
        "the unstructured symplectic ODE-Net (Zhong et al., 2020) on a pendulum, canonical coordinates observed; batch "
        "64 instead of 256; 72 optimiser steps",
    ),
    Task(
        "acrobot",
        CONTROL,
        (Tolerance(1e-4, 1e-4, 6),),
        Sizes(batches=12, batch=64, width=256, state=0, held=64, rate=2e-3),
        "the same on an acrobot of our own simulator; 69 thousand parameters and batch 64 instead of 509 thousand and "
        "256, so that there are about as many parameters for an element of the state",
    ),
)


def pairs(chosen: str | None = None, *, quick: bool = False) -> list[Pair]:
    """All pairs, or those of a task or family; ``quick`` keeps one tolerance, one epoch and two small batches.

    Raises:
        ValueError: neither a task nor a family.

    >>> [pair.name for pair in pairs("japanese-vowels", quick=True)]
    ['japanese-vowels-1e-03-1e-06']
    """
    rows = [task for task in TASKS if chosen in (None, task.name, task.family)]
    if not rows:
        known = ", ".join([*FAMILIES, *(task.name for task in TASKS)])
        raise ValueError(f"{chosen!r} is not a task: give one of {known}, or none for all.")
    if not quick:
        return [
            Pair(task.name, *tolerance, task.sizes, task.reference) for task in rows for tolerance in task.tolerances
        ]
    return [Pair(task.name, *task.tolerances[0][:2], 1, _quick(task.sizes), _loosened(task.reference)) for task in rows]


def _loosened(reference: Reference) -> Reference:
    return Reference(reference.method, 100 * reference.tolerance)


def _quick(sizes: Sizes) -> Sizes:
    return dataclasses.replace(sizes, batches=2, batch=min(sizes.batch, 32), held=4, stride=2 * sizes.stride)
