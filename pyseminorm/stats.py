"""What a solve cost: the counts that the seminorm is judged by."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PassStats:
    """Work of one pass, forward or backward; `nf`, `naccept` and `nreject` as SciML counts them.

    (A fixed-step method evaluates ``func`` at the end of a step only where that is read: by the next step, or by dense
    output. SciML's evaluates it there always.)

    Attributes:
        nf: calls of ``func`` alone.
        nvjp: fused vector-Jacobian products (the call of ``func`` inside is not counted again in `nf`). Their part by
            the parameters is left out at stages that weigh nothing in a step (by the engine "julia" where ``func`` runs
            as Julia code); they are counted all the same.
        nvjp_state: products with the state Jacobian only.
        nvjp_param: parameter products at quadrature nodes, each node counted, however batched; those of the estimate
            of the error are among them, and those of a second look at it (whose products are among `nvjp_state`, too).
        njac: Jacobians made for methods that need them; the products inside are not counted again.
        naccept: accepted steps.
        nreject: rejected steps.
        seconds: wall time of the pass.
        times: start of the solve and the end of every accepted step.
        proposed: size of the step that an adaptive method proposed after the first accepted one (`WarmStart`).
        param_error: estimate of the relative error of the parameter gradient, all parameters and ``args`` as one
            vector in the 2-norm, of a backward pass; measured, where that was in doubt and a warning is wanted. None
            where none is made: fixed steps, norms that measure the gradient themselves, `DirectAdjoint`.
        state_error: the same of dL/dy at the first time, where it costs nothing.
        cancellation: how much of the parameter gradient cancels: the 2-norms of what the steps add to it, summed, over
            its own. Errors of the states count as many times as much in it. Of `GaussAdjoint` as if all steps added as
            much as the largest ones, and only with a ``param_rtol``. None where ``param_error`` is, and of
            `DiscreteAdjoint`.
        drift: how far y is off at the first time, in the 2-norm over that of the state, of a backward pass that solves
            it again (`BacksolveAdjoint`), since the next output, at which it is set right. The gradient is along such
            states.
    """

    nf: int = 0
    nvjp: int = 0
    nvjp_state: int = 0
    nvjp_param: int = 0
    njac: int = 0
    naccept: int = 0
    nreject: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list, repr=False)
    proposed: float | None = None
    param_error: float | None = None
    state_error: float | None = None
    cancellation: float | None = None
    drift: float | None = None

    def add_work(self, other: PassStats) -> None:
        """Add the evaluations of another pass that was made for the same result."""
        for name in ("nf", "nvjp", "nvjp_state", "nvjp_param", "njac", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def evaluations(self) -> int:
        """All calls of func and of its products together."""
        return self.nf + self.nvjp + self.nvjp_state + self.nvjp_param


@dataclass
class Stats:
    """Statistics of a solve: `forward`, and `backward` once ``.backward()`` has run (the latest one), else None.

    Examples:
        >>> import torch, pyseminorm
        >>> y0 = torch.ones(2, requires_grad=True)
        >>> solution = pyseminorm.solve(lambda t, y: -y, y0, torch.tensor([0.0, 1.0]), backend="torch")
        >>> solution.stats.backward is None
        True
        >>> solution.ys[-1].sum().backward()
        >>> solution.stats.backward.nvjp > 0
        True
    """

    forward: PassStats = field(default_factory=PassStats)
    backward: PassStats | None = None
