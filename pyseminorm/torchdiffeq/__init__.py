"""torchdiffeq 0.2.5 on our engines: `import pyseminorm.torchdiffeq as torchdiffeq` moves a code base."""

from . import _impl as _impl
from ._impl import odeint, odeint_adjoint, odeint_dense, odeint_event
from .installation import install as install
from .installation import uninstall as uninstall

__version__ = "0.2.5"  # whose names, defaults and return values these are

__all__ = ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
