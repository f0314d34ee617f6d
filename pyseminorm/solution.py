"""`Solution`: the states, times, statistics and events of a solve, and its dense output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .errors import InvalidInputError
from .events import EventRecord
from .passes.kept_trajectory import KeptTrajectory
from .problem.torch_modes import apart_from_modes
from .retcode import ReturnCode
from .stats import Stats


@dataclass(eq=False)
class Solution:
    r"""What `solve` returns.

    Attributes:
        ys: the state at every time, in the structure of ``y0``, every leaf of shape (len(t), \*shape); NaN in rows
            that a failed solve with ``throw=False`` did not reach. A terminal event ends them.
        ts: the times, as given, up to a terminal event.
        stats: a `Stats`: evaluations, steps and seconds; ``stats.backward`` is filled by ``.backward()``.
        retcode: a `ReturnCode`.
        backend: the engine that ran, "torch" or "julia".
        events: an `EventRecord` for every event, in order of time.
    """

    ys: Any
    ts: Tensor
    stats: Stats
    retcode: ReturnCode
    backend: str
    _trajectory: KeptTrajectory | None
    events: list[EventRecord] = field(default_factory=list)

    @apart_from_modes
    def interpolate(self, t: Tensor | Sequence[float] | float) -> Any:
        r"""Return the state at any times between the first and the last one reached, differentiable.

        Gradients flow to ``t``, and to all that those of ``ys`` flow to, by the same adjoint: times may be asked for
        after the solve, as often as wanted, before ``backward()`` or again after a ``backward(retain_graph=True)``.
        All of them take part in the one backward pass of the solve, as if they had been in its ``t``.

        Args:
            t: a number, or a vector of m times in any order.

        Returns:
            Leaves of shape \*shape for a number, (m, \*shape) for a vector.

        Raises:
            InvalidInputError: without ``dense=True``, or for a time outside the solve.

        Examples:
            >>> import torch, pyseminorm
            >>> t, y0 = torch.tensor([0.0, 1.0]), torch.ones(2, requires_grad=True)
            >>> s = pyseminorm.solve(lambda t, y: -y, y0, t, dense=True, backend="torch")
            >>> s.interpolate([0.25, 0.5]).shape
            torch.Size([2, 2])
            >>> s.interpolate(0.5).sum().backward()  # of exp(-0.5) y0
            >>> y0.grad
            tensor([0.6065, 0.6065])
        """
        if self._trajectory is None:
            raise InvalidInputError("interpolate needs a kept trajectory: call solve(..., dense=True).")
        return self._trajectory.interpolate(t)
