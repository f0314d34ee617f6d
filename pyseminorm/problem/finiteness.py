"""What enters a gradient is finite, or the backward pass fails by name, with its time."""

from __future__ import annotations

import cmath
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import LastGoodState, SolveError
from ..host_copies import read, read_number
from ..retcode import ReturnCode
from ..stats import PassStats
from .state import all_finite


def each_finite(tensors: Sequence[Tensor | None]) -> bool:
    """Return whether no element of any tensor is NaN or infinite: by their sums, with one read of the device."""
    known = [x for x in tensors if x is not None]
    if len(known) < 2 or len({x.device for x in known}) > 1:
        return all(map(all_finite, known))
    total = read_number(torch.stack([x.sum() for x in known]).sum())
    return cmath.isfinite(total) or all(map(all_finite, known))


def first_not_finite(rows: Tensor) -> int | None:
    """Return the first row, of (rows, size), that has a NaN or an infinite element."""
    finite = read(torch.isfinite(rows).all(dim=1))
    return finite.index(False) if False in finite else None


def not_finite(what: str, t: float, end: float | None = None) -> SolveError:
    """Return the error of a backward pass that met NaN or infinity in ``what``, at ``t``, or from there to ``end``."""
    where = f"at t = {t}" if end is None else f"between t = {t} and t = {end}"
    return SolveError(
        f"the backward solve stopped {where}: {what} NaN or infinite there. Check func for divisions, logarithms, "
        "roots and overflow (their derivatives too); the last good state is in .last_good_state.",
        ReturnCode.Unstable,
        LastGoodState(t, None, PassStats()),
    )


VALUE = "what func returned is"
STATE_PRODUCT = "the vector-Jacobian product of func by the state is"
PARAMS_PRODUCT = "the vector-Jacobian product of func by a parameter is"
