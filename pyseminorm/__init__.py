"""Neural differential equations in PyTorch, with adjoints whose step-size control measures only what matters."""

from .adjoints import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint
from .crosschecking import CrossCheck, crosscheck
from .engines.julia.session.start import start_julia
from .errors import (
    BackendUnavailableError,
    HiddenParametersWarning,
    InvalidInputError,
    JuliaFunctionError,
    LastGoodState,
    PySeminormError,
    SolveError,
    UnsupportedError,
    WrongThreadError,
)
from .julia_function import JuliaFunction
from .norms import AdjointState
from .odeint import odeint_adjoint
from .profiling import Profile, profile
from .retcode import ReturnCode
from .solving import Solution, solve
from .stats import PassStats, Stats
from .stepping import Algorithm, PIController, StepCallbacks
from .version import __version__ as __version__

__all__ = [
    "AdjointState",
    "Algorithm",
    "BackendUnavailableError",
    "BacksolveAdjoint",
    "CrossCheck",
    "DiscreteAdjoint",
    "GaussAdjoint",
    "HiddenParametersWarning",
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
    "UnsupportedError",
    "WrongThreadError",
    "crosscheck",
    "odeint_adjoint",
    "profile",
    "solve",
    "start_julia",
]
