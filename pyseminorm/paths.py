"""Controlled differential equations: a path through data that were observed at times, and the field that it drives.

Source: P. Kidger, J. Morrill, J. Foster, T. Lyons, Neural Controlled Differential Equations for Irregular Time Series,
NeurIPS 2020; J. Morrill, P. Kidger, L. Yang, T. Lyons, Neural Controlled Differential Equations for Online Prediction
Tasks, 2021. The values are torchcde's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .arguments import check_choice
from .errors import InvalidInputError
from .problem.parameters import MadeAnew
from .problem.times import to_times

KINDS = ("linear", "hermite", "cubic", "rectilinear")


class InterpolatedPath:
    r"""A path X through a batch of series; what `interpolate_path` returns.

    ``path(t)`` is X(t) and ``path.derivative(t)`` is dX/dt, each of shape (\*batch, \*t.shape, channels), for a number
    or a tensor of times of any shape. Gradients flow to the values that the path was made of, and to ``t``. At a knot
    the derivative is that of the piece before; outside the interval the outermost pieces go on.

    Attributes:
        times: those of its pieces, which `solve` takes as ``discontinuities`` where tolerances are tight: beyond
            dX/dt, "hermite" and "cubic" are not smooth there.
        interval: the first and the last of them, as `solve` takes them.
        knots: those inside at which dX/dt jumps; none for "hermite" and "cubic".
    """

    def __init__(self, times: Tensor, starts: Tensor, rates: Tensor, *, kinks: bool) -> None:
        self.times: tuple[float, ...] = tuple(times.tolist())
        self.interval = (self.times[0], self.times[-1])
        self.knots = self.times[1:-1] if kinks else ()
        self._left, self._inner = times[:-1].contiguous(), times[1:-1].contiguous()
        self._starts, self._rates = starts, rates  # X and dX/dt, as polynomials in t - left

    def __call__(self, t: Tensor | float) -> Tensor:
        r"""Return X(t), (\*batch, \*t.shape, channels)."""
        t, index, since = self._locate(t)
        coefficients = [r / power for power, r in enumerate(self._rates.index_select(0, index).unbind(1), 1)]
        return self._shaped(self._starts.index_select(0, index) + since * _polynomial(coefficients, since), t)

    def derivative(self, t: Tensor | float) -> Tensor:
        r"""Return dX/dt at t, (\*batch, \*t.shape, channels)."""
        t, index, since = self._locate(t)
        return self._shaped(_polynomial(self._rates.index_select(0, index).unbind(1), since), t)

    def _locate(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the times, the piece that each is in, and how long each is after its beginning."""
        t = torch.as_tensor(t, dtype=self._left.dtype, device=self._left.device)
        flat = t.reshape(-1)
        index = torch.bucketize(flat.detach(), self._inner)
        since = flat - self._left.index_select(0, index)
        return t, index, since.view(-1, *(1,) * (self._rates.dim() - 2))

    def _shaped(self, rows: Tensor, t: Tensor) -> Tensor:
        """Return a row for each time in the shape (batch, of t, channels)."""
        if not t.dim():
            return rows[0]
        return rows.movedim(0, -2).reshape(*rows.shape[1:-1], *t.shape, rows.shape[-1])


def interpolate_path(
    times: Tensor | Sequence[float] | None, values: Tensor, kind: str = "linear", *, time_channel: int = 0
) -> InterpolatedPath:
    r"""Interpolate a batch of series, to drive a `CDE`.

    NaN stands for what was not observed, channel by channel: it is interpolated between the observations of its
    channel; before the first and after the last one it has that one's value. So series of different lengths are
    padded with NaN. A channel without any observation is zero.

    Args:
        times: strictly increasing, (length,), the same for the whole batch; None: 0, 1, 2, ...
        values: (\*batch, length, channels), float32 or float64, length at least 2. Gradients flow to them.
        kind: "linear"; "hermite", the cubic Hermite spline with backward differences, whose derivative is continuous
            and does not look ahead; "cubic", the natural cubic spline; "rectilinear", along which first the time
            passes and then the other channels jump to what was observed then, so that nothing looks ahead: it has
            2 length - 1 knots, and ``times`` are theirs.
        time_channel: which channel of ``values`` is the time, for "rectilinear".

    Returns:
        An `InterpolatedPath`.

    Raises:
        InvalidInputError: values or times of other shapes, dtypes or order, infinite ones, or times that require grad.

    Examples:
        >>> import torch, pyseminorm
        >>> path = pyseminorm.interpolate_path([0.0, 1.0, 3.0], torch.tensor([[0.0], [float("nan")], [6.0]]))
        >>> path(1.0), path.derivative(1.0), path.knots
        (tensor([2.]), tensor([2.]), (1.0,))
    """
    check_choice("kind", kind, KINDS)
    x = _check_values(values).movedim(-2, 0)
    if kind == "rectilinear":
        x = _rectilinear(x, time_channel)
    moments = _check_times(times, x)
    t = moments.to(x.dtype).view(-1, *(1,) * (x.dim() - 1))
    if kind == "cubic":
        starts, rates = _natural_cubic(t, x)
    else:
        starts, rates = (_hermite if kind == "hermite" else _linear)(t, _fill(t, x))
    return InterpolatedPath(moments, starts, rates, kinks=kind in ("linear", "rectilinear"))


