"""Cotangents of outputs and of interpolated states: what a loss hands to a backward pass."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import LastGoodState, SolveError
from ..host_copies import is_short, read, read_number, send_numbers
from ..problem.finiteness import first_not_finite
from ..problem.state import all_finite
from ..retcode import ReturnCode
from ..stats import PassStats, Stats
from ..torch_internals import backward_pass_number
from .problems import DenseOutput

_SHORT = 64  # elements that are read faster by Python than by a call of PyTorch


def active_rows(grad: Tensor, times: Sequence[float], rows: int, retcode: ReturnCode, stats: Stats) -> list[bool]:
    """Return which outputs have a nonzero cotangent; refuse one that is not finite, or of an output beyond ``rows``."""
    if grad.numel() <= _SHORT and not grad.is_cuda:
        values = read(grad)
        active, total = list(map(any, values)), sum(map(sum, values))
    else:
        sizes = read(grad.abs().sum(dim=1))  # vector_norm takes five times as long
        active, total = [size != 0.0 for size in sizes], sum(sizes)
    if not math.isfinite(total) and not all_finite(grad):
        index = first_not_finite(grad) or 0
        raise _not_finite(f"output {index} (t = {times[index]})", times[-1])
    if any(active[rows:]):
        index = active.index(True, rows)
        raise SolveError(
            f"the loss depends on output {index} (t = {times[index]}), which the solve did not reach "
            f"({retcode.name}): leave the rows after {rows - 1} out of the loss.",
            retcode,
            LastGoodState(times[rows - 1], None, stats.forward),
        )
    return active


def _not_finite(what: str, end: float) -> SolveError:
    return SolveError(
        f"the gradient of the loss with respect to {what} is not finite: check the loss.",
        ReturnCode.Failure,
        LastGoodState(end, None, PassStats()),
    )


def largest_rms(grad: Tensor) -> float:
    """Return the largest root mean square of an output's cotangent, which a backward solve divides them by.

    The cotangents are divided by their largest element first, since squares of 1e200 or 1e-200 are no numbers.
    """
    tiny = torch.finfo(grad.dtype).tiny  # the inverse of a smaller number is infinite
    if is_short(grad):
        longest: float = max(math.hypot(*map(abs, row)) for row in read(grad))
        return max(longest / math.sqrt(grad.shape[1]), tiny)
    largest = max(read_number(grad.abs().max()), tiny)
    sizes = torch.linalg.vector_norm(grad / largest, dim=1, dtype=torch.float64) / grad.shape[1] ** 0.5
    return float(max(largest * read_number(sizes.max()), tiny))


class LateCotangents(NamedTuple):
    """Cotangents (len(times), size) of values at times."""

    times: tuple[float, ...]
    grad: Tensor


class HandedOver:
    """Late cotangents, from their own backward functions to that of the solve, in every backward pass by itself."""

    def __init__(self) -> None:
        self._passes: dict[int, list[LateCotangents]] = {}

    def put(self, cotangents: LateCotangents) -> None:
        here = backward_pass_number()
        if here not in self._passes and len(self._passes) == _MOST_PASSES:
            del self._passes[next(iter(self._passes))]  # it never came to the solve, or has failed
        self._passes.setdefault(here, []).append(cotangents)

    def take(self, count: int) -> list[LateCotangents]:
        """Return what was handed over in this backward pass, which is so much."""
        found = self._passes.pop(backward_pass_number(), [])
        if len(found) != count:
            raise RuntimeError(
                f"a solve got {len(found)} of the {count} cotangents of its interpolated states: too many backward "
                "passes go through it at the same time. Let them go one after the other."
            )
        return found


_MOST_PASSES = 16  # that may hand over before their solve takes, in as many threads


@dataclass
class MergedOutputs:
    """The outputs of a solve and the values with late cotangents, as outputs of one backward pass.

    ``times`` of all, none twice or as near to another as rounding, and ``rows``, how many of them the solve has
    reached; ``own``: where the solve's outputs are among them; ``late``: times and places of the others;
    ``cotangents`` (len(times), size); ``start``: the sum of late ones at the first time, whose row has only its own.
    """

    times: tuple[float, ...]
    rows: int
    own: list[int]
    late: tuple[list[float], list[int]]
    cotangents: Tensor
    start: Tensor

    @classmethod
    def of(cls, times: Sequence[float], rows: int, grad: Tensor, parts: Sequence[LateCotangents]) -> MergedOutputs:
        """Merge the cotangents ``grad`` (len(times), size) of outputs with late ones, which must be finite."""
        late = _join(parts)
        if not all_finite(late.grad):
            index = first_not_finite(late.grad) or 0
            raise _not_finite(f"interpolate(t = {late.times[index]})", times[-1])
        at = _snap(late.times, times[:rows])
        new = sorted(set(at.values()).difference(times))
        merged = tuple(sorted((*times, *new), reverse=times[-1] < times[0]))
        place = {t: i for i, t in enumerate(merged)}
        own, where = [place[t] for t in times], send_numbers([place[at[t]] for t in late.times], grad, torch.long)
        added = grad.new_zeros(len(merged), grad.shape[1]).index_add_(0, where, late.grad.to(grad))
        start = added[0].clone()
        added[0] = 0.0
        added[send_numbers(own, grad, torch.long)] += grad
        return cls(merged, rows + len(new), own, (new, [place[t] for t in new]), added, start)

    def fill(self, ys: Tensor, dense: DenseOutput | None) -> Tensor:
        """Return the states of all rows, from those of the outputs (outputs, size) and from dense output, if given."""
        rows = ys.new_zeros(self.cotangents.shape)
        rows[send_numbers(self.own, ys, torch.long)] = ys
        times, places = self.late
        if times and dense is not None:
            rows[send_numbers(places, ys, torch.long)] = dense.rows(times)
        return rows


def _join(parts: Sequence[LateCotangents]) -> LateCotangents:
    """Return all of the late cotangents of a backward pass but those that are zero."""
    times = itertools.chain.from_iterable(part.times for part in parts)
    grad = torch.cat([part.grad for part in parts])
    chosen = (grad != 0).any(dim=1)  # NaN is not zero
    return LateCotangents(tuple(itertools.compress(times, read(chosen))), grad[chosen])


def _snap(late: Sequence[float], times: Sequence[float]) -> dict[float, float]:
    """Return which time each late time becomes: its own, or one that a step could not tell from it."""
    rows, found = sorted(times), {}
    for t in sorted(set(late)):
        i = bisect.bisect_left(rows, t)
        near = [x for x in rows[max(i - 1, 0) : i + 1] if abs(x - t) <= 100 * math.ulp(max(abs(x), abs(t)))]
        if not near:
            rows.insert(i, t)
        found[t] = min(near, key=lambda x: abs(x - t), default=t)
    return found
