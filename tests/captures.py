"""Captures of a function outside a solve."""

from types import SimpleNamespace

from pyseminorm.engines import forms
from pyseminorm.problem.checking_call import FirstValue
from pyseminorm.problem.state import StateSpec
from pyseminorm.problem.vector_field import FieldArguments


def capture(func, y0, args=(), params=None, *, mode="trace", t=0.3):
    """(the eager field, the one that was captured, the flat state)."""
    spec = StateSpec(y0)
    flat = spec.flatten(y0).detach()
    first = FirstValue(FieldArguments(func, args, spec, params), t, flat, recording=True)
    field = first.field
    forms.capture(first, mode, SimpleNamespace(name="julia" if mode == "julia" else "torch"))
    return field, first.field, flat
