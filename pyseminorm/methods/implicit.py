"""Implicit Runge-Kutta methods of fixed steps, by torchdiffeq's names (E. Hairer, G. Wanner, Solving Ordinary
Differential Equations II, sections IV.5 and IV.6; "sdirk2": R. Alexander, SIAM Journal on Numerical Analysis 14, 1977;
"trbdf2": R. E. Bank et al., IEEE Transactions on Electron Devices 32, 1985).

A tableau begins with the derivative at the start of the step, and ends with that at the new state, for dense output;
the rows of the stages between them weigh these stages too.
"""

from __future__ import annotations

import math

from .tableau import Row, Tableau, hermite


def _tableau(name: str, order: int, rows: tuple[Row, ...], b: Row) -> Tableau:
    c = (0.0, *(math.fsum(row) for row in rows), 1.0)
    ends = (*b, 0.0)
    return Tableau(name, order, c, ((), *rows, b), ends, hermite(ends))


_R2, _R3, _R6, _R15 = (math.sqrt(x) for x in (2.0, 3.0, 6.0, 15.0))
_GAMMA, _BETA = 1 - _R2 / 2, _R2 / 4
_RADAU_3 = ((0.0, 5 / 12, -1 / 12), (0.0, 3 / 4, 1 / 4))
_RADAU_5 = (
    (0.0, 11 / 45 - 7 * _R6 / 360, 37 / 225 - 169 * _R6 / 1800, -2 / 225 + _R6 / 75),
    (0.0, 37 / 225 + 169 * _R6 / 1800, 11 / 45 + 7 * _R6 / 360, -2 / 225 - _R6 / 75),
    (0.0, 4 / 9 - _R6 / 36, 4 / 9 + _R6 / 36, 1 / 9),
)
_GAUSS_4 = ((0.0, 1 / 4, 1 / 4 - _R3 / 6), (0.0, 1 / 4 + _R3 / 6, 1 / 4))
_GAUSS_6 = (
    (0.0, 5 / 36, 2 / 9 - _R15 / 15, 5 / 36 - _R15 / 30),
    (0.0, 5 / 36 + _R15 / 24, 2 / 9, 5 / 36 - _R15 / 24),
    (0.0, 5 / 36 + _R15 / 30, 2 / 9 + _R15 / 15, 5 / 36),
)
_SDIRK_2 = ((0.0, _GAMMA), (0.0, 1 - _GAMMA, _GAMMA))
_TRBDF_2 = ((_GAMMA, _GAMMA), (_BETA, _BETA, _GAMMA))

IMPLICIT_TABLEAUS = {
    t.name: t
    for t in (
        _tableau("implicit_euler", 1, ((0.0, 1.0),), (0.0, 1.0)),
        _tableau("implicit_midpoint", 2, ((0.0, 0.5),), (0.0, 1.0)),
        _tableau("trapezoid", 2, ((0.5, 0.5),), (0.5, 0.5)),
        _tableau("radauIIA3", 3, _RADAU_3, _RADAU_3[-1]),
        _tableau("gl4", 4, _GAUSS_4, (0.0, 0.5, 0.5)),
        _tableau("radauIIA5", 5, _RADAU_5, _RADAU_5[-1]),
        _tableau("gl6", 6, _GAUSS_6, (0.0, 5 / 18, 4 / 9, 5 / 18)),
        _tableau("sdirk2", 2, _SDIRK_2, _SDIRK_2[-1]),
        _tableau("trbdf2", 2, _TRBDF_2, _TRBDF_2[-1]),
    )
}
