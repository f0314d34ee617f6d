"""The backward right-hand side through torch, written into a solver's own vectors: what both engines call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..norms import AdjointLayout
from ..problem.parameters import as_real
from ..problem.vector_field import EagerVectorField
from ..torch_internals import copy_all


class AdjointRightHandSide:
    """Writes d/dt of [lambda; y; a_t; mu] into vectors like the backward state; gives mu' back if not ``carried``."""

    def __init__(self, field: EagerVectorField, layout: AdjointLayout, *, carried: bool) -> None:
        self._field, self._layout, self._carried = field, layout, carried
        self._shape, rows = field.spec.shape, 1 + layout.has_y
        self._rows, self._length = (rows, *self._shape), rows * layout.state
        shapes = [*(self._shape,) * rows, *((),) * layout.has_time, *(field.shapes if carried else ())]
        self._shapes = [tuple(shape) for shape in shapes]
        self._views: dict[int, tuple[Tensor, list[Tensor]]] = {}  # of vectors that are written into, a few
        self._zeros: list[Tensor] = []

    def read(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return views of lambda, and of y where it is a part of the state, in `StateSpec.shape`."""
        state = z if z.numel() == self._length else z[: self._length]
        return state.view(self._rows).unbind(0)

    def write(self, t: float, adjoint: Tensor, y: Tensor, out: Tensor, *, params: bool) -> Sequence[Tensor | None]:
        """Write everything at (t, y) into ``out``; return mu' where it is asked for and not carried.

        ``adjoint`` and ``y`` are in `StateSpec.shape`; ``y`` is func's to keep.
        """
        layout, views = self._layout, self._parts(out)
        f, state, params_derivative, at = self._field.vjp_shaped(
            t, y, adjoint.neg(), params=params, time=layout.has_time
        )
        if len(views) == 1:
            torch.add(state, f, alpha=0.0, out=views[0])
            return params_derivative
        if not layout.has_y:
            state = torch.add(state, f, alpha=0.0)
        parts: list[Tensor | None] = [state]
        if layout.has_y:
            parts.append(f)
        if layout.has_time:
            parts.append(at)
        if self._carried:
            parts += [x if x is None else as_real(x) for x in params_derivative]
            params_derivative = []
        copy_all(views, [self._zero(i) if part is None else part for i, part in enumerate(parts)])
        return params_derivative

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector that comes again, made once."""
        known = self._views.get(id(vector))
        if known is None:
            parts = vector.split_with_sizes([torch.Size(shape).numel() for shape in self._shapes])
            views = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
            known = self._views[id(vector)] = (vector, views)
        return known[1]

    def _zero(self, part: int) -> Tensor:
        """Return zeros in the shape of a part, one element in memory."""
        if not self._zeros:
            zero = torch.zeros((), dtype=self._field.spec.real_dtype, device=self._field.spec.device)
            self._zeros = [zero.expand(shape) for shape in self._shapes]
        return self._zeros[part]