class CDE(MadeAnew):
    r"""The field of the controlled differential equation dz = func(t, z) dX, to be solved as any other.

    dz/dt = func(t, z) dX/dt. A Neural CDE is three lines: a path, this field, a solve. It costs nothing to make one for
    each batch: what was captured with ``compile=`` serves the next one. Gradients flow to what ``func`` reads, and to
    the values that the path was made of, by every adjoint.

    Args:
        func: ``func(t, z, *args)`` returns a matrix (\*batch, hidden, channels) for z of shape (\*batch, hidden). An
            nn.Module owns its parameters; those of another callable are given to `solve` with ``params``.
        path: an `InterpolatedPath`, or whatever has ``derivative(t)``, (\*batch, channels).

    Raises:
        InvalidInputError: func or path is something else; or func returns a matrix that dX/dt does not fit.

    `solve` ends its steps at the knots of the path, which are this field's ``discontinuities``, unless its own argument
    of that name is given.

    Examples:
        >>> import torch, pyseminorm
        >>> func = torch.nn.Sequential(torch.nn.Linear(8, 8 * 3), torch.nn.Tanh(), torch.nn.Unflatten(-1, (8, 3)))
        >>> path = pyseminorm.interpolate_path(None, torch.randn(5, 20, 3), "hermite")
        >>> cde = pyseminorm.CDE(lambda t, z: func(z), path)
        >>> s = pyseminorm.solve(cde, torch.zeros(5, 8), path.interval, params=func.parameters())
        >>> s.ys.shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, func: Callable[..., Tensor], path: Any) -> None:
        super().__init__(func)
        if not callable(getattr(path, "derivative", None)):
            raise InvalidInputError(
                f"path is a {type(path).__name__}: expected what interpolate_path returns, or another object that has "
                "derivative(t)."
            )
        self.path = path

    @property
    def discontinuities(self) -> tuple[float, ...]:
        """The times at which the field jumps, for `solve`: knots of the path."""
        return tuple(getattr(self.path, "knots", ()))

    def forward(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        r"""Return dz/dt, (\*batch, hidden)."""
        matrix, velocity = self.func(t, z, *args), self.path.derivative(t)
        expected = (*z.shape, *velocity.shape[-1:])
        if matrix.shape != expected:
            raise InvalidInputError(
                f"func of a CDE returned shape {tuple(matrix.shape)} for z of shape {tuple(z.shape)} and dX/dt of "
                f"shape {tuple(velocity.shape)}: expected {expected}, (*batch, hidden, channels)."
            )
        dz: Tensor = (matrix @ velocity.unsqueeze(-1)).squeeze(-1)
        return dz


# ---- what is asked of values and times ---------------------------------------------------------------------


def _check_values(values: Tensor) -> Tensor:
    if not isinstance(values, Tensor) or values.dtype not in (torch.float32, torch.float64):
        found = values.dtype if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise InvalidInputError(f"values is {found}: expected a tensor of float32 or float64.")
    if values.dim() < 2 or values.shape[-2] < 2:
        raise InvalidInputError(
            f"values has shape {tuple(values.shape)}: expected (*batch, length, channels), length at least 2."
        )
    if values.isinf().any():
        raise InvalidInputError("values contains infinite numbers: give NaN for what was not observed.")
    return values


def _check_times(times: Tensor | Sequence[float] | None, x: Tensor) -> Tensor:
    """Return the times in the dtype of x, which has one row for each."""
    if times is None:
        return torch.arange(len(x), dtype=x.dtype, device=x.device)
    given = to_times(times)
    if given.requires_grad:
        raise InvalidInputError("times require grad, and a path has no gradient by its times: give times.detach().")
    if given.shape != (len(x),):
        raise InvalidInputError(f"times has shape {tuple(given.shape)}: expected ({len(x)},), one for each knot.")
    moments = given.to(x)
    values = moments.tolist()
    if not all(map(math.isfinite, values)) or any(a >= b for a, b in itertools.pairwise(values)):
        raise InvalidInputError(f"times are not strictly increasing finite numbers in {x.dtype}, the dtype of values.")
    return moments


# ---- interpolation: everything has the shape (length, *batch, channels) ------------------------------------


def _polynomial(coefficients: Sequence[Tensor], x: Tensor) -> Tensor:
    *lower, value = coefficients
    for coefficient in reversed(lower):
        value = coefficient + x * value
    return value


def _with_ends(x: Tensor) -> Tensor:
    """Repeat the first observation of every series before it, and the last one after it; zero where there is none."""
    seen, rows = ~x.isnan(), _rows(x)
    first = seen.int().argmax(0, keepdim=True)
    last = len(x) - 1 - seen.flip(0).int().argmax(0, keepdim=True)
    x = torch.where(seen.any(0), x, 0.0)
    x = torch.where(rows < first, x.gather(0, first), x)
    return torch.where(rows > last, x.gather(0, last), x)


def _rows(x: Tensor) -> Tensor:
    """Return the number of every row, in a shape that broadcasts."""
    return torch.arange(len(x), device=x.device).view(-1, *(1,) * (x.dim() - 1))


def _previous(seen: Tensor) -> Tensor:
    """Return the row of the latest observation, for every row; zero before the first one."""
    return torch.where(seen, _rows(seen), 0).cummax(0).values


def _fill(t: Tensor, x: Tensor) -> Tensor:
    """Interpolate linearly what was not observed."""
    if not x.isnan().any():
        return x
    x = _with_ends(x)
    seen, moments = ~x.isnan(), t.expand_as(x)
    before, after = _previous(seen), len(x) - 1 - _previous(seen.flip(0)).flip(0)
    left, right = moments.gather(0, before), moments.gather(0, after)
    share = (moments - left) / torch.where(seen, 1.0, right - left)
    return torch.lerp(x.gather(0, before), x.gather(0, after), share)


def _rectilinear(x: Tensor, time_channel: int) -> Tensor:
    """Return the corners, at which first the time has passed and then the other channels have changed."""
    if not 0 <= time_channel < x.shape[-1]:
        raise InvalidInputError(f"time_channel={time_channel!r}: expected one of the {x.shape[-1]} channels, from 0.")
    time = x[..., time_channel]
    if not (time.diff(dim=0) >= 0).all():
        raise InvalidInputError(
            f"channel {time_channel} of values decreases or contains NaN: a rectilinear path needs the time there "
            "(time_channel=...); after the end of a padded series repeat its last time."
        )
    x = x.gather(0, _previous(~x.isnan())).repeat_interleave(2, 0)
    is_time = torch.arange(x.shape[-1], device=x.device) == time_channel
    return torch.where(is_time, x[1:], x[:-1])


def _linear(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:-1], (x.diff(dim=0) / t.diff(dim=0)).unsqueeze(1)


def _hermite(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spline whose derivative at a knot is the slope of the piece before; of the first piece, its own."""
    h = t.diff(dim=0)
    slope = x.diff(dim=0) / h
    start = torch.cat([slope[:1], slope[:-1]])
    rise = (slope - start) / h
    return x[:-1], torch.stack([start, 4 * rise, -3 * rise / h], 1)


