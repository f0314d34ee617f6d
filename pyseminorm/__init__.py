"""Neural differential equations in PyTorch, with adjoints whose step-size control measures only what matters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .adjoints import BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint
from .compiled import CompiledField, compile
from .errors import (
    BackendUnavailableError,
    GradientErrorWarning,
    HiddenParametersWarning,
    InvalidInputError,
    JuliaFunctionError,
    LastGoodState,
    PySeminormError,
    SolveError,
    UnsupportedError,
    WrongThreadError,
)
from .events import Event, EventRecord
from .norms import AdjointState
from .retcode import ReturnCode
from .solution import Solution
from .solving import solve
from .stats import PassStats, Stats
from .stepping import Algorithm, PIController, StepCallbacks, TorchdiffeqController, WarmStart
from .torchdiffeq import odeint, odeint_adjoint, odeint_dense, odeint_event
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .cnf import CNF
    from .crosschecking import CrossCheck, crosscheck
    from .engines.julia.session.runtime import start_julia
    from .julia_function import JuliaFunction
    from .paths import CDE, InterpolatedPath, interpolate_path
    from .profiling import Profile, profile

# What few programs name is imported when it is first named: an import of torch and pyseminorm stays short.
_IMPORTED_LATE = {
    "cnf": ("CNF",),
    "crosschecking": ("CrossCheck", "crosscheck"),
    "engines.julia.session.runtime": ("start_julia",),
    "julia_function": ("JuliaFunction",),
    "paths": ("CDE", "InterpolatedPath", "interpolate_path"),
    "profiling": ("Profile", "profile"),
}


def __getattr__(name: str) -> Any:
    """Import a public name that is not needed for every program."""
    for module, names in _IMPORTED_LATE.items():
        if name in names:
            globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "CDE",
    "CNF",
    "AdjointState",
    "Algorithm",
    "BackendUnavailableError",
    "BacksolveAdjoint",
    "CompiledField",
    "CrossCheck",
    "DirectAdjoint",
    "DiscreteAdjoint",
    "Event",
    "EventRecord",
    "GaussAdjoint",
    "GradientErrorWarning",
    "HiddenParametersWarning",
    "InterpolatedPath",
    "InterpolatingAdjoint",
    "InvalidInputError",
    "JuliaFunction",
    "JuliaFunctionError",
    "LastGoodState",
    "PIController",
    "PassStats",
    "Profile",
    "PySeminormError",
    "ReturnCode",
    "Solution",
    "SolveError",
    "Stats",
    "StepCallbacks",
    "TorchdiffeqController",
    "UnsupportedError",
    "WarmStart",
    "WrongThreadError",
    "compile",
    "crosscheck",
    "interpolate_path",
    "odeint",
    "odeint_adjoint",
    "odeint_dense",
    "odeint_event",
    "profile",
    "solve",
    "start_julia",
]
