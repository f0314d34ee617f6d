"""Steps of implicit Runge-Kutta methods, as torchdiffeq makes them (fixed_grid_implicit.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...torch_internals import forward_mode_is_active, transform_is_active
from .broyden import differentiable, solve_equation, warn_of_iteration
from .integrator import Integrator
from .system import IntegralDerivatives


class ImplicitIntegrator(Integrator):
    """Looks for the derivatives of stages that depend on one another, from that at the start of the step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if transform_is_active() or forward_mode_is_active():
            raise UnsupportedError(
                f"method={self.tableau.name!r} inside a torch.func transform or forward mode is not supported: call "
                "solve outside it and use torch.autograd.grad, or give an explicit method."
            )
        iteration, a = self.options.iteration, self.tableau.a
        assert iteration is not None
        self._max_iters = iteration.max_iters
        inner = range(1, self.tableau.stages - 1)
        coupled = any(weight for i in inner for weight in a[i][i + 1 :])
        self._groups: list[Sequence[int]] = [inner] if coupled else [[i] for i in inner]
        self._tolerance = 1e-8 if self.y0.dtype == torch.float64 else 1e-6

    def _attempt(self, h: float, *, first_of_next: bool, last: bool) -> tuple[Tensor, IntegralDerivatives]:
        b, derivatives = self.tableau.b, self._integral_derivatives
        self.integrals.start_step()
        self.integrals.add_stage(0, derivatives)
        for group in self._groups:
            self._solve(group, h)
        new = self.stages.end(self.state, h)
        if last:
            wanted = first_of_next and b[0] != 0.0
            derivatives = self._evaluate(self.tableau.stages - 1, self.t + h, new, wanted=wanted)
        return new, derivatives

    def _solve(self, group: Sequence[int], h: float) -> None:
        """Make the derivatives of stages, and add those of the integrals there."""
        state = self.state
        with torch.no_grad():
            start = torch.cat([self.stages.values(self.stages.kept(0))] * len(group))
            k, converged = solve_equation(
                lambda k: k - self._rates(group, state, h, k), start, self._tolerance, self._max_iters
            )
        if not converged:
            warn_of_iteration()
        if torch.is_grad_enabled():
            k = differentiable(lambda k: self._rates(group, state, h, k), lambda k: self._rates_held(group, h, k), k)
        if self.integrals.total:
            self._rates(group, state, h, k, integrated=True)
        self._place(group, self._split(group, k))

    def _place(self, group: Iterable[int], rates: Iterable[Tensor]) -> None:
        for i, rate in zip(group, rates, strict=True):
            self.stages.place(i, rate)

    def _split(self, group: Sequence[int], k: Tensor) -> Tensor:
        return k.reshape(len(group), *self.state.shape)

    def _rates(self, group: Sequence[int], state: Tensor, h: float, k: Tensor, *, integrated: bool = False) -> Tensor:
        """Return the derivatives at the states that derivatives ``k`` of the same stages lead to."""
        tableau = self.tableau
        self._place(group, self._split(group, k))
        for i, y in [(i, self.stages.start(i, state, h)) for i in group]:
            wanted = integrated and tableau.b[i] != 0.0
            derivatives = self._evaluate(i, self.t + tableau.c[i] * h, y, wanted=wanted)
            if wanted:
                self.integrals.add_stage(i, derivatives)
        return torch.cat([self.stages.kept(i).reshape(-1) for i in group])

    def _rates_held(self, group: Sequence[int], h: float, k: Tensor) -> Tensor:
        """Return the same as a function of no more of the solve than ``k``."""
        earlier = range(group[0])
        before = [self.stages.kept(i) for i in earlier]
        self._place(earlier, [rate.detach() for rate in before])
        rates = self._rates(group, self.state.detach(), h, k)
        self._place(earlier, before)
        return rates
