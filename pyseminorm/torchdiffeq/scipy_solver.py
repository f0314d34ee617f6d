"""torchdiffeq's "scipy_solver": the values of a solve by `scipy.integrate.solve_ivp`, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import LastGoodState, SolveError
from ..problem.state import StateSpec
from ..problem.vector_field import EagerVectorField
from ..retcode import ReturnCode
from ..stats import PassStats


def solve_by_scipy(func: Callable[..., Any], y0: Any, t: Tensor, rtol: Any, atol: Any, given: Mapping[str, Any]) -> Any:
    """Return the states at all times, by the solver that ``given`` names (LSODA where it names none)."""
    from scipy.integrate import solve_ivp

    spec, times = StateSpec.of(y0), t.detach().double().tolist()
    field = EagerVectorField(func, (), spec, ())

    def derivative(moment: float, y: Any) -> Any:
        state = torch.as_tensor(y).to(device=spec.device, dtype=spec.real_dtype)
        return field.f(moment, state).detach().cpu().double().numpy()

    start = spec.flatten(y0).detach().cpu().double().numpy()
    steps = {key: float(given[key]) for key in ("min_step", "max_step") if given.get(key)}
    method = given.get("solver", "LSODA")
    found = solve_ivp(
        derivative, (times[0], times[-1]), start, t_eval=times, method=method, rtol=rtol, atol=atol, **steps
    )
    rows = torch.as_tensor(found.y.T).contiguous().to(device=spec.device, dtype=spec.real_dtype)
    if not found.success:
        last = len(rows) - 1
        state = LastGoodState(times[max(last, 0)], spec.unflatten(rows[last]) if len(rows) else y0, PassStats())
        raise SolveError(f"{method} of scipy stopped: {found.message}", ReturnCode.Failure, state)
    return spec.unflatten(rows)
