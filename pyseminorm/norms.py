"""Norms of the scaled error: what the step-size control sees.

A norm with a name is a maximum over root-mean-squares of segments of the flat state; what no segment covers is not
measured. A callable gets the scaled residual in the user's own shapes.

Source: P. Kidger, R. T. Q. Chen, T. Lyons, "Hey, that's not an ODE": Faster ODE Adjoints via Seminorms, ICML 2021.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .errors import InvalidInputError
from .host_copies import is_short, read, read_number

FORWARD_NORMS = ("rms", "torchdiffeq")
ADJOINT_NORMS = ("seminorm", "seminorm_joint", "seminorm_leaves", "rms", "torchdiffeq", "torchdiffeq_seminorm")

Segment = tuple[int, int]


class AdjointState(NamedTuple):
    """The backward state in the user's own shapes, as a callable norm of an adjoint gets it.

    Attributes:
        adjoint: lambda = dL/dy, in the shape(s) of ``y0``.
        y: the state, in the shape(s) of ``y0``; None where the adjoint does not integrate it.
        params: mu, the running parameter gradient, one tensor per parameter.
    """

    adjoint: Any
    y: Any
    params: tuple[Tensor, ...]


@dataclass(frozen=True)
class AdjointLayout:
    """Where the parts of the flat backward state [lambda; y; a_t; mu] lie.

    Attributes:
        leaves: number of elements of every leaf of the state.
        params: number of elements of every parameter.
        has_y: whether y is integrated (BacksolveAdjoint).
        has_time: whether the time adjoint a_t is (the torchdiffeq norms only, as there).
    """

    leaves: tuple[int, ...]
    params: tuple[int, ...]
    has_y: bool
    has_time: bool

    @property
    def state(self) -> int:
        return sum(self.leaves)

    @property
    def params_start(self) -> int:
        return self.state * (2 if self.has_y else 1) + int(self.has_time)

    @property
    def size(self) -> int:
        return self.params_start + sum(self.params)

    @property
    def adjoint_slice(self) -> slice:
        return slice(0, self.state)

    @property
    def y_slice(self) -> slice:
        return slice(self.state, 2 * self.state) if self.has_y else slice(self.state, self.state)

    @property
    def time_slice(self) -> slice:
        return slice(self.params_start - int(self.has_time), self.params_start)

    @property
    def params_slice(self) -> slice:
        return slice(self.params_start, self.size)

    def split_params(self, z: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
        """Return views of the mu part of a flat backward state (size,), in the parameters' own shapes."""
        parts = torch.split(z[self.params_slice], list(self.params)) if self.params else ()
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=bool(self.params))]


def _consecutive(start: int, sizes: Sequence[int]) -> Iterator[Segment]:
    return itertools.pairwise(itertools.accumulate(sizes, initial=start))


def forward_segments(norm: str, leaves: Sequence[int]) -> tuple[Segment, ...]:
    """Return the segments of the flat state whose rms the named norm of a forward solve takes the maximum of."""
    return _filled([(0, sum(leaves))] if norm == "rms" else _consecutive(0, leaves))


@functools.lru_cache(maxsize=64)
def adjoint_segments(norm: str, layout: AdjointLayout) -> tuple[Segment, ...]:
    """Return the segments of the flat backward state whose rms the named norm takes the maximum of."""
    n, leaves, both = layout.state, layout.leaves, layout.leaves * (2 if layout.has_y else 1)
    time = (layout.time_slice.start, layout.time_slice.stop)
    theirs = [time, *_consecutive(n, leaves if layout.has_y else ()), *_consecutive(0, leaves)]
    segments: dict[str, Iterable[Segment]] = {
        "rms": [(0, layout.size)],
        "seminorm_joint": [(0, sum(both))],
        "seminorm": [(0, n), (n, sum(both))],
        "seminorm_leaves": _consecutive(0, both),
        "torchdiffeq_seminorm": theirs,
        "torchdiffeq": [*theirs, *_consecutive(layout.params_start, layout.params)],
    }
    return _filled(segments[norm])


def _filled(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Return the segments that have elements."""
    return tuple(s for s in segments if s[1] > s[0])


FlatNorm = Callable[[Tensor], float]


@dataclass(frozen=True)
class Seminorm:
    """max over segments of rms(z[start:stop]) of a flat vector z, as a float; a NaN counts as infinite.

    The Julia engine has a struct of the same name and meaning.
    """

    segments: tuple[Segment, ...]

    def __call__(self, z: Tensor) -> float:
        if is_short(z):
            numbers = read(z)
            return self.join([math.hypot(*map(abs, numbers[a:b])) for a, b in self.segments])
        narrow = torch.float32 if z.dtype in (torch.float16, torch.bfloat16) else None
        first, stop = self.segments[0]
        if len(self.segments) == 1:
            sizes = [read_number(torch.linalg.vector_norm(z[first:stop], dtype=narrow))]
        elif len(self.segments) == 2 and self.segments[1] == (stop, 2 * stop - first):
            rows = z[first : self.segments[1][1]].view(2, -1)
            sizes = read(torch.linalg.vector_norm(rows, dim=1, dtype=narrow))
        else:
            parts = [torch.linalg.vector_norm(z[a:b], dtype=narrow) for a, b in self.segments]
            sizes = read(torch.stack(parts))
        return self.join(sizes)

    def join(self, sizes: Sequence[float]) -> float:
        """Return the norm from the Euclidean lengths of the segments."""
        parts = zip(sizes, self.segments, strict=True)
        return max((_finite(x / (b - a) ** 0.5) for x, (a, b) in parts), default=0.0)


@dataclass(frozen=True)
class CallableNorm:
    """A user's norm, given the flat vector in the user's own shapes by ``unflatten``."""

    norm: Callable[[Any], Any]
    unflatten: Callable[[Tensor], Any]

    def __call__(self, z: Tensor) -> float:
        value = self.norm(self.unflatten(z))
        try:
            number = float(read_number(value) if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInputError(
                f"the norm returned {type(value).__name__}, expected a non-negative scalar (a number or a tensor with "
                "one element)."
            ) from error
        if number < 0:
            raise InvalidInputError(f"the norm returned {number}, expected a non-negative scalar.")
        return _finite(number)


def _finite(value: float) -> float:
    return value if value == value else float("inf")
