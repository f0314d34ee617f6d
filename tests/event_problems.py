"""Oscillators and balls with events, whose times are known."""

import math

import pytest
import torch
from adjoints import ADJOINTS

import pyseminorm
from pyseminorm import DiscreteAdjoint, Event

EVERY_ADJOINT = [*ADJOINTS, DiscreteAdjoint(keep="checkpoints")]


FINE = {"rtol": 1e-11, "atol": 1e-11}


every_adjoint = pytest.mark.parametrize(
    "adjoint", EVERY_ADJOINT, ids=lambda adjoint: f"{type(adjoint).__name__}-{getattr(adjoint, 'keep', '')}"
)


def number(value, *, grad=False):
    return torch.tensor(value, dtype=torch.float64, requires_grad=grad)


def fall(t, y, g):
    return torch.stack([y[1], -g])


def oscillate(t, y):
    return torch.stack([y[1], -y[0]])


def height(t, y):
    return y[0]


def sine(backend, event, end=20.0, **keywords):
    """The solution of an oscillator, which is (sin t, cos t)."""
    return pyseminorm.solve(
        oscillate, torch.tensor([0.0, 1.0], dtype=torch.float64), [0.0, end], event=event, backend=backend,
        **{**FINE, **keywords},
    )  # fmt: skip


def found(solution):
    """Which event happened when, in halves of pi."""
    return [(record.event, round(record.t.item() / (math.pi / 2), 6)) for record in solution.events]


def bouncing(backend, g, h, e, t, **keywords):
    bounce = Event(height, direction=-1, reset=lambda t, y: torch.stack([y[0], -e * y[1]]))
    y0 = torch.stack([h, torch.zeros_like(h)])
    return pyseminorm.solve(fall, y0, t, args=(g,), event=bounce, backend=backend, **{**FINE, **keywords})


def bounces(g, h, e, count):
    """The times of a ball's bounces."""
    times, speed = [torch.sqrt(2 * h / g)], torch.sqrt(2 * h * g)
    for _ in range(count - 1):
        speed = speed * e
        times.append(times[-1] + 2 * speed / g)
    return torch.stack(times)
