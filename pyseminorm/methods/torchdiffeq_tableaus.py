"""Explicit Runge-Kutta methods of torchdiffeq 0.2.5 (R. T. Q. Chen, MIT licence), coefficient by coefficient.

* ``dopri8``: P. J. Prince, J. R. Dormand, High order embedded Runge-Kutta formulae, Journal of Computational and
  Applied Mathematics 7 (1981), 8(7) in 13 stages; the dense output is of degree 6 in theta.
* ``fehlberg2``: E. Fehlberg's 1(2) of three stages; ``adaptive_heun``: Heun's method with Euler's for the error.
* ``heun2``, ``heun3``, ``rk4_38``: Heun's of order 2 and 3, and Kutta's 3/8 rule, which torchdiffeq calls "rk4".

`TABLEAUS` are sound in themselves: a step begins with the derivative at its state, and dense output is the best that
the stages give. `TORCHDIFFEQ` is what torchdiffeq has instead, which ``controller="torchdiffeq"`` reproduces: other
estimates of the error, and the quartic through the middle of a step; its adaptive_heun and fehlberg2 begin a step with
the last stage of the one before, which is not at the new state.
"""

from __future__ import annotations

from typing import Any

from .tableau import Row, Tableau, hermite, quartic


def _row(text: str) -> Row:
    """Read numbers, and fractions of whole numbers."""
    return tuple(int(n) / int(d) if d else float(n) for n, _, d in (x.partition("/") for x in text.split()))


def _rows(text: str) -> tuple[Row, ...]:
    """Read rows."""
    return tuple(_row(row) for row in text.split(";"))


_DOPRI8_C = _row("0 1/18 1/12 1/8 5/16 3/8 59/400 93/200 5490023248/9719169821 13/20 1201146811/1299019798 1 1 1")

_DOPRI8_B = _row("""
    14005451/335480064 0 0 0 0 -59238493/1068277825 181606767/758867731 561292985/797845732 -1041891430/1371343529
    760417239/1151165299 118820643/751138087 -528747749/2220607170 1/4 0
""")

_DOPRI8_A = (
    (),
    *_rows("""
    1/18;
    1/48 1/16;
    1/32 0 3/32;
    5/16 0 -75/64 75/64;
    3/80 0 0 3/16 3/20;
    29443841/614563906 0 0 77736538/692538347 -28693883/1125000000 23124283/1800000000;
    16016141/946692911 0 0 61564180/158732637 22789713/633445777 545815736/2771057229 -180193667/1043307555;
    39632708/573591083 0 0 -433636366/683701615 -421739975/2616292301 100302831/723423059 790204164/839813087
    800635310/3783071287;
    246121993/1340847787 0 0 -37695042795/15268766246 -309121744/1061227803 -12992083/490766935 6005943493/2108947869
    393006217/1396673457 123872331/1001029789;
    -1028468189/846180014 0 0 8478235783/508512852 1311729495/1432422823 -10304129995/1701304382
    -48777925059/3047939560 15336726248/1032824649 -45442868181/3398467696 3065993473/597172653;
    185892177/718116043 0 0 -3185094517/667107341 -477755414/1098053517 -703635378/230739211 5731566787/1027545527
    5232866602/850066563 -4093664535/808688257 3962137247/1805957418 65686358/487910083;
    403863854/491063109 0 0 -5068492393/434740067 -411421997/543043805 652783627/914296604 11173962825/925320556
    -13158990841/6184727034 3936647629/1978049680 -160528059/685178525 248638103/1413531060 0
"""),
    _DOPRI8_B[:-1],
)  # fmt: skip

_DOPRI8_B_LOW = _row("""
    13451932/455176623 0 0 0 0 -808719846/976000145 1757004468/5645159321 656045339/265891186 -3867574721/1518517206
    465885868/322736535 53011238/667516719 2/45 0 0
""")

