"""Continuous normalising flows: a field that carries points and their log-density.

Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, Neural Ordinary Differential Equations, NeurIPS 2018;
the estimate of the trace is Hutchinson's, as in W. Grathwohl et al., FFJORD, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import check_callable, check_choice
from .errors import InvalidInputError


class CNF(nn.Module):
    r"""The field of a continuous normalising flow on the state (y, logp), to be solved as any other.

    dy/dt = func(t, y) and dlogp/dt = -tr(dfunc/dy), torchdiffeq's sign: logp gains what the log-density of a point
    gains along its way. Gradients flow through the divergence, by every adjoint.

    Args:
        func: ``func(t, y, *args)`` returns dy/dt of the shape of y, (\*batch, \*event), sample by sample (no batch
            normalisation). An nn.Module owns its parameters; those of another callable are given to `solve` with
            ``params``.
        divergence: "exact", one product of the Jacobian for every element of an event; or "hutchinson", the estimate
            e^T (dfunc/dy) e by one product. Its noise e is the first of ``args``, so that both passes of a solve have
            the same and each solve has what you give it: ``args=(cnf.draw(y),)``.
        noise: what `draw` draws, "rademacher" (signs, the smaller variance) or "gaussian".

    The state is a tuple of y and logp, (\*batch) or (\*batch, 1).

    Raises:
        InvalidInputError: a divergence or a noise that is not known; a state or a noise of another form.

    Examples:
        >>> import torch, pyseminorm
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
        >>> cnf = pyseminorm.CNF(lambda t, y: net(y), "hutchinson")
        >>> x = torch.randn(8, 2)
        >>> state, settings = (x, torch.zeros(8)), {"args": (cnf.draw(x),), "params": net.parameters()}
        >>> z, gained = (y[-1] for y in pyseminorm.solve(cnf, state, [1.0, 0.0], **settings).ys)
        >>> log_density = torch.distributions.Normal(0, 1).log_prob(z).sum(-1) - gained
        >>> log_density.shape
        torch.Size([8])
    """

    def __init__(self, func: Callable[..., Tensor], divergence: str = "exact", noise: str = "rademacher") -> None:
        super().__init__()
        check_callable(func)
        check_choice("divergence", divergence, ("exact", "hutchinson"))
        check_choice("noise", noise, ("rademacher", "gaussian"))
        self.func, self.divergence, self.noise = func, divergence, noise

    def draw(self, y: Tensor) -> Tensor:
        """Draw noise for one solve from y, of its shape, dtype and device."""
        if self.noise == "gaussian":
            return torch.randn_like(y, requires_grad=False)
        return torch.randint_like(y, 2, requires_grad=False) * 2 - 1

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor], *args: Any) -> tuple[Tensor, Tensor]:
        """Return (dy/dt, dlogp/dt) in the shapes of the state."""
        y, logp = _check_state(state)
        noise = None
        if self.divergence == "hutchinson":
            noise, *rest = _check_noise(args, y)
            args = tuple(rest)
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            x = y if y.requires_grad else y.detach().requires_grad_()
            dy = self.func(t, x, *args)
            if dy.shape != y.shape:
                raise InvalidInputError(f"func of a CNF returned shape {tuple(dy.shape)}: expected {tuple(y.shape)}.")
            if noise is None:
                trace = _trace(dy, x, logp.shape, recording)
            else:
                trace = _rows(_vjp(dy, x, noise, recording) * noise, logp.shape).sum(-1)
        return (dy, -trace) if recording else (dy.detach(), -trace.detach())


def _trace(dy: Tensor, x: Tensor, shape: torch.Size, recording: bool) -> Tensor:
    """Return the trace of the Jacobian of every sample."""
    columns = _rows(dy, shape).unbind(-1)
    parts = [_rows(_vjp(column.sum(), x, None, recording), shape)[..., i] for i, column in enumerate(columns)]
    return torch.stack(parts).sum(0)


def _vjp(value: Tensor, x: Tensor, cotangent: Tensor | None, recording: bool) -> Tensor:
    """Return the product of a cotangent with the Jacobian; zero where the value does not depend on x."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (product,) = torch.autograd.grad(value, x, cotangent, retain_graph=True, create_graph=recording, allow_unused=True)
    return torch.zeros_like(x) if product is None else product


def _rows(x: Tensor, shape: torch.Size) -> Tensor:
    """Return x with the elements of its events on a last axis, in the shape of logp before it."""
    return x.reshape(*shape, x.shape[len(_batch(shape)) :].numel())


def _batch(shape: torch.Size) -> torch.Size:
    """Return the shape of a batch, by that of its logp."""
    return shape[:-1] if shape[-1:] == (1,) else shape


def _check_state(state: Any) -> tuple[Tensor, Tensor]:
    if not (isinstance(state, (tuple, list)) and len(state) == 2 and all(isinstance(x, Tensor) for x in state)):
        raise InvalidInputError(
            f"the state of a CNF is a {type(state).__name__}: expected the tuple (y, logp), such as (y, zeros(len(y)))."
        )
    y, logp = state
    batch = _batch(logp.shape)
    if y.shape[: len(batch)] != batch:
        raise InvalidInputError(
            f"y has shape {tuple(y.shape)} and logp {tuple(logp.shape)}: expected (*batch, *event) and (*batch) or "
            "(*batch, 1)."
        )
    return y, logp


def _check_noise(args: tuple[Any, ...], y: Tensor) -> tuple[Any, ...]:
    if not args or not isinstance(args[0], Tensor) or args[0].shape != y.shape:
        given = "nothing" if not args else f"a {type(args[0]).__name__}"
        if args and isinstance(args[0], Tensor):
            given = f"shape {tuple(args[0].shape)}"
        raise InvalidInputError(
            f'CNF(divergence="hutchinson") got {given} for its noise: expected shape {tuple(y.shape)}. Draw it once '
            "for every solve: solve(cnf, (y, logp), t, args=(cnf.draw(y),))."
        )
    return args
