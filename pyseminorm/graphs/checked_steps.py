"""A compiled step is used after one look at what it makes: inductor's code may be wrong without an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..problem.parameters import as_real


class WrongCodeError(Exception):
    """A compiled step makes other numbers than the step itself; the message is for the log line of the fallback."""


def check_compiled_step(
    compiled: Callable[[list[Tensor]], Sequence[Tensor]],
    step: Callable[..., Sequence[Tensor]],
    arguments: Sequence[Tensor],
    errors: int | None,
) -> None:
    """Compare what a compiled step and the step itself make of the arguments.

    The result at ``errors``, differences of large numbers down to rounding, is made of the others and left aside.

    Raises:
        WrongCodeError: they disagree.
    """
    results = enumerate(zip(step(*arguments), compiled(list(arguments)), strict=True))
    pairs = [(as_real(a), as_real(b)) for i, (a, b) in results if i != errors and a.numel()]
    pairs = [(a, b) for a, b in pairs if a.dtype in TOLERANCES]
    largest = max((_size(a) for a, _ in pairs), default=0.0)
    for a, b in pairs:
        allowed = TOLERANCES[a.dtype] * (_size(a) + SMALL * largest)
        if _size(a - b) > allowed or not torch.equal(a.isfinite(), b.isfinite()):
            raise WrongCodeError("what inductor makes of it gives other numbers than the step itself")


def _size(x: Tensor) -> float:
    return float(x.nan_to_num(0.0, 0.0, 0.0).abs().max())


SMALL = 1e-2  # of the largest result: below it, what another one is may be rounding of what cancels
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-2, torch.float16: 0.5, torch.bfloat16: 0.5}
