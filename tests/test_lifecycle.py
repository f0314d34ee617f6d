"""Starting Julia: with which threads, whose signals, and what stays in memory after many solves."""

import json
import math
import os
import subprocess
import sys
import textwrap

import pytest
import torch

import pyseminorm
from pyseminorm import InvalidInputError
from pyseminorm.engines.julia.session import config
from pyseminorm.engines.julia.session.startup import StartOptions

THREADS, SIGNALS = "PYTHON_JULIACALL_THREADS", "PYTHON_JULIACALL_HANDLE_SIGNALS"
OPTIONS = (THREADS, SIGNALS, "JULIA_NUM_THREADS", config.THREADS_VARIABLE)


@pytest.fixture
def environment(monkeypatch):
    """An environment that says nothing about Julia's options."""
    for name in OPTIONS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("options", "said", "threads", "signals"),
    [
        (StartOptions(), {}, None, None),
        (StartOptions("1"), {}, "1", None),
        (StartOptions("2"), {}, "2", "yes"),
        (StartOptions("auto"), {}, "auto", "yes"),
        (StartOptions(handle_signals=True), {}, None, "yes"),
        (StartOptions("2", False), {}, "2", "no"),
        (StartOptions("2"), {THREADS: "1"}, "1", None),
        (StartOptions("2"), {SIGNALS: "no"}, "2", "no"),
        (StartOptions(), {"JULIA_NUM_THREADS": "4"}, None, "yes"),
    ],
)
def test_options_reach_juliacall_unless_the_environment_says_otherwise(environment, options, said, threads, signals):
    for name, value in said.items():
        environment.setenv(name, value)
    environment.setattr(os, "environ", dict(os.environ))
    options.to_environment()
    assert (os.environ.get(THREADS), os.environ.get(SIGNALS)) == (threads, signals)


def test_other_options_than_julia_runs_with_are_refused():
    running = StartOptions("1", False)
    for same in (StartOptions(), StartOptions("1"), StartOptions(handle_signals=False), running):
        same.check(running)
    with pytest.raises(
        InvalidInputError, match=r"runs with threads=1, handle_signals=False; asked for was threads=2\."
    ):
        StartOptions("2").check(running)
    with pytest.raises(InvalidInputError, match="asked for was handle_signals=True"):
        StartOptions(handle_signals=True).check(running)


@pytest.mark.parametrize("wrong", [0, -1, "two", 1.5, True, ""])
def test_threads_that_are_no_number_are_refused(wrong):
    with pytest.raises(InvalidInputError, match='positive whole number or "auto"'):
        pyseminorm.start_julia(threads=wrong)
    with pytest.raises(InvalidInputError, match="handle_signals"):
        pyseminorm.start_julia(handle_signals="yes")


def test_threads_are_configured_by_environment_and_file(environment, tmp_path):
    environment.setenv(config.FILE_VARIABLE, str(tmp_path / "config.json"))
    for name in (config.EXE_VARIABLE, config.PROJECT_VARIABLE):
        environment.delenv(name, raising=False)
    assert config.environment_threads() is None
    environment.setenv(config.THREADS_VARIABLE, "auto")
    assert config.environment_threads() == "auto"
    environment.setenv(config.THREADS_VARIABLE, "many")
    with pytest.raises(InvalidInputError, match="PYSEMINORM_JULIA_THREADS='many'"):
        config.environment_threads()
    written = config.JuliaConfig("exe", "project", "2")
    file = config.write_julia(written)
    assert config.find_configuration() == (written, str(file))
    file.write_text(json.dumps({"julia": {"exe": "exe", "project": "project", "threads": 0}}))
    with pytest.raises(InvalidInputError, match="threads=0"):
        config.find_configuration()


PREAMBLE = """
import math, os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
import torch, pyseminorm

def solve(func, end, **options):
    return pyseminorm.solve(func, torch.ones(2, requires_grad=True), [0.0, end], backend="julia", **options)

ready = threading.Event()

def slow(t, y):
    if t > 0.1:
        ready.set()
        time.sleep(0.01)
    return -y

def interrupted(work):
    # The KeyboardInterrupt that ends work, some time after it is ready
    ready.clear()
    threading.Thread(target=lambda: (ready.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
    try:
        work()
    except KeyboardInterrupt as error:
        return error

def forward():
    state = interrupted(lambda: solve(slow, 1e6, dt=1e-3, method="rk4")).last_good_state
    print("forward", 0.09 < state.t < 1e6, bool(abs(state.y[0] - math.exp(-state.t)) < 1e-3))
"""


