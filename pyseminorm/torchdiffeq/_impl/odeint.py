"""torchdiffeq's module of this name: its functions and the table of its solvers."""

from ..functions import odeint as odeint
from ..solvers import SOLVERS as SOLVERS
