"""torchdiffeq's module of this name."""

from ..functions import odeint_adjoint as odeint_adjoint
from ..parameters import find_parameters as find_parameters
from ..solvers import SOLVERS as SOLVERS
