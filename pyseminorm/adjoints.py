"""How gradients are made: the choice of the backward solve and of the norm that controls its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInputError
from .norms import ADJOINT_NORMS, AdjointState

AdjointNorm = str | Callable[[AdjointState], Any]


@dataclass(frozen=True)
class _ContinuousAdjoint:
    norm: AdjointNorm = "seminorm"
    rtol: float | None = None
    atol: float | None = None
    method: str | None = None
    scale_invariant: bool = True

    def __post_init__(self) -> None:
        if not callable(self.norm) and self.norm not in ADJOINT_NORMS:
            raise InvalidInputError(
                f"{type(self).__name__}(norm={self.norm!r}) is not known. Give one of {', '.join(ADJOINT_NORMS)}, "
                "or a callable that takes an AdjointState of scaled errors and returns a non-negative scalar."
            )
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInputError(f"{type(self).__name__}({name}={value!r}): tolerances must be positive.")


@dataclass(frozen=True)
class BacksolveAdjoint(_ContinuousAdjoint):
    """Solve the adjoint ODE backwards together with the state: memory does not grow with the number of steps.

    The backward state is [lambda; y; mu] with lambda' = -lambda^T df/dy and mu' = -lambda^T df/dtheta (Chen et al.,
    Neural Ordinary Differential Equations, 2018); y is set back to the stored forward value at every output time.

    Args:
        norm: what the backward step-size control measures.
            ``"seminorm"``: max(rms lambda, rms y), after Kidger, Chen, Lyons, "Hey, that's not an ODE", ICML 2021:
            the parameter gradient mu is a plain integral and is left out.
            ``"seminorm_joint"``: rms of lambda and y together. ``"rms"``: rms of everything (Julia's default).
            ``"torchdiffeq"`` and ``"torchdiffeq_seminorm"``: torchdiffeq's two norms, for comparison.
            A callable gets the scaled residual as an `AdjointState` in the user's own shapes.
        rtol, atol: tolerances of the backward solve; None takes those of the forward solve. ``atol`` is relative to
            the largest cotangent unless ``scale_invariant=False``.
        method: method of the backward solve; None takes that of the forward solve.
        scale_invariant: divide the cotangents by their largest rms for the backward solve, so that its steps do not
            depend on the scale of the loss.

    Raises:
        InvalidInputError: unknown norm, or a tolerance that is not positive.

    >>> import pyseminorm
    >>> pyseminorm.BacksolveAdjoint(rtol=1e-5).norm
    'seminorm'
    """


@dataclass(frozen=True)
class InterpolatingAdjoint(_ContinuousAdjoint):
    """Solve the adjoint ODE backwards with the state read from the forward pass's dense output.

    The backward state is [lambda; mu]; y comes from the stored interpolant, so backward-unstable dynamics do no harm,
    at the price of memory for every forward step. Outputs whose cotangent is exactly zero force no stop.

    Args: as for `BacksolveAdjoint`; the norms see no y here (it is None in an `AdjointState`).

    >>> import pyseminorm
    >>> pyseminorm.InterpolatingAdjoint(norm="rms").norm
    'rms'
    """


Adjoint = BacksolveAdjoint | InterpolatingAdjoint
