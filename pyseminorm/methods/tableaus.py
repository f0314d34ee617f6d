"""Explicit Runge-Kutta methods: coefficients, error estimates and dense output.

The numbers are those of OrdinaryDiffEq.jl (SciML, MIT licence; OrdinaryDiffEqTsit5, -LowOrderRK and -Verner at
version 2.x), to the last digit of float64, because the two engines must take the same steps. They come from:

* ``tsit5``: Ch. Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
  assumption, Computers & Mathematics with Applications 62 (2011).
* ``dopri5``: J. R. Dormand, P. J. Prince, A family of embedded Runge-Kutta formulae (1980); dense output from
  E. Hairer, S. Norsett, G. Wanner, Solving Ordinary Differential Equations I, page 192.
* ``bosh3``: P. Bogacki, L. F. Shampine, A 3(2) pair of Runge-Kutta formulas (1989).
* ``vern7``: J. H. Verner, Numerically optimal Runge-Kutta pairs with interpolants (2010), the "most efficient" 7(6).
* ``euler``, ``midpoint``, ``rk4``: the classical fixed-step methods, with cubic Hermite dense output.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

from ..arguments import check_whole
from ..errors import InvalidInputError
from ..stepping import Algorithm
from . import torchdiffeq_tableaus
from .adams import ADAMS_METHODS, MOST_ORDER
from .implicit import IMPLICIT_TABLEAUS
from .tableau import Tableau, make_fsal, row, rows

_TSIT5_A = rows("""
    ;
    0.161;
    -0.008480655492356989 0.335480655492357;
    2.8971530571054935 -6.359448489975075 4.3622954328695815;
    5.325864828439257 -11.748883564062828 7.4955393428898365 -0.09249506636175525;
    5.86145544294642 -12.92096931784711 8.159367898576159 -0.071584973281401 -0.028269050394068383;
    0.09646076681806523 0.01 0.4798896504144996 1.379008574103742 -3.290069515436081 2.324710524099774
""")
TSIT5 = Tableau(
    "tsit5",
    5,
    c=row("0 0.161 0.327 0.9 0.9800255409045097 1 1"),
    a=_TSIT5_A,
    b=(*_TSIT5_A[-1], 0.0),
    b_error=row("""
    -0.001780011052225777 -0.0008164344596567469 0.007880878010261995 -0.1447110071732629 0.5823571654525552
    -0.45808210592918697 0.015151515151515152
"""),
    dense=rows("""
    1 -2.763706197274826 2.9132554618219126 -1.0530884977290216;
    0 0.13169999999999998 -0.2234 0.1017;
    0 3.9302962368947516 -5.941033872131505 2.490627285651253;
    0 -12.411077166933676 30.33818863028232 -16.548102889244902;
    0 37.50931341651104 -88.1789048947664 47.37952196281928;
    0 -27.896526289197286 65.09189467479366 -34.87065786149661;
    0 1.5 -4 2.5
"""),
)

_DOPRI5_A = rows("""
    ;
    0.2;
    0.075 0.225;
    0.9777777777777777 -3.7333333333333334 3.5555555555555554;
    2.9525986892242035 -11.595793324188385 9.822892851699436 -0.2908093278463649;
    2.8462752525252526 -10.757575757575758 8.906422717743473 0.2784090909090909 -0.2735313036020583;
    0.09114583333333333 0 0.44923629829290207 0.6510416666666666 -0.322376179245283 0.13095238095238096
""")
DOPRI5 = Tableau(
    "dopri5",
    5,
    c=row("0 0.2 0.3 0.8 0.8888888888888888 1 1"),
    a=_DOPRI5_A,
    b=(*_DOPRI5_A[-1], 0.0),
    b_error=row("""
    -0.0012326388888888888 0 0.0042527702905061394 -0.03697916666666667 0.05086379716981132 -0.0419047619047619 0.025
"""),
    dense=rows("""
    1 -2.8535800653862835 3.0717434641059005 -1.1270175653862835;
    0 0 0 0;
    0 4.023133379230304 -6.249321565289 2.675424484351598;
    0 -3.7324019615885042 10.068970589843675 -5.685526961588504;
    0 2.5548038301849423 -6.399112377351017 3.5219323679207912;
    0 -1.3744241142186024 3.272657752246729 -1.7672812570757455;
    0 1.3824689317781438 -3.7649378635562876 2.382468931778144
