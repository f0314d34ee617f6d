"""The modules that torchdiffeq has, for code that imports from them."""

from .adjoint import odeint_adjoint as odeint_adjoint
from .odeint import odeint as odeint
from .odeint import odeint_dense as odeint_dense
from .odeint import odeint_event as odeint_event
