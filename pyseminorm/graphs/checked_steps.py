"""A compiled step is used after one look at what it makes: inductor's code may be wrong without an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..problem.agreement import agree


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
    pairs = [pair for i, pair in results if i != errors]
    if not agree([made for _, made in pairs], [expected for expected, _ in pairs]):
        raise WrongCodeError("what inductor makes of it gives other numbers than the step itself")
