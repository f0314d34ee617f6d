"""The user's function as autograd records it, call by call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..torch_internals import count_writes, forward_mode_is_active
from .checking_call import FirstValue, check_call
from .discontinuities import Discontinuities
from .state import StateSpec
from .vector_field import EagerVectorField, check_writes


class RecordedField(EagerVectorField):
    """``func(t, y, *args)``, with whatever it reads, on states in `StateSpec.shape`."""

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], spec: StateSpec) -> None:
        super().__init__(func, (), spec, ())
        self.args = args

    def record(self, when: Tensor, y: Tensor) -> Tensor:
        """Return dy/dt at (when, y), in the shape of ``y``; autograd goes through it as far as func lets it."""
        version = count_writes(y)
        value = self._record(when, y)
        check_writes(y, version)
        return value

    def _record(self, when: Tensor, y: Tensor) -> Tensor:
        try:
            return self._call(when, y if y.requires_grad else y.view_as(y))  # func may let it require grad
        except RuntimeError as error:
            known = y.requires_grad and torch.is_grad_enabled()
            if known or forward_mode_is_active() or not self.needs_grad_mode(error):
                raise
        with torch.enable_grad():
            value = self._call(when, y.detach().requires_grad_())
        return value if torch.is_grad_enabled() else value.detach()

    def _call(self, when: Tensor, y: Tensor) -> Tensor:
        return self.leaves(self.call(when, y, *self.args), when)[0] if self.spec.is_plain else self.flat(when, y)


class RecordedStart(FirstValue):
    """Where a solve that autograd records begins: the ``state`` as the user computed it, and func's ``derivative``.

    ``offsets``: by which every time may move, zeros with the gradient by that time; none where nobody asks.
    """

    field: RecordedField

    def __init__(self, field: RecordedField, t: float, y0: Tensor, offsets: Mapping[float, Tensor]) -> None:
        self.field, self.t, self.offsets = field, t, offsets
        self.state, self.y0 = y0, y0.detach().reshape(-1)
        self.value = None

    @classmethod
    def of(
        cls, field: RecordedField, y0: Any, ts: Tensor, times: tuple[float, ...], discontinuities: tuple[float, ...]
    ) -> RecordedStart:
        """Return that of a solve at the times ``ts``, after the checking call."""
        spec = field.spec
        low, high = Discontinuities.of(times[0], times[-1], discontinuities, spec.real_dtype).intervals[0]
        moves = zeros_of(ts, spec)
        offsets = {} if moves is None else dict(zip(times, moves.unbind(0), strict=True))
        start = cls(field, min(max(times[0], low), high), spec.to_tensor(y0), offsets)
        start()
        return start

    def _make(self) -> Tensor:
        self.derivative = check_call(self.field, self.t, self.state, self._evaluate)
        return self.derivative.detach().reshape(-1)

    def _evaluate(self) -> Tensor:
        when = self.field.time(self.t)
        return self.field.record(when + next(iter(self.offsets.values())) if self.offsets else when, self.state)


def zeros_of(ts: Tensor, spec: StateSpec) -> Tensor | None:
    """Return zeros by which times may move, so that autograd knows of them; None where nobody asks."""
    if not (ts.requires_grad or (forward_mode_is_active() and ts.is_floating_point())):
        return None
    return (ts - ts.detach()).to(dtype=spec.real_dtype, device=spec.device)
