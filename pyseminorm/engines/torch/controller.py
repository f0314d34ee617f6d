"""The PI step-size controller of OrdinaryDiffEq.jl, with its arithmetic, so that both engines take the same steps.

Source: OrdinaryDiffEqCore 4.15 (PIController), after Hairer, Norsett, Wanner, Solving Ordinary Differential
Equations II, section IV.2; FastPower.jl 1.4 for the power function.
"""

from __future__ import annotations

import functools
import math
import struct

from ...methods.tableau import Tableau
from ...stepping import PIController

# OrdinaryDiffEq's defaults of every explicit method.
QMIN, QMAX, GAMMA = 1 / 5, 10.0, 9 / 10
QMAX_FIRST_STEP = 1e4  # until the first step is accepted: the initial step is only a guess
ERRORS_FLOOR = 1e-4  # smallest error that the controller remembers (qoldinit)

_FLOAT, _BITS = struct.Struct("<f"), struct.Struct("<I")


def _f32(x: float) -> float:
    """Return the nearest float32, or infinity; ``_f32(a * b + c)`` of float32 is a fused multiply-add, rounded once."""
    try:
        rounded: float = _FLOAT.unpack(_FLOAT.pack(x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)
    return rounded


def _fastlog2(x: float) -> float:
    """Return FastPower.fastlog2, rational on the significand (D. Goldberg, Fast approximate logarithms)."""
    (bits,) = _BITS.unpack(_FLOAT.pack(x))
    exponent = (bits & 0x7F800000) >> 23
    if bits & 0x00400000 == 0:  # significand below 1.5
        significand_bits, exponent = (bits & 0x007FFFFF) | 0x3F800000, exponent - 0x7F
    else:
        significand_bits, exponent = (bits & 0x007FFFFF) | 0x3F000000, exponent - 0x7E
    (significand,) = _FLOAT.unpack(_BITS.pack(significand_bits))
    quotient = _f32(_f32(significand * _LOG2[0] + _LOG2[1]) / _f32(significand + _LOG2[2]))
    return _f32((significand - 1.0) * quotient + exponent)


_LOG2 = tuple(_f32(c) for c in (0.338953, 1.8596461, 0.523692))

# Julia's Base.Math polynomial for 2^r, |r| <= 1/2, in float32 (base/special/exp.jl, expb_kernel), highest power first.
_EXP2 = tuple(
    _f32(c) for c in (1.5316464e-5, 0.00015469732, 0.0013333423, 0.009618025, 0.05550411, 0.2402265, 0.6931472, 1.0)
)


def _exp2(x: float) -> float:
    if not -150.0 <= x <= 128.0:
        return math.inf if x > 0.0 else 0.0
    whole = round(x)
    r = x - whole
    value = 0.0
    for c in _EXP2:
        value = _f32(r * value + c)
    return _f32(value * 2.0**whole)


def fastpower(x: float, y: float) -> float:
    """Return x^y by OrdinaryDiffEq's float32 approximation (FastPower.jl), for x >= 0.

    Examples:
        >>> abs(fastpower(2.0, 0.5) - 2**0.5) < 1e-2
        True
    """
    if x == 0.0:
        return 0.0
    return _exp2(_f32(_f32(y) * _fastlog2(_f32(x))))


@functools.cache
def _power_of_floor(beta2: float) -> float:
    return fastpower(ERRORS_FLOOR, beta2)


def _power(x: float, y: float) -> float:
    """Return x^y for x > 0, infinite where it is too large for a float."""
    try:
        return float(x**y)
    except OverflowError:
        return math.inf


class PIControl:
    """Proposes step sizes from error estimates by a `PIController`; state is the last accepted error.

    ``exact`` chooses the power function that OrdinaryDiffEq uses for the error estimate: the plain one when state
    and time have different types (a float32 state), else `fastpower`.
    """

    def __init__(self, tableau: Tableau, given: PIController, *, exact: bool) -> None:
        beta1, self._beta2 = tableau.gains(given.beta2)
        self._beta1 = beta1 if given.beta1 is None else given.beta1
        self._qmin, self._qmax, self._gamma = given.qmin or QMIN, given.qmax or QMAX, given.gamma or GAMMA
        self._qmax_first_step = given.qmax_first_step or QMAX_FIRST_STEP
        self._exact, self._previous_error, self._error_power = exact, ERRORS_FLOOR, 1.0

    def factor(self, error: float, *, first: bool) -> float:
        """Return q, by which the step size is divided after an accepted step."""
        qmax = self._qmax_first_step if first else self._qmax
        if error == 0.0:
            return 1 / qmax
        if error == math.inf:
            self._error_power = math.inf
        else:
            self._error_power = _power(error, self._beta1) if self._exact else fastpower(error, self._beta1)
        least = self._previous_error == ERRORS_FLOOR
        before = _power_of_floor(self._beta2) if least else fastpower(self._previous_error, self._beta2)
        q = self._error_power / before if before else math.inf
        return min(max(q / self._gamma, 1 / qmax), 1 / self._qmin)

    def accept(self, error: float) -> None:
        self._previous_error = max(error, ERRORS_FLOOR)

    def rejection_divisor(self) -> float:
        return min(1 / self._qmin, self._error_power / self._gamma)