# Of theta, theta^2, ... theta^6 in the weight of every stage.
_DOPRI8_DENSE = _rows("""
    1.0 -6.6910181737837595697 19.9990069333683970610 -30.0610568289666450593 22.1396504998094068976
    -6.3448349392860401388;
    0 0 0 0 0 0;
    0 0 0 0 0 0;
    0 0 0 0 0 0;
    0 0 0 0 0 0;
    0 -7.6142658045872677172 52.2273532792945524050 -121.4999627731334642623 116.4422149550342161651
    -39.6107919852202505218;
    0 10.7281392630428866124 -46.8919164181093621583 83.1721004639847717481 -67.1451318825957197185
    20.3761213808791436958;
    0 0.5526637063753648783 -0.1890893225010595467 9.5724507555993664382 -16.5672243527496524646
    7.3347098826795362023;
    0 4.2186562625665153803 -35.7075975946222072821 87.8406057677205645007 -89.9916014847245016028
    32.8801774352459155182;
    0 -0.6627209125361597559 6.2736448083240352160 -17.4152107770762969005 22.6237489648532849093
    -10.1588990526426760954;
    0 -1.2636789001135462218 10.3160881272450748458 -28.5903289514790976966 32.2362340167355370113
    -12.5401268098782561200;
    0 5.4106037898590422230 -34.7650769866611817349 81.6630950584341412934 -82.1020315488359848644
    29.5553001484516038033;
    0 -7.0321379067945741781 47.7457971078225540396 -114.9375291377009418170 116.2662185791119533462
    -41.7923486424390588923;
    0 2.3537586759714983486 -19.0082099341608028453 50.2558364226176017553 -53.9020777466385396792
    20.3006925822100825485
""")


def _minus(a: Row, b: Row) -> Row:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _dopri8(dense: tuple[Row, ...]) -> Tableau:
    return Tableau("dopri8", 8, _DOPRI8_C, _DOPRI8_A, _DOPRI8_B, dense, _minus(_DOPRI8_B, _DOPRI8_B_LOW))


def _closed(name: str, order: int, c: Row, a: tuple[Row, ...], b: Row, b_error: Row | None = None) -> Tableau:
    """Return a method with a last stage at the new state, which the next step begins with, and Hermite dense output."""
    weights, error = (*b, 0.0), None if b_error is None else (*b_error, 0.0)
    return Tableau(name, order, (*c, 1.0), (*a, b), weights, hermite(weights), error)


_HEUN, _HEUN_A = (0.5, 0.5), ((), (1.0,))
_FEHLBERG, _FEHLBERG_A = _row("1/512 255/256 1/512"), ((), (0.5,), _row("1/256 255/256"))

TABLEAUS = (
    _closed("adaptive_heun", 2, (0.0, 1.0), _HEUN_A, _HEUN, (0.5, -0.5)),
    _closed("heun2", 2, (0.0, 1.0), _HEUN_A, _HEUN),
    _closed("fehlberg2", 2, (0.0, 0.5, 1.0), _FEHLBERG_A, _FEHLBERG, _row("-1/512 0 1/512")),
    _dopri8(_DOPRI8_DENSE),
    _closed("heun3", 3, _row("0 1/3 2/3"), ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4)),
    _closed("rk4_38", 4, _row("0 1/3 2/3 1"), ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), _row("1/8 3/8 3/8 1/8")),
)

_DOPRI5_B, _BOSH3_B = _row("35/384 0 500/1113 125/192 -2187/6784 11/84 0"), _row("2/9 1/3 4/9 0")
_DOPRI5_MIDDLE = _row("""
    6025192743/30085553152 0 51252292925/65400821598 -2691868925/45128329728 187940372067/1594534317056
    -1776094331/19743644256 11237099/235043384
""")


def _halves(row: Row) -> Row:
    return tuple(x / 2 for x in row)


# What torchdiffeq has in the place of a method's own.
TORCHDIFFEQ: dict[str, dict[str, Any]] = {
    "dopri5": {
        "b_error": _minus(_DOPRI5_B, _row("1951/21600 0 22642/50085 451/720 -12231/42400 649/6300 1/60")),
        "dense": quartic(_DOPRI5_B, _halves(_DOPRI5_MIDDLE)),
    },
    "bosh3": {"dense": quartic(_BOSH3_B, (0.0, 0.5, 0.0, 0.0))},
    "dopri8": {"dense": quartic(_DOPRI8_B, tuple(sum(x / 2**j for j, x in enumerate(r, 1)) for r in _DOPRI8_DENSE))},
    "adaptive_heun": {
        "c": (0.0, 1.0),
        "a": _HEUN_A,
        "b": _HEUN,
        "b_error": (0.5, -0.5),
        "dense": quartic(_HEUN, (0.5, 0.0)),
    },
    "fehlberg2": {
        "c": (0.0, 0.5, 1.0),
        "a": _FEHLBERG_A,
        "b": _FEHLBERG,
        "b_error": _row("-1/512 0 1/512"),
        "dense": quartic(_FEHLBERG, (0.0, 0.5, 0.0)),
    },
}
