"""Signals and other threads while a solve runs in Julia alone."""

import functools
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

import pyseminorm
from pyseminorm import JuliaFunction
from pyseminorm.engines.julia.session.signals import DeferredSignals

pytestmark = pytest.mark.julia


@pytest.mark.slow
@pytest.mark.parametrize("where", ["forward", "backward", "gauss"])
def test_ctrl_c_interrupts_a_native_solve(where):
    """No Python runs there; signals are looked for from Julia, and the next solve works."""
    code = f"""
        import signal, torch, pyseminorm
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
        f = "(du, u, p, t) -> (du .= p .* cos.(1000 .* t .+ u))"
        vjp = "(dλ, dp, λ, u, p, t) -> (dλ .= -λ .* p .* sin.(1000 .* t .+ u); dp .= λ .* cos.(1000 .* t .+ u))"
        field = pyseminorm.JuliaFunction(f, torch.ones(20, 1).double(), vjp=vjp)
        kind = pyseminorm.GaussAdjoint if {where == "gauss"} else pyseminorm.BacksolveAdjoint
        adjoint = kind(rtol=1e-13, atol=1e-13)

        def run(end, **tolerances):
            y0 = torch.ones(20, 1).double()
            return pyseminorm.solve(
                field, y0, [0.0, end], adjoint=adjoint, backend="julia", max_steps=10**9, **tolerances
            )

        run(0.1).ys.sum().backward()
        if {where == "forward"}:
            work = lambda: run(1e4, rtol=1e-13, atol=1e-13)
        else:
            work = run(1e3).ys.sum().backward
        print("ready", flush=True)
        try:
            work()
            print("finished")
        except KeyboardInterrupt as error:
            state = error.last_good_state
            print("interrupted", 0 < state.t < 1e4, state.stats.naccept > 0, tuple(state.y.shape))
        again = run(0.1)
        again.ys.sum().backward()
        print(again.retcode.name)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n", child.communicate()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=120)
    assert out.split("\n")[:2] == ["interrupted True True (20, 1)", "Success"], out + error
    assert "Exception ignored" not in error


def test_other_threads_run_during_a_native_solve():
    rate = torch.ones(20, 1, dtype=torch.float64)
    field = JuliaFunction("(du, u, p, t) -> (du .= p .* cos.(1000 .* t .+ u))", rate)
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.01):
            ticks.append(time.perf_counter())

    def run(end):
        started = time.perf_counter()
        pyseminorm.solve(field, rate, [0.0, end], backend="julia", rtol=1e-12, atol=1e-12, max_steps=10**9)
        return started, time.perf_counter()

    run(0.1)
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        started, ended = run(100.0)
    finally:
        done.set()
        thread.join()
    assert ended - started > 0.5
    assert sum(started < at < ended for at in ticks) > 0.25 * (ended - started) / 0.05


def test_what_a_handler_raises_at_the_end_of_a_solve_arrives_as_itself(monkeypatch):
    def handle(*_):
        raise TimeoutError

    solve = functools.partial(pyseminorm.solve, lambda t, y: -y, torch.ones(2), [0.0, 1.0], backend="julia")
    assert solve().retcode.success
    monkeypatch.setattr(DeferredSignals, "__exit__", handle)
    with pytest.raises(TimeoutError):
        solve()
