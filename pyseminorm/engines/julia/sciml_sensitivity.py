"""SciMLSensitivity's adjoints of a problem whose function and products are torch's, to compare with our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...passes.problems import PassOptions
from ...problem.parameters import as_real
from ...problem.vector_field import EagerVectorField
from ...stats import PassStats
from .calls.callbacks import SolverCallbacks
from .calls.results import translate_error
from .calls.settings import ELTYPES
from .session.memory import address, addresses, consecutive, doubles
from .session.profiling_clock import Place, clock_calls
from .session.runtime import Runtime

PACKAGE = "SciMLSensitivity"
ADJOINTS = ("BacksolveAdjoint", "InterpolatingAdjoint", "GaussAdjoint", "QuadratureAdjoint")
_FUSED = ("BacksolveAdjoint", "InterpolatingAdjoint")  # they ask for f and both products at the same points


class Sensitivity:
    """One problem in SciMLSensitivity: solved forward once, differentiated by any of its `ADJOINTS`.

    ``field`` is called through `ODEFunction`'s ``vjp`` and ``vjp_p``; the forward solve did so ``forward_calls`` times.
    """

    def __init__(
        self, julia: Runtime, field: EagerVectorField, y0: Tensor, times: Sequence[float], options: PassOptions
    ) -> None:
        self._julia, self._vjps, self._options, self._like = julia, _CountedVjps(field), options, consecutive(y0)
        self._times = list(times[1:])
        plugs = (self._vjps.f, self._vjps.state, self._vjps.params)
        self._callbacks = [SolverCallbacks(y0, plug) for plug in plugs]
        called = [(c.address("evaluate"), c.address("register")) for c in self._callbacks]
        start = address(self._like, y0.dtype), y0.numel(), self._vjps.size, times[0], times[-1]
        settings = options.method, options.rtol, options.atol, options.max_steps
        self._forward = self._call(julia.module.sensitivity_solve, ELTYPES[y0.dtype], *called, *start, *settings)
        self.forward_calls = self._vjps.stats.nf

    def values(self) -> Tensor:
        """Return the forward solution at all times, (times, size), without gradient."""
        ys = self._like.new_empty(1 + len(self._times), self._like.numel())
        ys[0] = self._like
        later = ys[1:].numpy()
        for i, t in enumerate(self._times):
            later[i] = self._call(self._forward.solution, t)
        return ys

    def gradients(self, adjoint: str, cotangents: Tensor) -> tuple[Tensor, Tensor, PassStats]:
        """Return (dL/dy0 (size,), dL/dtheta (all targets in one vector), what the backward pass cost).

        ``cotangents`` is dL/dys (times, size); that of the first time is added here.
        """
        self._vjps.start(fused=adjoint in _FUSED)
        later, times = consecutive(cotangents[1:]), doubles(tuple(self._times))
        dy0, dparams = torch.empty_like(self._like), self._like.new_empty(self._vjps.size)
        started, options = time.perf_counter(), self._options
        stats = self._vjps.stats
        given = (times.address, times.count), address(later, dy0.dtype), options.rtol, options.atol, options.max_steps
        results, function = addresses((dy0, dparams), dy0.dtype), self._julia.module.sensitivity_gradients
        stats.naccept = self._call(function, self._forward, adjoint, *given, *results)
        stats.seconds = time.perf_counter() - started
        return dy0 + cotangents[0], dparams[: sum(self._vjps.field.sizes)], stats

    def close(self) -> None:
        """Drop the views of Julia's memory."""
        for callbacks in self._callbacks:
            callbacks.close()
        self._forward = None

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return clock_calls(Place.JULIA, function)(*arguments)
        except Exception as error:
            for callbacks in self._callbacks:
                if callbacks.raised is not None:
                    raise callbacks.raised from None
            raise translate_error(error) from error


class _CountedVjps:
    """The callbacks: f and its products, each counted once where SciMLSensitivity asks for several at one point."""

    def __init__(self, field: EagerVectorField) -> None:
        self.field = field
        self.size = max(1, sum(field.sizes))  # SciMLSensitivity wants a parameter vector that is not empty
        self.start(fused=False)

    def start(self, *, fused: bool) -> None:
        """Count from zero. ``fused``: a state product also makes f and the parameter product."""
        self.stats, self._fused = PassStats(), fused
        self._known: tuple[float, Tensor, Tensor, Tensor] | None = None  # t, [lambda; y], f, parameter product

    def f(self, t: float, y: Tensor, dy: Tensor) -> None:
        known = self._known
        if known is not None and known[0] == t and torch.equal(known[1][len(y) :], y):
            dy.copy_(known[2])
            return
        self.stats.nf += 1
        dy.copy_(self.field.f(t, y.clone()))

    def state(self, t: float, z: Tensor, product: Tensor) -> None:
        adjoint, y = z.clone().chunk(2)
        value, state, params, _ = self.field.vjp(t, y, adjoint, params=self._fused)
        product.copy_(state)
        if self._fused:
            self.stats.nvjp += 1
            self._known = (t, z.clone(), value, self._flat(params, z))
        else:
            self.stats.nvjp_state += 1

    def params(self, t: float, z: Tensor, product: Tensor) -> None:
        known = self._known
        if known is not None and known[0] == t and torch.equal(known[1], z):
            product.copy_(known[3])
            return
        adjoint, y = z.clone().chunk(2)
        self.stats.nvjp_param += 1
        product.copy_(self._flat(self.field.vjp(t, y, adjoint)[2], z))

    def _flat(self, params: Sequence[Tensor | None], like: Tensor) -> Tensor:
        parts = [
            like.new_zeros(n) if p is None else as_real(p).reshape(-1)
            for p, n in zip(params, self.field.sizes, strict=True)
        ]
        return torch.cat(parts) if parts else like.new_zeros(1)
