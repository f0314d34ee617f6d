"""What Python and Julia must agree on about memory; julia/src/python/layouts.jl and callbacks.jl say the same.

`check_layouts` compares with a running Julia; a test compares with those files as text.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_int64, c_size_t
from typing import Any

from ....errors import BackendUnavailableError
from ....version import __version__


def _fields(names: str, doubles: str = "") -> list[tuple[str, Any]]:
    """Return fields of 64 bits: integers, but for those that are ``doubles``."""
    return [(name, c_double if name in doubles.split() else c_int64) for name in names.split()]


class ForwardCall(ctypes.Structure):
    """Arguments of "forward"; ``field`` is a native field, without one there are functions of Python."""

    _fields_ = _fields(
        "vector times times_count y0 ys size offsets segments settings dt dense evaluate register norm jacobian report "
        "field poll keep tableau load look look_times look_states",
        "dt",
    )


class AdjointCall(ctypes.Structure):
    """Arguments of "adjoint"; ``times`` are the start and all stops."""

    _fields_ = _fields(
        "vector times times_count rows rows_count z length ys cotangents size offsets segments settings dt anchored "
        "has_time outcome y evaluate register norm jacobian report field poll moves moves_count params_size tableau "
        "params sums places factors places_count param_rtol points weights points_count check_points check_weights "
        "check_count capacity node_times node_y node_adjoint evaluate_nodes total",
        "dt param_rtol",
    )


class SweepCall(ctypes.Structure):
    """Arguments of "sweep"; the gradients are written to ``params``, or in pieces to ``parts``.

    ``whole``: the cotangent of the first output is added to lambda.
    """

    _fields_ = _fields(
        "field poll tableau steps times times_count reached cotangents settings moves moves_count params_size places "
        "factors places_count params parts lengths parts_count adjoint derivatives inside whole"
    )


class LoadCall(ctypes.Structure):
    """Arguments of "load", which lets a native field read its tensors and writes no result."""

    _fields_ = _fields("field")


class PassResult(ctypes.Structure):
    """What came of "forward" or "adjoint"; the times of its accepted steps follow, unless there are too many."""

    _fields_ = _fields(
        "retcode t naccept nreject calls reached steps jacobians finite times_count outcome param_error squares rms "
        "proposed cancellation",
        "t param_error squares rms proposed cancellation",
    )


class SweepResult(ctypes.Structure):
    """What came of "sweep"."""

    _fields_ = _fields("retcode last_step naccept nvjp finite param_error seen", "param_error seen")


STRUCTS = (ForwardCall, AdjointCall, SweepCall, LoadCall, PassResult, SweepResult)

# The C functions, with their results.
C_FUNCTIONS = {"forward": PassResult, "adjoint": PassResult, "sweep": SweepResult, "load": PassResult}

# By number; any other is 0.
RETCODES = ("", "Success", "MaxIters", "DtNaN", "DtLessThanMin", "Unstable", "CallbackFailure", "Interrupted")

# Where the times of accepted steps begin in a result, in bytes, and how many fit; what one call lets go of at most.
TIMES_AT, MOST_TIMES, MOST_RELEASED = 128, 4096, 32

# What Julia calls: the type of what a function gives, then those of its arguments.
CALLBACKS: dict[str, tuple[Any, ...]] = {
    "evaluate": (c_int, c_int, c_int, c_double, c_int),
    "register": (c_int, c_int, c_size_t, c_int64),
    "sums": (c_double, c_int, c_double),
    "norm": (c_double, c_size_t, c_int64),
    "jacobian": (c_int, c_int, c_size_t, c_size_t, c_int64, c_double),
    "report": (c_int, c_int, c_double, c_double, c_size_t, c_int64),
    "look": (c_int, c_double, c_double),
    "evaluate_nodes": (c_double, c_int),
}
PROTOTYPES = {name: ctypes.PYFUNCTYPE(*types) for name, types in CALLBACKS.items()}


def declarations() -> str:
    """Return the declarations as text, as Julia's function of this name does."""
    kinds = {c_int64: "Int64", c_double: "Float64"}
    lines = [f"{s.__name__}: {', '.join(f'{name} {kinds[kind]}' for name, kind in s._fields_)}" for s in STRUCTS]
    lines += [f"C_FUNCTIONS: {', '.join(C_FUNCTIONS)}", f"RETCODES: {', '.join(RETCODES[1:])}"]
    return "\n".join([*lines, f"TIMES: {TIMES_AT}, {MOST_TIMES}, {MOST_RELEASED}"])


def check_layouts(module: Any) -> None:
    """Refuse a Julia package PySeminorm that was made for another pyseminorm."""
    if not hasattr(module, "declarations") or str(module.declarations()) != declarations():
        raise BackendUnavailableError(
            f"the Julia project has a PySeminorm that does not belong to this pyseminorm ({__version__}): run "
            "`pyseminorm setup` again, which puts the one that was installed with it into the project."
        )
