"""What only the Julia engine has: threads, processes, other algorithms, memory, and its own test suite."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from problems import MLP, LotkaVolterra, batch

import pyseminorm
from pyseminorm import BackendUnavailableError, WrongThreadError

pytestmark = pytest.mark.julia
T = torch.linspace(0, 1, 4, dtype=torch.float64)


def _on_a_thread(work):
    caught = []

    def run():
        try:
            work()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught


def test_other_threads_are_refused_by_name_with_the_cure():
    y0 = batch(2).requires_grad_()
    s = pyseminorm.solve(lambda t, y: -y, y0, T, backend="julia", dense=True)
    for work in (
        lambda: pyseminorm.solve(lambda t, y: -y, y0, T, backend="julia"),
        lambda: s.ys.sum().backward(),
        lambda: s.interpolate(0.5),
    ):
        (error,) = _on_a_thread(work)
        assert isinstance(error, WrongThreadError) and "set_multithreading_enabled(False)" in str(error)
    s.ys.sum().backward()  # and here it works
    assert y0.grad is not None


def test_auto_is_the_embedded_engine_on_other_threads():
    def gradient():
        y0 = batch(2).requires_grad_()
        pyseminorm.odeint_adjoint(lambda t, y: -y, y0, T, adjoint_params=()).sum().backward()
        found.append(y0.grad)

    found = []
    gradient()  # by Julia
    assert _on_a_thread(gradient) == []
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-8)


def test_a_forked_child_is_refused_by_name():
    pyseminorm.solve(lambda t, y: -y, batch(2), T, backend="julia")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            pyseminorm.solve(lambda t, y: -y, batch(2), T, backend="julia")
            answer = b"solved"
        except WrongThreadError as error:
            answer = str(error).encode()
        os.write(write, answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert b"spawn" in pipe.read()
    os.waitpid(child, 0)


@pytest.mark.parametrize("method", ["Tsit5", "Vern9", "BS5", "OwrenZen3", "Heun", "RKO65"])
def test_any_loaded_explicit_algorithm_by_its_own_name(method):
    y0 = batch(2).requires_grad_()
    solution = pyseminorm.solve(lambda t, y: -y, y0, T, method=method, backend="julia", rtol=1e-7, atol=1e-9)
    solution.ys[-1].sum().backward()
    assert torch.allclose(y0.grad, torch.full_like(y0, 0.36787944), rtol=1e-5)


def test_fixed_step_algorithms_run_without_adaptivity():
    steps = pyseminorm.solve(lambda t, y: -y, batch(2), T, method="Euler", dt=0.1, backend="julia").stats.forward.times
    assert len(steps) == 11
    named = pyseminorm.solve(lambda t, y: -y, batch(2), T, method="Tsit5", backend="julia")
    ours = pyseminorm.solve(lambda t, y: -y, batch(2), T, method="tsit5", backend="julia")
    assert torch.equal(named.ys, ours.ys)


def test_an_algorithm_that_only_julia_has_says_why_julia_cannot():
    with pytest.raises(BackendUnavailableError, match="float16"):
        pyseminorm.solve(lambda t, y: -y, batch(2).half(), T, method="Vern9")


def test_a_second_model_compiles_nothing():
    from pyseminorm.engines.julia.session.runtime import runtime

    def train(field, rows):
        ys = pyseminorm.solve(field, batch(rows), T, backend="julia").ys
        ys.sum().backward()

    train(MLP(width=8), 3)
    runtime()
    import juliacall

    juliacall.Main.seval("Base.cumulative_compile_timing(true)")
    before = juliacall.Main.seval("Base.cumulative_compile_time_ns()[1]")
    train(LotkaVolterra(), 5)
    after = juliacall.Main.seval("Base.cumulative_compile_time_ns()[1]")
    juliacall.Main.seval("Base.cumulative_compile_timing(false)")
    assert after - before < 50_000_000, f"{(after - before) / 1e9:.2f} s of compilation for a second model"


@pytest.mark.slow
def test_the_versions_of_juliacall_and_pythoncall_are_compared():
    code = """
        import juliacall
        juliacall.__version__ = "0.0.1"
        import torch, pyseminorm
        try:
            pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], backend="julia")
        except pyseminorm.BackendUnavailableError as error:
            print(error)
    """
    from found_julia import JULIA

    environment = {
        **os.environ,
        "PYTHON_JULIACALL_EXE": JULIA.config.exe,
        "PYTHON_JULIACALL_PROJECT": JULIA.config.project,
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, check=True
    )
    assert "must have the same version" in done.stdout and "pip install juliacall==" in done.stdout


@pytest.mark.slow
def test_a_depot_that_cannot_be_written_is_named():
    code = """
        import torch, pyseminorm
        try:
            pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], backend="julia")
        except pyseminorm.BackendUnavailableError as error:
            print(error)
    """
    environment = {**os.environ, "JULIA_DEPOT_PATH": "/proc/none"}  # a folder that nobody can make
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "/proc/none" in done.stderr and "let JULIA_DEPOT_PATH name another" in done.stdout


@pytest.mark.slow
def test_a_signal_that_arrives_while_julia_runs_is_not_lost():
    """Its handler would raise at the entry of the next callback, before the callback could keep the exception."""
    code = """
        import signal, torch, pyseminorm

        def handler(number, frame):
            raise TimeoutError("mine")

        signal.signal(signal.SIGALRM, handler)
        y0 = torch.ones(1_000_000)
        slope = -1e-3 * y0
        func = lambda t, y: slope  # nearly all the time is Julia's
        options = dict(backend="julia", method="rk4", dt=1.0, max_steps=10**9)
        pyseminorm.solve(func, y0, [0.0, 2.0], **options)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        try:
            pyseminorm.solve(func, y0, [0.0, 1e6], **options)
        except TimeoutError as error:
            print(error, error.last_good_state.stats.naccept > 0, signal.getsignal(signal.SIGALRM) is handler)
        print(pyseminorm.solve(func, y0, [0.0, 2.0], **options).retcode.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:2] == ["mine True True", "Success"], done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_pyseminorms_own_julia_tests():
    from found_julia import JULIA

    tests = Path(__file__).parents[1] / "julia" / "test" / "runtests.jl"
    command = [JULIA.config.exe, "--startup-file=no", f"--project={JULIA.config.project}", str(tests)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
