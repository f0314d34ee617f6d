"""Passes that did not come to a finite end, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..host_copies import read
from ..problem.state import all_finite
from ..retcode import ReturnCode
from .problems import AdjointResult, ForwardResult


def check_finite(result: ForwardResult, times: Sequence[float]) -> None:
    """Let a blow-up that no error estimate saw (fixed steps have none) end the solve at its last finite output."""
    if result.retcode.success and all_finite(result.ys.detach()):
        return
    finite = read(torch.isfinite(result.ys).reshape(len(result.ys), -1).all(dim=1))
    good = finite.index(False) if False in finite else len(times)
    if good == len(times) or (not result.retcode.success and all_finite(result.y)):
        return
    if result.retcode.success:
        result.retcode = ReturnCode.Unstable
        result.detail = f"The output at t = {times[good]} is not finite: steps of a fixed size go on."
    result.t, result.y = times[good - 1], result.ys[good - 1].detach().flatten().clone()
    result.ys[good:] = torch.nan


def describe_failure(what: str, result: ForwardResult | AdjointResult, end: float) -> str:
    stats = result.stats
    detail = f" {result.detail}" if result.detail else ""
    where = f"ended at t = {end}" if result.t == end else f"stopped at t = {result.t} before {end}"
    return (
        f"{what} {where}: {result.retcode.value} ({result.retcode.name} after "
        f"{stats.naccept} accepted and {stats.nreject} rejected steps).{detail} The last good state is in "
        ".last_good_state."
    )
