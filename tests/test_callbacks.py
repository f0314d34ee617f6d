"""Callbacks of the Julia solver as C enters them, without Julia: what they give, and what they raise."""

import ctypes
import signal

import pytest
import torch

from pyseminorm.engines.julia.calls.callbacks import SolverCallbacks
from pyseminorm.engines.julia.session.layouts import PROTOTYPES

LIKE = torch.zeros(2, dtype=torch.float64)


def halve(t, z, dz):
    dz.copy_(z / 2)


def entered(name, address):
    return PROTOTYPES[name](address)


def buffer(*values):
    array = (ctypes.c_double * len(values))(*values)
    return array, ctypes.addressof(array)


def test_a_right_hand_side_reads_and_writes_the_solvers_buffers():
    callbacks = SolverCallbacks(LIKE, halve)
    evaluate, register = (entered(n, callbacks.address(n)) for n in ("evaluate", "register"))
    (z, at_z), (dz, at_dz) = buffer(2.0, 4.0), buffer(0.0, 0.0)
    assert register(0, at_z, 2) == 1 and register(1, at_dz, 2) == 1
    assert evaluate(1, 0, 0.5, 0) == 1 and list(dz) == [1.0, 2.0] and list(z) == [2.0, 4.0]
    assert callbacks.raised is None


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_right_hand_side_raises_is_kept_and_c_is_told(error):
    def fail(t, z, dz):
        raise error

    callbacks = SolverCallbacks(LIKE, fail)
    evaluate, register = (entered(n, callbacks.address(n)) for n in ("evaluate", "register"))
    held, at = buffer(1.0, 1.0)
    assert register(0, at, len(held)) == 1 and evaluate(0, 0, 0.0, 0) == 0
    assert callbacks.raised is error


def test_a_norm_gives_its_value_or_a_negative_one():
    callbacks = SolverCallbacks(LIKE, halve, norm=lambda r: float(r.abs().max()) / float(r[0] > 0))
    norm = entered("norm", callbacks.arguments["norm"])
    good, at_good = buffer(1.0, -3.0)
    bad, at_bad = buffer(-1.0, 3.0)
    assert norm(at_good, len(good)) == 3.0 and callbacks.raised is None
    assert norm(at_bad, len(bad)) == -1.0 and isinstance(callbacks.raised, ZeroDivisionError)


def test_jacobians_are_written_column_by_column_and_reports_get_copies():
    told = []
    derivatives = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double(), torch.tensor([5.0, 6.0]).double()
    callbacks = SolverCallbacks(LIKE, halve, jacobian=lambda t, z: derivatives, report=lambda *step: told.append(step))
    jacobian, report = (entered(n, callbacks.arguments[n]) for n in ("jacobian", "report"))
    (z, at_z), (matrix, at_matrix), (by_time, at_time) = buffer(7.0, 8.0), buffer(*(0.0,) * 4), buffer(0.0, 0.0)
    assert jacobian(0, at_matrix, at_z, 2, 0.1) == 1 and list(matrix) == [1.0, 3.0, 2.0, 4.0]
    assert jacobian(1, at_time, at_z, 2, 0.1) == 1 and list(by_time) == [5.0, 6.0]
    assert report(1, 0.1, 0.2, at_z, 2) == 1
    z[0] = 0.0
    accepted, t, state, dt = told[0]
    assert (accepted, t, dt) == (True, 0.1, 0.2) and state.tolist() == [7.0, 8.0]


def test_a_signal_in_a_callback_ends_the_solve_with_what_its_handler_raises():
    class Stopped(Exception):
        pass

    def handler(number, frame):
        raise Stopped

    def interrupted(t, z, dz):
        signal.raise_signal(signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        callbacks = SolverCallbacks(LIKE, interrupted)
        evaluate, register = (entered(n, callbacks.address(n)) for n in ("evaluate", "register"))
        held, at = buffer(1.0, 1.0)
        with callbacks.signals:
            assert register(0, at, len(held)) == 1 and evaluate(0, 0, 0.0, 0) == 0
        assert isinstance(callbacks.raised, Stopped)
    finally:
        signal.signal(signal.SIGUSR2, before)
