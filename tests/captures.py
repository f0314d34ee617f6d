"""Captures of a function outside a solve."""

from types import SimpleNamespace

from pyseminorm.engines import forms
from pyseminorm.problem.checking_call import FirstValue
from pyseminorm.problem.state import StateSpec
from pyseminorm.problem.vector_field import EagerVectorField


def capture(func, y0, args=(), params=None, *, mode="trace", t=0.3):
    """(the eager field, the one that was captured, the flat state)."""
    spec = StateSpec(y0)
    field, flat = EagerVectorField(func, args, spec, params), spec.flatten(y0).detach()
    first = FirstValue(field, t, flat, recording=True)
    forms.capture(first, args, mode, SimpleNamespace(name="julia" if mode == "julia" else "torch"))
    return field, first.field, flat
