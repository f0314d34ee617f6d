"""torchdiffeq's solvers by their names: what `solve` calls them, and which options and callbacks each of them has."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ..errors import InvalidInputError, UnsupportedError


class Solver:
    """One of torchdiffeq's solvers, ``method`` of `solve`, the options that it knows beside "norm", and callbacks."""

    method: ClassVar[str]
    options: ClassVar[frozenset[str]]
    callbacks: ClassVar[frozenset[str]]

    def __init__(self, *_: Any, **__: Any) -> None:
        name = type(self).__name__
        raise UnsupportedError(f"{name} only names a method here: call odeint(..., method=...), or use torchdiffeq's.")

    @classmethod
    def valid_callbacks(cls) -> set[str]:
        """Return the names of the callbacks that it calls."""
        return set(cls.callbacks)


_FACTORS = ("safety", "ifactor", "dfactor")
_BOUNDS = ("min_step", "max_step")


class RKAdaptiveStepsizeODESolver(Solver):
    options = frozenset((*_BOUNDS, *_FACTORS, "first_step", "step_t", "jump_t", "max_num_steps", "dtype"))
    callbacks = frozenset({"callback_step", "callback_accept_step", "callback_reject_step"})


class FixedGridODESolver(Solver):
    options = frozenset({"step_size", "grid_constructor", "interp", "perturb"})
    callbacks = frozenset({"callback_step"})


class ScipyWrapperODESolver(Solver):
    method = "scipy_solver"
    options = frozenset((*_BOUNDS, "solver", "grid_points", "eps"))
    callbacks = frozenset()


def _solver(name: str, base: type[Solver], method: str, *options: str) -> type[Solver]:
    return type(name, (base,), {"method": method, "options": base.options.union(options), "__module__": __name__})


_A, _F = RKAdaptiveStepsizeODESolver, FixedGridODESolver
_ADAMS = ("max_iters", "max_order", "implicit")

SOLVERS: dict[str, type[Solver]] = {
    "dopri8": _solver("Dopri8Solver", _A, "dopri8"),
    "dopri5": _solver("Dopri5Solver", _A, "dopri5"),
    "tsit5": _solver("Tsit5Solver", _A, "tsit5"),
    "bosh3": _solver("Bosh3Solver", _A, "bosh3"),
    "fehlberg2": _solver("Fehlberg2", _A, "fehlberg2"),
    "adaptive_heun": _solver("AdaptiveHeunSolver", _A, "adaptive_heun"),
    "euler": _solver("Euler", _F, "euler"),
    "midpoint": _solver("Midpoint", _F, "midpoint"),
    "heun2": _solver("Heun2", _F, "heun2"),
    "heun3": _solver("Heun3", _F, "heun3"),
    "rk4": _solver("RK4", _F, "rk4_38"),
    "explicit_adams": _solver("AdamsBashforth", _F, "explicit_adams", *_ADAMS),
    "implicit_adams": _solver("AdamsBashforthMoulton", _F, "implicit_adams", *_ADAMS),
    "fixed_adams": _solver("AdamsBashforthMoulton", _F, "implicit_adams", *_ADAMS),
    "implicit_euler": _solver("ImplicitEuler", _F, "implicit_euler", "max_iters"),
    "implicit_midpoint": _solver("ImplicitMidpoint", _F, "implicit_midpoint", "max_iters"),
    "trapezoid": _solver("Trapezoid", _F, "trapezoid", "max_iters"),
    "radauIIA3": _solver("RadauIIA3", _F, "radauIIA3", "max_iters"),
    "gl4": _solver("GaussLegendre4", _F, "gl4", "max_iters"),
    "radauIIA5": _solver("RadauIIA5", _F, "radauIIA5", "max_iters"),
    "gl6": _solver("GaussLegendre6", _F, "gl6", "max_iters"),
    "sdirk2": _solver("SDIRK2", _F, "sdirk2", "max_iters"),
    "trbdf2": _solver("TRBDF2", _F, "trbdf2", "max_iters"),
    "scipy_solver": ScipyWrapperODESolver,
}


class Method(NamedTuple):
    """One of torchdiffeq's methods: its name, and its solver."""

    name: str
    solver: type[Solver]

    @classmethod
    def of(cls, name: Any) -> Method:
        """Return the method of a name, None: "dopri5"; refuse another in torchdiffeq's words, and a solver of users."""
        name = "dopri5" if name is None else name
        try:
            solver = SOLVERS[name]
        except (KeyError, TypeError):
            known = '{"' + '", "'.join(SOLVERS) + '"}'
            raise InvalidInputError(f'Invalid method "{name}". Must be one of {known}.') from None
        if solver.__module__ != __name__:
            raise UnsupportedError(
                f'method="{name}" is {solver.__qualname__}, a solver of your own, which our engines do not run. Give a '
                "method of torchdiffeq's, or solve by torchdiffeq itself (after pyseminorm.torchdiffeq.uninstall())."
            )
        return cls(name, solver)
