"""How a solve ended. The names are SciML's."""

from __future__ import annotations

from enum import Enum


class ReturnCode(Enum):
    """How a solve ended; the value of a member is the sentence that an error shows.

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.ReturnCode.MaxIters.success
        False
    """

    Success = "the solve reached its last time"
    Terminated = "the solve ended at a terminal event"
    MaxIters = (
        "max_steps (odeint's max_num_steps) was reached: raise it, loosen rtol/atol, or check whether the dynamics are "
        "stiff or blow up"
    )
    DtNaN = "the step size became NaN: check func and y0 for non-finite values"
    DtLessThanMin = (
        "the step size fell below its minimum: the dynamics may be stiff or singular, or the tolerances too tight"
    )
    Unstable = (
        "the state or its error estimate became non-finite, or the step size fell to rounding error: the dynamics "
        "blow up (check func and its scale) or the tolerances are below what this dtype can resolve"
    )
    Failure = "the solver stopped with an error"

    @property
    def success(self) -> bool:
        return self in (ReturnCode.Success, ReturnCode.Terminated)
