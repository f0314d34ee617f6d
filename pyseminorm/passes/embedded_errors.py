"""The embedded error of the parameter gradient: what the stages of accepted steps say of mu, which no norm need see.

A step with stages k_i of mu' = q(t) adds h sum_i b_i k_i to mu, and h sum_i e_i k_i is its difference from what the
method's embedded solution would add. Of many parameters a sample of elements is kept, the same ones of every stage.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..host_copies import read, read_number, send_numbers
from ..methods.tableau import Row
from ..problem.parameters import as_real
from ..torch_internals import copy_all

KEPT_WHOLE = 2**14  # parameters, all of whose elements are kept of every stage
SAMPLED = 2**10  # else so many elements of a tensor, at most
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0  # multiples of it, modulo 1, are spread evenly, and in no row or column


class StepSizes(NamedTuple):
    """2-norms of what a step adds to mu, and of its embedded error."""

    increment: float
    error: float

    def over(self, size: float) -> StepSizes:
        """Return them relative to the size of mu."""
        return StepSizes(self.increment / size, self.error / size) if size else StepSizes(0.0, self.error and math.inf)


class EmbeddedErrors:
    """Increments of mu and their embedded errors, in the accepted steps.

    Attributes:
        whole: whether the sample is all of mu: `total` is then mu, of which `parts` are views like the targets.
    """

    def __init__(self, targets: Sequence[Tensor], b: Row, e: Row) -> None:
        real = list(map(as_real, targets))
        kinds = {(x.dtype, x.device) for x in targets}
        sizes = [x.numel() for x in real]
        dtype, device = torch.promote_types(real[0].dtype, torch.float32), real[0].device
        self.whole = sum(sizes) <= KEPT_WHOLE and kinds == {(dtype, device)}
        most = KEPT_WHOLE if self.whole else SAMPLED
        self._places = [None if n <= most else _spread(n, x.device) for n, x in zip(sizes, real, strict=True)]
        shapes = [x.shape if n <= most else (SAMPLED,) for n, x in zip(sizes, real, strict=True)]
        counts = [min(n, most) for n in sizes]
        self._stages = torch.zeros(len(b), sum(counts), dtype=dtype, device=device)
        # The parts of every stage, which unbind makes in a fraction of the time of so many views.
        every = [(len(b), *shape) for shape in shapes]
        self._views = list(zip(*(part.unbind() for part in _parts(self._stages, counts, every)), strict=True))
        self._shapes = shapes
        self._weights = send_numbers([b, e], self._stages)
        self._factors = None if self.whole else _factors(sizes, counts, self._stages)
        self.total = self._stages.new_zeros(sum(counts))
        self.parts = _parts(self.total, counts, shapes)
        self._attempt: Tensor | None = None  # increment and error of an attempted step
        self._attempt_sizes: Tensor | None = None  # theirs, where somebody has asked
        self._sizes: list[Tensor] = []

    @functools.cached_property
    def _zeros(self) -> list[Tensor]:
        zero = self._stages.new_zeros(())
        return [zero.expand(shape) for shape in self._shapes]

    def begin(self, totals: Sequence[Tensor]) -> None:
        """Begin with a mu of ``totals``."""
        copy_all(self.parts, self._sampled(totals))

    def clear(self) -> None:
        """Let all stages be zero."""
        self._stages.zero_()

    def take(self, i: int, derivatives: Sequence[Tensor | None]) -> None:
        """Take the derivatives of stage ``i``; None: zero."""
        self._attempt = None
        plain = self.whole and not any(map(_is_none, derivatives))
        copy_all(self._views[i], derivatives if plain else self._sampled(derivatives))

    def _sampled(self, derivatives: Sequence[Tensor | None]) -> list[Tensor]:
        return [
            zero if q is None else as_real(q) if places is None else torch.take(as_real(q), places)
            for q, zero, places in zip(derivatives, self._zeros, self._places, strict=True)
        ]

    def attempted(self, h: float) -> StepSizes:
        """Return the sizes of an attempted step, relative to that of mu before or after it, whichever is larger."""
        around = torch.stack([self.total, self.total + self._try(h)[0]])
        increment, error, before, after = read(
            torch.cat([self._measure(h), torch.linalg.vector_norm(self._scaled(around), dim=1)])
        )
        return StepSizes(increment, error).over(max(before, after))

    def accept(self, h: float, *, counted: bool = True) -> None:
        """Add an attempted step; ``counted``: its stages are those of a smooth integrand."""
        self.total.add_(self._try(h)[0])
        if counted:
            self._sizes.append(self._measure(h))

    def size(self) -> float:
        """Return the size of mu."""
        return float(read_number(torch.linalg.vector_norm(self._scaled(self.total))))

    def steps(self, size: float) -> list[StepSizes]:
        """Return the sizes of the steps that counted, relative to that of mu; nothing where it is zero."""
        if not self._sizes or size == 0.0:
            return []
        return [StepSizes(*row) for row in read(torch.stack(self._sizes) / size)]

    def _try(self, h: float) -> Tensor:
        if self._attempt is None:
            self._attempt = torch.mm(self._weights, self._stages)
            if h != 1.0:
                self._attempt *= h
            self._attempt_sizes = None
        return self._attempt

    def _measure(self, h: float) -> Tensor:
        pair = self._try(h)
        if self._attempt_sizes is None:
            self._attempt_sizes = torch.linalg.vector_norm(self._scaled(pair), dim=1)
        return self._attempt_sizes

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self._factors is None else x * self._factors


_is_none = functools.partial(operator.is_, None)


def _parts(x: Tensor, counts: Sequence[int], shapes: Sequence[Any]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(x.split_with_sizes(counts, dim=-1), shapes, strict=True)]


def _factors(sizes: Sequence[int], counts: Sequence[int], like: Tensor) -> Tensor:
    """Return for how many elements each of the sample stands, in a 2-norm."""
    found = [like.new_full((count,), math.sqrt(n / count)) for n, count in zip(sizes, counts, strict=True) if count]
    return torch.cat(found)


@functools.lru_cache(maxsize=64)
def _spread(size: int, device: torch.device) -> Tensor:
    """Return the places of the elements of a tensor that are kept."""
    steps = torch.arange(SAMPLED, dtype=torch.float64) * GOLDEN
    return (steps.frac() * size).long().to(device)


def sample_of(sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the places that are kept of tensors laid end to end, and what each stands for in a 2-norm; none: all."""
    if sum(sizes) <= KEPT_WHOLE:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    starts, host = itertools.accumulate(sizes, initial=0), torch.device("cpu")
    places = [
        start + (_spread(n, host) if n > SAMPLED else torch.arange(n)) for start, n in zip(starts, sizes, strict=False)
    ]
    factors = _factors(sizes, [min(n, SAMPLED) for n in sizes], torch.empty(0, dtype=torch.float64))
    return torch.cat(places), factors