def _natural_cubic(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the natural cubic splines through what was observed, each series with knots of its own.

    The observations of a series are moved to its front; the splines are then cut at the times of all series.
    """
    x = _with_ends(x)
    seen = ~x.isnan()
    order = (~seen).int().argsort(dim=0, stable=True)
    real = _rows(x)[1:] < seen.sum(0, keepdim=True)  # pieces: the others are padding
    moments, knots = t.expand_as(x).gather(0, order), torch.where(seen, x, 0.0).gather(0, order)
    inverse = torch.where(real, 1 / torch.where(real, moments.diff(dim=0), 1.0), 0.0)
    slope = knots.diff(dim=0) * inverse
    speed = _speeds(inverse, slope)
    second = (6 * slope - 4 * speed[:-1] - 2 * speed[1:]) * inverse
    third = 3 * (speed[:-1] + speed[1:] - 2 * slope) * inverse.square()
    piece = seen.cumsum(0)[:-1] - 1  # which of its observations is the latest
    a, b, c, d, left = (v.gather(0, piece) for v in (knots, speed, second, third, moments))
    s = t[:-1] - left
    starts = a + s * (b + s * (c / 2 + s * d / 3))
    return starts, torch.stack([b + s * (c + s * d), c + 2 * s * d, d], 1)


def _speeds(inverse: Tensor, slope: Tensor) -> Tensor:
    """Return the derivatives at the knots of natural cubic splines; ``inverse`` lengths of pieces are 0 for padding.

    The tridiagonal system that makes the second derivative continuous, by elimination downwards, substitution upwards.
    """
    zero = torch.zeros_like(inverse[:1])
    diagonal = 2 * (torch.cat([inverse, zero]) + torch.cat([zero, inverse]))
    diagonal = torch.where(diagonal == 0, 1.0, diagonal)
    right = 3 * slope * inverse
    right = torch.cat([right, zero]) + torch.cat([zero, right])
    pivots, sums = [diagonal[0]], [right[0]]
    for h, d, r in zip(inverse, diagonal[1:], right[1:], strict=True):
        share = h / pivots[-1]
        pivots.append(d - share * h)
        sums.append(r - share * sums[-1])
    speeds = [sums[-1] / pivots[-1]]
    for h, d, r in zip(reversed(inverse.unbind()), reversed(pivots[:-1]), reversed(sums[:-1]), strict=True):
        speeds.append((r - h * speeds[-1]) / d)
    return torch.stack(speeds[::-1])
