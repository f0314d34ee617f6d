"""How gradients are made: the choice of the backward solve and of the norm that controls its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .arguments import check_choice, check_scalar, check_whole
from .errors import InvalidInputError
from .grids import check_step
from .norms import ADJOINT_NORMS, AdjointState
from .stepping import WarmStart, check_controller

AdjointNorm = str | Callable[[AdjointState], Any]
KEEPS = ("states", "stages", "checkpoints")  # what DiscreteAdjoint keeps between the passes


@dataclass(frozen=True)
class _ContinuousAdjoint:
    norm: AdjointNorm = "seminorm"
    rtol: float | None = None
    atol: float | None = None
    method: Any = None
    scale_invariant: bool = True
    max_steps: int | None = None
    controller: Any = None
    param_rtol: float | None = None
    verbose: bool = True
    dt: Any = None

    integrates_y: ClassVar[bool]  # whether y is part of the backward state; else it is read from the forward pass
    quadrature: ClassVar[bool] = False  # whether the parameter gradient is kept out of the backward state

    def __post_init__(self) -> None:
        if not (callable(self.norm) or (isinstance(self.norm, str) and self.norm in ADJOINT_NORMS)):
            raise InvalidInputError(
                f"{type(self).__name__}(norm={self.norm!r}) is not known. Give one of {', '.join(ADJOINT_NORMS)}, "
                "or a callable that takes an AdjointState of scaled errors and returns a non-negative scalar."
            )
        owner = type(self).__name__
        if isinstance(self.dt, WarmStart):
            raise InvalidInputError(f"{owner}(dt={self.dt!r}): give a WarmStart to solve, for both passes.")
        object.__setattr__(self, "dt", check_step(self.dt))
        for name in ("rtol", "atol", "param_rtol", "max_steps", "dt"):
            value = getattr(self, name)
            if value is not None and not (name == "dt" and callable(value)):
                check = check_whole if name == "max_steps" else check_scalar
                object.__setattr__(self, name, check(name, value, owner=owner))
        for name in ("scale_invariant", "verbose"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInputError(f"{owner}({name}={getattr(self, name)!r}): expected True or False.")
        measured = callable(self.norm) or self.norm in ("rms", "torchdiffeq")
        if self.param_rtol is not None and measured and not self.quadrature:
            raise InvalidInputError(
                f"{owner}(norm={self.norm!r}, param_rtol={self.param_rtol}): this norm sees the parameter gradient "
                'itself. Give one that leaves it out, such as "seminorm", or no param_rtol.'
            )
        object.__setattr__(self, "controller", check_controller(self.controller, owner))


@dataclass(frozen=True)
class BacksolveAdjoint(_ContinuousAdjoint):
    """Solve the adjoint ODE backwards together with the state: memory does not grow with the number of steps.

    The backward state is [lambda; y; mu] with lambda' = -lambda^T df/dy and mu' = -lambda^T df/dtheta (Chen et al.,
    Neural Ordinary Differential Equations, 2018); y is set back to the stored forward value at every output time.

    Args:
        norm: what the backward step-size control measures.
            ``"seminorm"``: max(rms lambda, rms y), after Kidger, Chen, Lyons, "Hey, that's not an ODE", ICML 2021:
            the parameter gradient mu is a plain integral and is left out.
            ``"seminorm_joint"``: rms of lambda and y together. ``"seminorm_leaves"``: the largest
            rms of a leaf of either. ``"rms"``: rms of everything (Julia's default).
            ``"torchdiffeq"`` and ``"torchdiffeq_seminorm"``: torchdiffeq's two norms, for comparison.
            A callable gets the scaled residual as an `AdjointState` in the user's own shapes.
        rtol, atol: tolerances of the backward solve; None takes those of the forward solve. ``atol`` is relative to
            the largest cotangent unless ``scale_invariant=False``.
        method: method of the backward solve; None takes that of the forward solve.
        controller: step-size controller of the backward solve; None takes that of the forward solve.
        max_steps: limit of attempted backward steps; None takes that of the forward solve.
        dt: size of the backward steps of a fixed-step method, or the times at which they end, or a function that makes
            these, as `solve` takes it; the first step of an adaptive one. None takes the fixed steps of the forward
            solve, where that has some (else from output to output), and lets an adaptive method choose.
        scale_invariant: divide the cotangents by their largest rms for the backward solve, so that its steps do not
            depend on the scale of the loss.
        param_rtol: relative tolerance of the parameter gradient as a whole: a step is rejected, too, where the error of
            its part of mu, as estimated, is more than a quarter of this of mu in the 2-norm, all parameters as one
            vector. Where that is not enough for the gradient as it is at the end, by the errors of the states or since
            most of it cancels, the pass is made again by finer tolerances, once, and the forward solve before it.
            None: mu is not measured but by the norm.
        verbose: warn (`GradientErrorWarning`) where the error of mu is large, after a second look at its integral where
            the estimate is in doubt, which takes several times as long as the pass: the first eight such passes of a
            function, and then those that double their number.

    Raises:
        InvalidInputError: unknown norm, or a tolerance that is not positive.

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.BacksolveAdjoint(rtol=1e-5).norm
        'seminorm'
    """

    integrates_y = True


@dataclass(frozen=True)
class InterpolatingAdjoint(_ContinuousAdjoint):
    """Solve the adjoint ODE backwards with the state read from the forward pass's dense output.

    The backward state is [lambda; mu]; y comes from the stored interpolant, so backward-unstable dynamics do no harm,
    at the price of memory for every forward step. Outputs whose cotangent is exactly zero force no stop.

    Args: as for `BacksolveAdjoint`; the norms see no y here (it is None in an `AdjointState`).

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.InterpolatingAdjoint(norm="rms").norm
        'rms'
    """

    integrates_y = False


@dataclass(frozen=True)
class GaussAdjoint(_ContinuousAdjoint):
    """Solve only lambda backwards, and integrate the parameter gradient by Gauss quadrature over the accepted steps.

    The backward state is [lambda]; dL/dtheta = integral of lambda^T df/dtheta dt takes (order + 1) // 2 Gauss-Legendre
    nodes in every step, the nodes of many steps in one batched call of ``func`` (by `torch.func.vmap`, or one by one
    where that cannot be). No stage of the solver carries anything as long as the parameters: the choice when there are
    many.

    Source: A. Norcliffe, M. P. Deisenroth, Faster Training of Neural ODEs Using Gauss-Legendre Quadrature, TMLR 2023;
    SciMLSensitivity's GaussAdjoint.

    Args: as for `BacksolveAdjoint`, with ``norm`` one of "seminorm", "seminorm_joint", "rms" or a callable, and

        interpolate: read y from the forward pass's dense output (True), or solve it backwards beside lambda, set back
            at the outputs (False): less memory, twice the backward state.
        batched_time: ``func`` treats the rows of y independently and takes ``t`` of shape (rows, 1, ...), one time per
            row: nodes are then stacked along the model's own batch axis, without vmap. For a single-tensor state.

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.GaussAdjoint(interpolate=False).norm
        'seminorm'
    """

    interpolate: bool = True
    batched_time: bool = False

    quadrature = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm in ("torchdiffeq", "torchdiffeq_seminorm"):
            raise InvalidInputError(
                f"GaussAdjoint(norm={self.norm!r}): torchdiffeq's norms measure parts that this adjoint does not have. "
                'Give "seminorm", "seminorm_joint", "rms" or a callable, or use BacksolveAdjoint.'
            )

    @property
    def integrates_y(self) -> bool:  # type: ignore[override]
        """Whether y is solved backwards beside lambda."""
        return not self.interpolate


class _AdjointOfSteps:
    norm: ClassVar[None] = None
    method: ClassVar[None] = None
    controller: ClassVar[None] = None
    integrates_y: ClassVar[bool] = False
    quadrature: ClassVar[bool] = False
    scale_invariant: ClassVar[bool] = False  # no tolerance: a sweep is linear in the cotangents as it is


@dataclass(frozen=True, init=False)
class DiscreteAdjoint(_AdjointOfSteps):
    """Differentiate the Runge-Kutta steps that the forward solve took, instead of solving an ODE backwards.

    The gradients by y0, parameters and args are those of the computed ``ys`` themselves, dense output included, exact
    to rounding at any tolerance; which steps were accepted, and their sizes, are held as they were. One vector-Jacobian
    product for every stage of an accepted step; nothing is rejected. For the explicit Runge-Kutta methods that `solve`
    names.

    Args:
        keep: what stays in memory between the passes.
            ``"states"``: the state at the start of every step; the sweep evaluates ``func`` at every stage again.
            ``"stages"``: of every stage what its product reads too (the activations of a network), as backpropagation
            through the solver would: the sweep evaluates nothing again, about a quarter of the time of both passes.
            ``"checkpoints"``: the state at about sqrt(steps) of the steps; the others are made again (one more forward
            solve's accepted stages).
        verbose: as of `BacksolveAdjoint`.

    There is no error control backwards, so there is no norm, no tolerance, no method and no limit of steps to give.

    Raises:
        InvalidInputError: any other setting.

    Source (discretise-then-optimise): W. W. Hager, Runge-Kutta methods in optimal control and the transformed adjoint
    system, Numerische Mathematik 87 (2000); A. Sandu, On the Properties of Runge-Kutta Discrete Adjoints, ICCS 2006.

    Examples:
        >>> import torch, pyseminorm
        >>> y0 = torch.ones(1, requires_grad=True)
        >>> settings = {"method": "euler", "dt": 0.5, "adjoint": pyseminorm.DiscreteAdjoint()}
        >>> s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], backend="torch", **settings)
        >>> s.ys[-1].sum().backward()
        >>> y0.grad  # of (1 - 0.5)^2 y0
        tensor([0.2500])
    """

    keep: str
    verbose: bool

    def __init__(
        self, *, keep: Literal["states", "stages", "checkpoints"] = "states", verbose: bool = True, **unknown: Any
    ) -> None:
        if unknown:
            raise InvalidInputError(
                f"DiscreteAdjoint({next(iter(unknown))}=...) is not known: it follows the steps of the forward solve "
                "and controls no error, so that it takes nothing but keep and verbose. BacksolveAdjoint, "
                "InterpolatingAdjoint and GaussAdjoint have norms, tolerances, methods and limits of their own."
            )
        check_choice("keep", keep, KEEPS, owner="DiscreteAdjoint")
        if not isinstance(verbose, bool):
            raise InvalidInputError(f"DiscreteAdjoint(verbose={verbose!r}): expected True or False.")
        object.__setattr__(self, "keep", keep)
        object.__setattr__(self, "verbose", verbose)


@dataclass(frozen=True)
class DirectAdjoint(_AdjointOfSteps):
    """Let autograd record the steps of the forward solve, and differentiate them as it does any other computation.

    The gradients are those of `DiscreteAdjoint`, by every tensor that ``func`` reads, wherever it finds it: closures,
    globals, results of earlier operations. They can be differentiated again (``create_graph=True``), to any order, and
    forward-mode AD and transforms of torch.func work, but for vmap. Everything that autograd saves in the accepted
    steps stays in memory until the backward pass, as with ``torchdiffeq.odeint``; sizes of steps are held as they were.

    On the embedded engine only; ``func`` runs as it is (``compile=`` has no effect). There is nothing to set.
    ``stats.backward`` stays empty, callbacks on steps are those of the forward solve, and gradients that are not finite
    are no error.

    Gradients by ``t`` are those of dense output at the outputs, and at the first time those of a first step that begins
    at another time and ends at the same. The times of events have first derivatives only.

    Examples:
        >>> import torch, pyseminorm
        >>> rate = torch.tensor(0.5, requires_grad=True)
        >>> direct = pyseminorm.DirectAdjoint()
        >>> s = pyseminorm.solve(lambda t, y: -rate * y, torch.ones(1), [0.0, 1.0], rtol=1e-6, adjoint=direct)
        >>> (first,) = torch.autograd.grad(s.ys[-1].sum(), rate, create_graph=True)
        >>> (second,) = torch.autograd.grad(first, rate)
        >>> bool((second - (-rate).exp()).abs() < 1e-4)
        True
    """


ContinuousAdjoint = BacksolveAdjoint | InterpolatingAdjoint | GaussAdjoint
Adjoint = ContinuousAdjoint | DiscreteAdjoint | DirectAdjoint


def choose_adjoint(state: int, params: int, *, implicit: bool) -> Adjoint:
    """Return what ``adjoint="auto"`` is, for so many elements of the state and of the parameters.

    `GaussAdjoint` where the method is implicit (what is stiff forwards cannot be solved backwards, and only lambda
    alone has a Jacobian of the size of the state), or where there are at least as many parameters as elements of the
    state: no stage then carries anything as long as the parameters. Else `BacksolveAdjoint`, whose memory does not grow
    with the number of steps.
    """
    return GaussAdjoint() if implicit or params >= state else BacksolveAdjoint()
