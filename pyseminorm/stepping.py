"""How steps are made and watched: algorithms with options, the step-size controller, callbacks on steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .arguments import check_scalar
from .errors import InvalidInputError


@dataclass(frozen=True, init=False, repr=False)
class Algorithm:
    """A method by its name, with its keyword arguments, for ``method=``.

    On the engine "julia", an OrdinaryDiffEq algorithm by its own name. On the engine "torch", one of `solve`'s
    fixed-step methods with ``interp="linear"`` (dense output between the ends of steps; default "cubic"), and
    "explicit_adams" and "implicit_adams" with ``max_order`` and ``max_iters`` too, other implicit ones with
    ``max_iters``.

    A name alone can be given as a plain string. An algorithm object made in Julia (by juliacall, or by diffeqpy's
    ``ode.Tsit5()``) can be given as it is.

    Args:
        name: such as "Vern9", "Rodas5P" or "implicit_adams".
        options: such as ``lazy=False``, of its constructor in Julia, or ``max_order=5``.

    Examples:
        >>> Algorithm("Vern9", lazy=False)
        Algorithm('Vern9', lazy=False)
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, /, **options: Any) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidInputError(f"Algorithm({name!r}): expected the name of a method, such as 'Vern9'.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", tuple(options.items()))

    def __repr__(self) -> str:
        return f"Algorithm({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.options)])})"


def is_julia_object(x: Any) -> bool:
    """Tell whether ``x`` lives in Julia; asks its class only, so that juliacall need not be loaded."""
    return type(x).__module__.partition(".")[0] == "juliacall"


class MethodTraits(NamedTuple):
    """What a solve must know of a method.

    Attributes:
        name: the algorithm's own name.
        order: of consistency.
        adaptive: whether it chooses its steps.
        needs_jacobian: whether it solves linear systems with df/dy.
    """

    name: str
    order: int
    adaptive: bool
    needs_jacobian: bool


@dataclass(frozen=True)
class PIController:
    """A proportional-integral step-size controller; None leaves a value to the method.

    With error estimates e_n and e_(n-1) (accepted is <= 1), a step is divided by q = e_n^beta1 / e_(n-1)^beta2 / gamma,
    kept within [1/qmax, 1/qmin]. ``beta2=0`` is the plain integral controller. Names, meaning and defaults are those of
    OrdinaryDiffEq's PIController (E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, section IV.2).

    Args:
        beta1, beta2: gains.
        qmin, qmax: largest factors by which a step shrinks and grows from one to the next (default 1/5 and 10).
        gamma: safety factor (default 9/10).
        qmax_first_step: qmax until a step is accepted (default 1e4: the initial step is only a guess).

    Examples:
        >>> import torch, pyseminorm
        >>> y0, t = torch.ones(2), torch.tensor([0.0, 1.0])
        >>> calm = pyseminorm.PIController(qmax=1.2, qmax_first_step=1.2)
        >>> s = pyseminorm.solve(lambda t, y: -y, y0, t, controller=calm, backend="torch")
        >>> s.stats.forward.naccept  # of 4 with the method's own
        7
    """

    beta1: float | None = None
    beta2: float | None = None
    qmin: float | None = None
    qmax: float | None = None
    gamma: float | None = None
    qmax_first_step: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given:
            number = check_scalar(name, value, positive=name not in ("beta1", "beta2"), owner="PIController")
            object.__setattr__(self, name, number)
        _check_growth("PIController", qmax=self.qmax, qmax_first_step=self.qmax_first_step)

    @property
    def given(self) -> tuple[tuple[str, float], ...]:
        """The values that replace the method's own."""
        return tuple((name, value) for name, value in vars(self).items() if value is not None)


@dataclass(frozen=True)
class TorchdiffeqController:
    """The steps of torchdiffeq 0.2.5, for ``controller=`` on the engine "torch"; ``controller="torchdiffeq"`` is short
    for one with its defaults.

    Where numbers made with torchdiffeq must be made again, this takes its step sequence, to rounding: its first step,
    its estimates of the error, its integral controller (a step of error e, accepted if e <= 1, is followed by one
    ``min(ifactor, max(safety / e^(1/order), dfactor))`` times as long; never a shorter one after e < 1), outputs and
    the end of the solve read from dense output, and a backward solve (of BacksolveAdjoint) that begins anew at every
    output. So ``func`` is called at times beyond the end. A step of ``dtmin`` is accepted whatever its error.

    Args:
        safety, ifactor, dfactor: as in torchdiffeq's options.

    Examples:
        >>> import torch, pyseminorm
        >>> y0, t = torch.ones(2, dtype=torch.float64), [0.0, 1.0]
        >>> s = pyseminorm.solve(lambda t, y: -y, y0, t, method="dopri5", controller="torchdiffeq")
        >>> s.stats.forward.times[-1] > 1.0
        True
    """

    safety: float = 0.9
    ifactor: float = 10.0
    dfactor: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, check_scalar(name, value, owner="TorchdiffeqController"))
        _check_growth("TorchdiffeqController", ifactor=self.ifactor)


