"""The trajectory that a solve has kept: its values at any time, with gradients.

A value y(t) between the outputs is one more output, wanted after the solve. Its cotangent g belongs into the solve's
one backward pass, which autograd runs after those of all values: `Interpolation` hands (t, g) over to the solve and
gives its gradient by t, which is g . dy/dt of the dense output. What autograd carries between the two is a token, a
zero; its gradient counts what was handed over.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..host_copies import read
from ..problem.recorded_field import zeros_of
from ..problem.state import StateSpec
from ..problem.times import to_times
from ..problem.torch_modes import without_autocast
from ..torch_internals import pytree
from .cotangents import HandedOver, LateCotangents
from .problems import DenseOutput
from .refusals import refuse_again, refuse_dual_numbers, refuse_transforms


@dataclass(eq=False, repr=False)
class KeptTrajectory:
    """What `Solution.interpolate` evaluates, from the first time ``reached`` to the last good one."""

    dense: DenseOutput
    spec: StateSpec
    reached: tuple[float, float]
    token: Tensor | None
    handed_over: HandedOver | None

    def interpolate(self, t: Tensor | Sequence[float] | float) -> Any:
        """Return the states at times, as `Solution.interpolate` says."""
        wanted, times = self._read(t)
        rows = self._rows(wanted.reshape(-1), times)
        return self.spec.unflatten(rows if wanted.dim() else rows[0])

    def _rows(self, vector: Tensor, times: tuple[float, ...]) -> Tensor:
        """Return the states (len(times), size)."""
        if torch.is_grad_enabled() and (vector.requires_grad or self.token is not None):
            refuse_transforms()
            refuse_dual_numbers([vector])
            by_time = vector if vector.requires_grad else None
            rows: Tensor = _interpolate(self, times, self.token, by_time)
            return rows
        return self.evaluate(times)

    def evaluate(self, times: Sequence[float]) -> Tensor:
        """Return the same without gradients."""
        spec = self.spec
        with torch.no_grad(), without_autocast(spec.device):
            if not times:
                return torch.empty(0, spec.size, dtype=spec.real_dtype, device=spec.device)
            return self.dense.rows(times)

    def _read(self, t: Tensor | Sequence[float] | float) -> tuple[Tensor, tuple[float, ...]]:
        """Return times as a tensor and as floats; refuse those that are none of the solve's."""
        try:
            wanted = to_times(t)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidInputError(f"interpolate: t is a {type(t).__name__}: expected a number or a vector.") from None
        times = tuple(read(wanted.reshape(-1)))
        if wanted.dim() > 1:
            raise InvalidInputError(f"interpolate: t has shape {tuple(wanted.shape)}: expected a number or a vector.")
        low, high = sorted(self.reached)
        for time in times:
            if not low <= time <= high:
                raise InvalidInputError(f"interpolate: t = {time} lies outside [{low}, {high}], the times solved.")
        if times and low == high:
            raise InvalidInputError(f"interpolate: the solve made no step from t = {low}.")
        return wanted, times


class JoinedTrajectory(KeptTrajectory):
    """The trajectories of a chain of solves, each from the end of the one before it."""

    def __init__(self, parts: Sequence[KeptTrajectory]) -> None:
        self._parts, self.reached = parts, (parts[0].reached[0], parts[-1].reached[1])
        self._way = 1.0 if self.reached[1] > self.reached[0] else -1.0
        self._ends = [self._way * part.reached[1] for part in parts[:-1]]

    def interpolate(self, t: Tensor | Sequence[float] | float) -> Any:
        """Return the states at times, at the end of a solve its own."""
        wanted, times = self._read(t)
        which = [bisect.bisect_left(self._ends, self._way * time) for time in times]
        if not wanted.dim() or not times:
            return self._parts[which[0] if which else 0].interpolate(wanted)
        rows = [[row for row, part in enumerate(which) if part == i] for i in sorted(set(which))]
        found = [self._parts[which[some[0]]].interpolate(wanted[some]) for some in rows]
        order = sorted(range(len(times)), key=[row for some in rows for row in some].__getitem__)
        return pytree.tree_map(lambda *values: torch.cat(values)[order], *found)


class RecordedTrajectory(KeptTrajectory):
    """The same of a solve that autograd has recorded: it records this too."""

    def _rows(self, vector: Tensor, times: tuple[float, ...]) -> Tensor:
        offsets = zeros_of(vector, self.spec)
        dense: Any = self.dense  # of the embedded engine
        if not times:
            return self.evaluate(times)
        with without_autocast(self.spec.device):
            rows: Tensor = dense.rows(times) if offsets is None else dense.moving_rows(times, offsets)
        return rows


class Interpolation(torch.autograd.Function):
    """States (len(times), size), differentiable by the solve (through its token) and by the times (or None)."""

    @staticmethod
    def forward(
        ctx: Any, kept: KeptTrajectory, times: tuple[float, ...], token: Tensor | None, vector: Tensor | None
    ) -> Tensor:
        ctx.kept, ctx.times = kept, times
        ctx.save_for_backward(token, vector)
        return kept.evaluate(times)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        token, vector = ctx.saved_tensors
        if token is not None:
            ctx.kept.handed_over.put(LateCotangents(ctx.times, grad))
        counted = None if token is None else torch.ones_like(token)
        if vector is None:
            return (None, None, counted, None)
        with torch.no_grad(), without_autocast(ctx.kept.spec.device):
            by_time = (grad * ctx.kept.dense.rows(ctx.times, derivative=True)).sum(dim=1).to(vector)
        if torch.is_grad_enabled():  # create_graph=True: allowed, as long as nothing differentiates again
            (by_time,) = refuse_again(1, by_time, grad, vector)
        return (None, None, counted, by_time)


_interpolate: Any = Interpolation.apply