def _python(code, **variables):
    """The printed lines of code in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in OPTIONS} | variables
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.julia
@pytest.mark.slow
def test_start_julia_starts_it_once_with_threads():
    lines = _python("""
        versions = pyseminorm.start_julia(threads=2)
        print(versions["julia"], versions["PySeminorm"] != "")
        assert pyseminorm.start_julia() == pyseminorm.start_julia(threads=2, handle_signals=True) == versions
        try:
            pyseminorm.start_julia(threads=3)
        except pyseminorm.InvalidInputError as error:
            print(error)
        import juliacall
        print(juliacall.Main.seval("Threads.nthreads()"))
        y0 = torch.ones(2, requires_grad=True)
        pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], backend="julia").ys[-1].sum().backward()
        print(round(y0.grad[0].item(), 2))
    """)
    assert lines[0].endswith("True") and "runs with threads=2, handle_signals=True" in lines[1]
    assert lines[2:] == ["2", "0.37"]


@pytest.mark.julia
@pytest.mark.slow
def test_configured_threads_are_used_at_the_first_solve():
    lines = _python(
        """
        pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], backend="julia")
        import juliacall
        print(juliacall.Main.seval("Threads.nthreads()"), juliacall.Main.seval("Base.JLOptions().handle_signals"))
        """,
        **{config.THREADS_VARIABLE: "2"},
    )
    assert lines == ["2 1"]


@pytest.mark.julia
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_interrupts_a_solve_and_leaves_the_session_usable(threads):
    """In the forward and the backward pass, and outside; beside threads that are older than Julia and block nothing."""
    lines = _python(
        f"""
        torch.set_num_threads(2)
        torch.randn(1_000_000).exp()  # OpenMP has its thread now
        pyseminorm.start_julia(threads={threads})
        solve(lambda t, y: -y, 1.0).ys.sum().backward()
        forward(), forward(), forward()
        armed = False
        ys = solve(lambda t, y: slow(t, y) if armed and t < 49 else -y, 50.0, dt=1e-2, method="rk4").ys
        armed = True
        state = interrupted(lambda: ys.sum().backward()).last_good_state
        print("backward", 0 < state.t < 49.1, state.stats.naccept > 0)
        print("outside", interrupted(lambda: (ready.set(), time.sleep(60))) is not None)
        print(solve(lambda t, y: -y, 1.0).retcode.name)
        """,
        OMP_NUM_THREADS="2",
    )
    assert lines == ["forward True True"] * 3 + ["backward True True", "outside True", "Success"]


@pytest.mark.julia
def test_an_interrupt_that_julia_raises_becomes_keyboard_interrupt():
    late = pyseminorm.JuliaFunction("(du, u, p, t) -> (t > 0.5 && throw(InterruptException()); du .= -u)")
    with pytest.raises(KeyboardInterrupt) as info:
        pyseminorm.solve(late, torch.ones(2), [0.0, 1.0], backend="julia", rtol=1e-6)
    state = info.value.last_good_state
    assert 0 < state.t <= 0.5 and state.stats.naccept > 0
    assert torch.allclose(state.y, torch.full((2,), math.exp(-state.t)), rtol=1e-4)
    assert pyseminorm.solve(late, torch.ones(2), [0.0, 0.5], backend="julia").retcode.success


@pytest.mark.julia
@pytest.mark.slow
def test_ctrl_c_with_a_juliacall_of_the_users_own():
    """It handles signals, and nobody gave the interrupts back."""
    from found_julia import JULIA

    lines = _python(
        """
        import juliacall  # before pyseminorm starts it, and gives the interrupts back to Python
        solve(lambda t, y: -y, 1.0)
        assert pyseminorm.start_julia(handle_signals=True)
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        forward(), forward()
        print(solve(lambda t, y: -y, 1.0).retcode.name)
        """,
        PYTHON_JULIACALL_EXE=JULIA.config.exe,
        PYTHON_JULIACALL_PROJECT=JULIA.config.project,
        PYTHON_JULIACALL_HANDLE_SIGNALS="yes",
        OPENBLAS_NUM_THREADS="1",  # Its threads are older than Julia: the interrupt might go to one, and be lost
    )
    assert lines == ["forward True True"] * 2 + ["Success"]


@pytest.mark.julia
@pytest.mark.slow
def test_memory_stays_flat():
    """2,000 solves with both passes. What Julia's collector holds, what lives in torch, and the process as a whole."""
    lines = _python("""
        import gc
        pyseminorm.start_julia()
        import juliacall

        field = torch.nn.Linear(8, 8)
        y0, times = torch.ones(16, 8), torch.linspace(0, 1, 4)
        adjoints = pyseminorm.BacksolveAdjoint(), pyseminorm.InterpolatingAdjoint(), pyseminorm.GaussAdjoint()

        def steps(count):
            for number in range(count):
                s = pyseminorm.solve(
                    lambda t, y: field(y), y0, times, params=field.parameters(), backend="julia",
                    adjoint=adjoints[number % 3],
                )
                s.ys.sum().backward()

        def held():
            gc.collect()
            juliacall.Main.seval("GC.gc(); GC.gc()")  # the second one frees what finalizers of the first let go
            live = juliacall.Main.seval("Base.gc_live_bytes()")
            tensors = sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            return live / 2**20, tensors, pages * os.sysconf("SC_PAGE_SIZE") / 2**20

        steps(4000)  # the pools have their size then: seen after 3,500 passes, with Julia's live bytes constant
        before = held()
        steps(2000)
        print(*(after - then for after, then in zip(held(), before)))
    """)
    julia, tensors, process = map(float, lines[-1].split())
    assert julia < 1 and tensors == 0 and process < 16, f"grown by {lines[-1]} (MiB of Julia, tensors, MiB)"