"""),
    hairer_gains=True,
)

VERN7 = Tableau(
    "vern7",
    7,
    c=row("0 0.005 0.10888888888888888 0.16333333333333333 0.4555 0.6095094489978381 0.884 0.925 1 1"),
    a=rows("""
    ;
    0.005;
    -1.07679012345679 1.185679012345679;
    0.04083333333333333 0 0.1225;
    0.6389139236255726 0 -2.455672638223657 2.272258714598084;
    -2.6615773750187572 0 10.804513886456137 -8.3539146573962 0.820487594956657;
    6.067741434696772 0 -24.711273635911088 20.427517930788895 -1.9061579788166472 1.006172249242068;
    12.054670076253203 0 -49.75478495046899 41.142888638604674 -4.461760149974004 2.042334822239175
    -0.09834843665406107;
    10.138146522881808 0 -42.6411360317175 35.76384003992257 -4.3480228403929075 2.0098622683770357 0.3487490460338272
    -0.27143900510483127;
    -45.030072034298676 0 187.3272437654589 -154.02882369350186 18.56465306347536 -7.141809679295079 1.3088085781613787
    0 0
"""),
    b=row("""
    0.04715561848627222 0 0 0.25750564298434153 0.26216653977412624 0.15216092656738558 0.4939969170032485
    -0.29430311714032503 0.08131747232495111 0
"""),
    b_error=row("""
    0.002547011879931045 0 0 -0.00965839487279575 0.04206470975639691 -0.0666822437469301 0.2650097464621281
    -0.29430311714032503 0.08131747232495111 -0.02029518466335628
"""),
    dense=rows("""
    1 -8.413387198332767 33.675508884490895 -70.80159089484886 80.64695108301298 -47.19413969837522 11.133813442539243;
    0 0 0 0 0 0 0;
    0 0 0 0 0 0 0;
    0 8.754921980674396 -88.4596828699771 346.9017638429916 -629.2580030059837 529.6773755604193 -167.35886986514018;
    0 8.913387586637922 -90.06081846893218 353.1807459217058 -640.6476819744374 539.2646279047156 -170.38809442991547;
    0 5.1733120298478 -52.271115900055385 204.9853867374073 -371.8306118563603 312.9880934374529 -98.89290352172495;
    0 16.79537744079696 -169.70040000059728 665.4937727009246 -1207.1638892336007 1016.1291515818546
    -321.06001557237494;
    0 -10.005997536098665 101.1005433052275 -396.47391512378437 719.1787707014183 -605.3681033918824 191.27439892797935;
    0 2.764708833638599 -27.934602637390462 109.54779186137893 -198.7128113064482 167.26633571640318 -52.85010499525706;
    0 0 0 0 0 0 0;
    0 -2.1696320280163506 22.016696037569876 -86.90152427798948 159.22388973861476 -135.9618306534588
    43.792401183280006;
    0 -4.890070188793804 22.75407737425176 -30.78034218537731 -2.797194317207249 31.369456637508403 -15.655927320381801;
    0 10.862170929551967 -50.542971417827104 68.37148040407511 6.213326521632409 -69.68006323194157 34.776056794509195;
    0 -11.37286691922923 130.79058078246717 -488.65113677785604 832.2148793276441 -664.7743368554426 201.79288044241662;
    0 -5.919778732715007 63.27679965889219 -265.432682088738 520.1009254140611 -467.412109533902 155.3868452824017;
    0 -10.492146197961823 105.35538525188011 -409.43975011988937 732.831448907654 -606.3044574733512 188.0495196316683
"""),
    fsal=False,
    extra_c=row("1 0.29 0.125 0.25 0.53 0.79"),
    extra_a=rows("""
    0.04715561848627222 0 0 0.25750564298434153 0.2621665397741262 0.15216092656738558 0.49399691700324844
    -0.29430311714032503 0.0813174723249511 0;
    0.0523222769159969 0 0 0.22495861826705715 0.017443709248776376 -0.007669379876829393 0.03435896044073285
    -0.0410209723009395 0.025651133005205617 0 -0.0160443457;
    0.053053341257859085 0 0 0.12195301011401886 0.017746840737602496 -0.0005928372667681495 0.008381833970853752
    -0.01293369259698612 0.009412056815253861 0 -0.005353253107275676 -0.06666729992455811;
    0.03887903257436304 0 0 -0.0024403203308301317 -0.0013928917214672623 -0.00047446291558680135 0.00039207932413159514
    -0.00040554733285128004 0.00019897093147716726 0 -0.00010278198793179169 0.03385661513870267 0.1814893063199928;
    0.05723681204690013 0 0 0.22265948066761182 0.12344864200186899 0.04006332526666491 -0.05269894848581452
    0.04765971214244523 -0.02138895885042213 0 0.015193891064036402 0.12060546716289655 -0.022779423016187374 0;
    0.051372038802756814 0 0 0.5414214473439406 0.350399806692184 0.14193112269692182 0.10527377478429423
    -0.031081847805874016 -0.007401883149519145 0 -0.006377932504865363 -0.17325495908361865 -0.18228156777622026 0 0
