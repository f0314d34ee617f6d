"""torchdiffeq's module of this name: its functions and the table of its solvers."""

from ..functions import odeint as odeint
from ..functions import odeint_dense as odeint_dense
from ..functions import odeint_event as odeint_event
from ..solvers import SOLVERS as SOLVERS