def _check_growth(owner: str, **factors: float | None) -> None:
    """Refuse factors by which a step that is to grow would shrink."""
    for name, factor in factors.items():
        if factor is not None and factor < 1.0:
            raise InvalidInputError(f"{owner}({name}={factor}): expected at least 1, as steps grow by it.")


def check_controller(given: Any, owner: str) -> Any:
    """Return a step-size controller; refuse what is none: no `PIController`, nor one by name or of Julia, nor None."""
    if isinstance(given, str) and given == "torchdiffeq":
        return TorchdiffeqController()
    if given is None or isinstance(given, (PIController, TorchdiffeqController)) or is_julia_object(given):
        return given
    raise InvalidInputError(
        f"{owner}: controller is a {type(given).__name__}: expected a pyseminorm.PIController or "
        f'"torchdiffeq", not {given!r}.'
    )


@dataclass(eq=False)
class WarmStart:
    """Begin every solve with the step size that the one before it proposed, for ``dt=``.

    A solver guesses its first step, on the safe side, and takes several steps until they are as long as the tolerances
    allow. Training solves almost the same problem again and again: with the same object, a solve begins, forwards and
    backwards, with the step that the controller proposed after the first accepted step of the last one. Each step is
    accepted by its estimated error alone, as always.

    What is given up: a result depends, within the tolerances, on the solve before. Keep an object for every loop whose
    solves are alike (another one for validation), and none under ``torch.utils.checkpoint``, which solves again and
    must get the same numbers. Steps that were shorter than need be are gone: errors come nearer to the tolerances.

    Args:
        forward, backward: the first steps of the next passes, in units of t; None, or one that is shorter than the
            steps of a solve may be (``dtmin``, the rounding of t): the solver's own guess. A solve that fails makes
            them None; with events, each part of a solve counts as one.

    Raises:
        InvalidInputError: a size is no positive number; in `solve`: the method has fixed steps.

    Examples:
        >>> import torch, pyseminorm
        >>> y0, t, warm = torch.ones(2), torch.tensor([0.0, 1.0]), pyseminorm.WarmStart()
        >>> solves = [pyseminorm.solve(lambda t, y: -y, y0, t, dt=warm, backend="torch") for _ in range(3)]
        >>> [s.stats.forward.naccept for s in solves]
        [5, 4, 3]
    """

    forward: float | None = None
    backward: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value if value is None else check_scalar(name, value, owner="WarmStart"))


StepCallback = Callable[[float, Any, float], Any]


@dataclass(frozen=True)
class StepCallbacks:
    """Functions called around every attempted step with ``(t, y, dt)``: where it begins, and its signed size.

    Args:
        accept_step, reject_step: after a step of the forward solve; ``y`` is in the structure of ``y0``.
        accept_step_adjoint, reject_step_adjoint: of the backward solve; ``y`` is an `AdjointState` (with ``params``
            left empty: no engine needs them from step to step).
        step, step_adjoint: the same before a step is tried (engine "torch" alone).

    What they return is ignored; what they raise ends the solve and reaches the caller.

    Examples:
        >>> import torch, pyseminorm
        >>> sizes = []
        >>> watch = pyseminorm.StepCallbacks(accept_step=lambda t, y, dt: sizes.append(dt))
        >>> s = pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], callbacks=watch, backend="torch")
        >>> len(sizes) == s.stats.forward.naccept
        True
    """

    accept_step: StepCallback | None = None
    reject_step: StepCallback | None = None
    accept_step_adjoint: StepCallback | None = None
    reject_step_adjoint: StepCallback | None = None
    step: StepCallback | None = None
    step_adjoint: StepCallback | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not callable(value):
                raise InvalidInputError(f"StepCallbacks({name}=...) is a {type(value).__name__}: expected a function.")