"""),
)

_BOSH3_B, _BOSH3_B_ERROR = row("2/9 1/3 4/9"), row("0.06944444444444445 -0.08333333333333333 -0.1111111111111111 0.125")
BOSH3 = make_fsal("bosh3", 3, row("0 0.5 0.75"), ((), (0.5,), (0.0, 0.75)), _BOSH3_B, _BOSH3_B_ERROR)

# OrdinaryDiffEq's fixed-step methods evaluate f at the new state too, for the Hermite interpolant, and reuse it (FSAL).
EULER = make_fsal("euler", 1, (0.0,), ((),), (1.0,))
MIDPOINT = make_fsal("midpoint", 2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0))
RK4 = make_fsal("rk4", 4, row("0 0.5 0.5 1"), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), row("1/6 1/3 1/3 1/6"))

# Those that OrdinaryDiffEq has too, adaptive_heun and heun2 as Heun().
_SHARED = (TSIT5, DOPRI5, BOSH3, VERN7, EULER, MIDPOINT, RK4)
TABLEAUS = {t.name: t for t in (*_SHARED, *torchdiffeq_tableaus.TABLEAUS)}

JULIA_METHODS = (*(t.name for t in _SHARED), "adaptive_heun", "heun2")
ADAPTIVE_METHODS = tuple(name for name, t in TABLEAUS.items() if t.adaptive)
FIXED_STEP_METHODS = tuple(name for name, t in TABLEAUS.items() if not t.adaptive)
METHODS = ADAPTIVE_METHODS + FIXED_STEP_METHODS


IMPLICIT_METHODS = ("implicit_adams", *IMPLICIT_TABLEAUS)
ITERATIVE_METHODS = (*ADAMS_METHODS, *IMPLICIT_TABLEAUS)
EMBEDDED_METHODS = METHODS + ITERATIVE_METHODS  # of the embedded engine


def method_name(method: Any) -> str:
    """Return the name of a method that the embedded engine may have, else nothing."""
    name = method.name if isinstance(method, Algorithm) else method
    return name if isinstance(name, str) and name in EMBEDDED_METHODS else ""


@functools.cache
def find_tableau(method: str | Algorithm, *, torchdiffeq: bool = False) -> Tableau:
    """Return the tableau of a method: with its ``interp``, or the error estimate and dense output that torchdiffeq has.

    Of an Adams method, that of the steps which it begins with.

    Raises:
        InvalidInputError: an `Algorithm` has options that the method has not.
    """
    name, options = method_name(method), dict(method.options) if isinstance(method, Algorithm) else {}
    adams = {adams: dataclasses.replace(TABLEAUS["rk4_38"], name=adams) for adams in ADAMS_METHODS}
    known = (TABLEAUS | IMPLICIT_TABLEAUS | adams)[name]
    interp = options.pop("interp", "cubic")
    unknown = (options and name not in ITERATIVE_METHODS) or (known.adaptive and isinstance(method, Algorithm))
    if unknown or interp not in ("cubic", "linear"):
        raise InvalidInputError(f'{method}: expected interp="linear" or "cubic", and that of a fixed-step method only.')
    if interp == "linear":
        return dataclasses.replace(known, dense=tuple((weight,) for weight in known.b))
    return dataclasses.replace(known, **torchdiffeq_tableaus.TORCHDIFFEQ.get(name, {})) if torchdiffeq else known


class Iteration(NamedTuple):
    """How an Adams or an implicit method looks for its steps.

    Attributes:
        max_iters: at most so many corrections of an Adams method in a step, or iterations for coupled stages together.
        max_order: of an Adams method: at most so many derivatives, that of the new state included; at most 12, and
            3/8-rule steps below 4.
    """

    max_iters: int
    max_order: int = MOST_ORDER


@functools.cache
def find_iteration(method: str | Algorithm) -> Iteration | None:
    """Return the settings of an Adams or an implicit method, None of another."""
    name, options = method_name(method), dict(method.options) if isinstance(method, Algorithm) else {}
    if name not in ITERATIVE_METHODS:
        return None
    options.pop("interp", None)
    settings = {"max_order": MOST_ORDER, "max_iters": 4} if name in ADAMS_METHODS else {"max_iters": 100}
    if not options.keys() <= settings.keys():
        raise InvalidInputError(f"{method}: expected no options but {', '.join(settings)} and interp.")
    found = Iteration(**settings | {key: check_whole(key, value, owner=name) for key, value in options.items()})
    if found.max_order > MOST_ORDER:
        raise InvalidInputError(f"max_order={found.max_order} must be at most {MOST_ORDER}.")
    return found
