"""The PI step-size controller of OrdinaryDiffEq.jl, with its arithmetic, so that both engines take the same steps.

Source: OrdinaryDiffEqCore 4.15 (PIController), after Hairer, Norsett, Wanner, Solving Ordinary Differential
Equations II, section IV.2; FastPower.jl 1.4 for the power function.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ...stepping import PIController
from .tableaus import Tableau

# OrdinaryDiffEq's defaults of every explicit method.
QMIN, QMAX, GAMMA = 1 / 5, 10.0, 9 / 10
QMAX_FIRST_STEP = 1e4  # until the first step is accepted: the initial step is only a guess
ERRORS_FLOOR = 1e-4  # smallest error that the controller remembers (qoldinit)

_f32 = np.float32


def _fma(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """Fused multiply-add, rounded once: the product of two float32 is exact in float64."""
    result: np.float32 = np.float32(float(a) * float(b) + float(c))
    return result


def _fastlog2(x: np.float32) -> np.float32:
    """FastPower.fastlog2: a rational approximation on the significand (D. Goldberg, "Fast approximate logarithms")."""
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    exponent = (bits & 0x7F800000) >> 23
    if bits & 0x00400000 == 0:  # significand below 1.5
        significand_bits, exponent = (bits & 0x007FFFFF) | 0x3F800000, exponent - 0x7F
    else:
        significand_bits, exponent = (bits & 0x007FFFFF) | 0x3F000000, exponent - 0x7E
    significand = _f32(struct.unpack("<f", struct.pack("<I", significand_bits))[0])
    quotient = _fma(significand, _f32(0.338953), _f32(1.8596461)) / (significand + _f32(0.523692))
    return _fma(significand - _f32(1.0), quotient, _f32(exponent))


# Julia's Base.Math polynomial for 2^r, |r| <= 1/2, in float32 (base/special/exp.jl, expb_kernel).
_EXP2 = tuple(
    _f32(c) for c in (1.0, 0.6931472, 0.2402265, 0.05550411, 0.009618025, 0.0013333423, 0.00015469732, 1.5316464e-5)
)


def _exp2(x: np.float32) -> np.float32:
    whole = np.round(x)
    r = x - whole
    value = _EXP2[-1]
    for c in reversed(_EXP2[:-1]):
        value = _fma(r, value, c)
    result: np.float32 = np.float32(float(value) * 2.0 ** int(whole))
    return result


def fastpower(x: float, y: float) -> float:
    """x^y by OrdinaryDiffEq's float32 approximation (FastPower.jl), for x >= 0.

    >>> abs(fastpower(2.0, 0.5) - 2**0.5) < 1e-2
    True
    """
    if x == 0.0:
        return 0.0
    return float(_exp2(_f32(y) * _fastlog2(_f32(x))))


@dataclass
class PIControl:
    """Proposes step sizes from error estimates by a `PIController`; state is the last accepted error.

    ``exact`` chooses the power function that OrdinaryDiffEq uses for the error estimate: the plain one when state
    and time have different types (a float32 state), else `fastpower`.
    """

    beta1: float
    beta2: float
    qmin: float
    qmax: float
    qmax_first_step: float
    gamma: float
    exact: bool
    previous_error: float = ERRORS_FLOOR
    _error_power: float = 1.0

    @classmethod
    def of(cls, tableau: Tableau, given: PIController, *, exact: bool) -> PIControl:
        beta1, beta2 = tableau.gains(given.beta2)
        return cls(
            beta1 if given.beta1 is None else given.beta1,
            beta2,
            given.qmin or QMIN,
            given.qmax or QMAX,
            given.qmax_first_step or QMAX_FIRST_STEP,
            given.gamma or GAMMA,
            exact,
        )

    def factor(self, error: float, *, first: bool) -> float:
        """q, by which the step size is divided after an accepted step."""
        qmax = self.qmax_first_step if first else self.qmax
        if error == 0.0:
            return 1 / qmax
        if error == float("inf"):
            self._error_power = float("inf")
        else:
            self._error_power = error**self.beta1 if self.exact else fastpower(error, self.beta1)
        q = self._error_power / fastpower(self.previous_error, self.beta2)
        return min(max(q / self.gamma, 1 / qmax), 1 / self.qmin)

    def accept(self, error: float) -> None:
        self.previous_error = max(error, ERRORS_FLOOR)

    def rejection_divisor(self) -> float:
        return min(1 / self.qmin, self._error_power / self.gamma)
