"""The profile of a block: its numbers, its table, its file, and the command. Real samples need a Julia of their own."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pyseminorm
from pyseminorm import InvalidInputError, Profile, UnsupportedError
from pyseminorm.engines.julia.session import profiling_clock as clock
from pyseminorm.engines.julia.session.profiling_clock import Place, active_clock, clock_calls

THREADED = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}  # threads that are older than Julia


@pytest.fixture
def spend(monkeypatch):
    """Lets time pass, and nothing else does."""
    now = [5.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    return spend


def test_without_a_profile_a_function_is_timed_by_nobody(spend):
    assert clock_calls(Place.JULIA, spend) is spend


def test_the_clock_counts_every_moment_once(spend):
    with active_clock(lambda: 0) as found:
        spend(32)
        found.start()
        inner = clock_calls(Place.CALLBACK, spend)
        spend(1)
        clock_calls(Place.JULIA, lambda: (spend(2), inner(4), inner(4), spend(8)))()
        spend(16)
        found.stop()
        spend(64)
    assert found.seconds == {Place.JULIA: 10, Place.CALLBACK: 8, Place.OUTSIDE: 17}


def test_the_clock_knows_the_place_of_every_position(spend):
    samples = [2]  # two were taken before the clock starts
    with active_clock(lambda: samples[0]) as found:
        found.start()
        inner = clock_calls(Place.CALLBACK, lambda: None)

        def outer():
            inner()
            samples[0] = 3
            inner()  # no sample during this one
            samples[0] = 7
            clock_calls(Place.CALLBACK, lambda: samples.__setitem__(0, 9))()

        clock_calls(Place.JULIA, outer)()
        samples[0] = 11
        found.stop()
    assert found.edges == [2, 3, 7, 9, 11, 11]
    assert found.places == [Place.JULIA, Place.JULIA, Place.CALLBACK, Place.OUTSIDE, Place.OUTSIDE]


def test_the_clock_goes_on_after_an_exception(spend):
    def fail():
        spend(1)
        raise ZeroDivisionError

    with active_clock(lambda: 0) as found:
        found.start()
        with pytest.raises(ZeroDivisionError):
            clock_calls(Place.JULIA, fail)()
        spend(2)
        found.stop()
    assert found.seconds == {Place.JULIA: 1, Place.CALLBACK: 0, Place.OUTSIDE: 2}
    assert clock_calls(Place.JULIA, spend) is spend


def test_profiles_do_not_nest():
    with active_clock(lambda: 0), pytest.raises(UnsupportedError, match="do not nest"), active_clock(lambda: 0):
        pass


def test_before_the_block_ends_there_is_nothing_to_save(tmp_path):
    unfinished = Profile()
    assert "not ended" in str(unfinished)
    with pytest.raises(InvalidInputError, match="not ended"):
        unfinished.save(tmp_path / "file")


@pytest.mark.parametrize("interval", [0, -1.0, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(InvalidInputError, match="interval="), pyseminorm.profile(interval=interval):
        pass


SOLVE = """
import sys, time, torch, pyseminorm

def solve(func, steps):
    y0 = torch.ones(4, requires_grad=True)
    s = pyseminorm.solve(func, y0, [0.0, 1.0], method="rk4", dt=1 / steps, backend="julia", max_steps=10**7)
    s.ys.sum().backward()

def sleepy(t, y):
    time.sleep(1e-3)
    return -y
"""


def _run(code, *arguments, **variables):
    """The output of code, or of `pyseminorm profile` with arguments, in a process of its own."""
    command = [sys.executable, *(arguments or ("-c", SOLVE + textwrap.dedent(code)))]
    environment = {name: value for name, value in os.environ.items() if "JULIACALL" not in name} | THREADED | variables
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    return done.returncode, done.stdout, done.stderr


def _check_speedscope(file):
    """The file against what the schema says of a sampled profile; gives the innermost names, and the profile."""
    found = json.loads(file.read_text())
    assert found["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames, (profile,) = found["shared"]["frames"], found["profiles"]
    assert all(isinstance(f["name"], str) and isinstance(f.get("line", 0), int) for f in frames)
    assert (profile["type"], profile["unit"], profile["startValue"]) == ("sampled", "seconds", 0)
    assert isinstance(profile["name"], str) and profile["endValue"] == pytest.approx(sum(profile["weights"]))
    assert len(profile["samples"]) == len(profile["weights"]) > 0
    assert all(weight > 0 for weight in profile["weights"])
    assert all(0 <= i < len(frames) for stack in profile["samples"] for i in stack)
    return [frames[stack[-1]]["name"] for stack in profile["samples"] if stack], profile


@pytest.mark.julia
@pytest.mark.slow
def test_a_profile_says_where_the_time_went(tmp_path):
    """Callbacks that sleep, then steps whose callbacks do next to nothing, then torch alone."""
    file = tmp_path / "p.speedscope.json"
    code, out, err = _run(f"""
        import json
        torch.randn(1_000_000).exp()  # OpenMP has its thread now
        pyseminorm.start_julia(handle_signals=True)
        solve(lambda t, y: -y, 100)
        with pyseminorm.profile() as p:
            solve(sleepy, 100)
        assert str(p.save({str(file)!r})) == {str(file)!r}
        with pyseminorm.profile() as q:
            time.sleep(0.3)
        for found in (p, q):
            fields = {{k: v for k, v in vars(found).items() if k[0] != "_"}}
            print(json.dumps(fields | {{"torch_share": found.torch_share}}))
        print(p)
    """)
    assert code == 0, out + err
    first, second, *table = out.splitlines()
    p, q = json.loads(first), json.loads(second)
    parts = [p[f"{name}_seconds"] for name in ("julia", "callback", "outside")]
    assert sum(parts) == pytest.approx(p["seconds"]) and p["torch_share"] > 0.5
    assert p["callback_seconds"] > 0.4  # 400 evaluations forward, each 1 ms at least
    samples = p["samples"]
    assert max(samples, key=samples.get) == "callback" and samples["callback"] > 20
    assert p["allocations"] > 0 and p["allocated_bytes"] > 0
    assert p["functions"][0][0] == "[callback into Python]"
    assert q["samples"]["callback"] == q["samples"]["solver"] == 0 and q["samples"]["outside"] > 5
    assert q["julia_seconds"] == 0
    assert "callback into Python" in "\n".join(table) and "Julia allocated" in "\n".join(table)
    innermost, profile = _check_speedscope(file)
    assert len(innermost) > 20 and innermost.count("[callback into Python]") == samples["callback"]
    assert profile["endValue"] == pytest.approx(p["seconds"], rel=0.2)


@pytest.mark.julia
@pytest.mark.slow
def test_a_julia_without_signal_handling_is_refused_with_the_cure():
    code, out, err = _run("""
        solve(lambda t, y: -y, 100)
        try:
            with pyseminorm.profile():
                print("never")
        except pyseminorm.InvalidInputError as error:
            print(error)
        solve(lambda t, y: -y, 100)
    """)
    assert code == 0, out + err
    assert "start_julia(handle_signals=True)" in out and "pyseminorm profile script.py" in out and "never" not in out


@pytest.mark.julia
@pytest.mark.slow
def test_the_command_runs_a_script_as_main_with_its_arguments(tmp_path):
    script, file = tmp_path / "script.py", tmp_path / "out.json"
    (tmp_path / "beside.py").write_text("steps = 300\n")
    body = """
from beside import steps
assert __name__ == "__main__" and sys.argv == [__file__, "--output", "mine", "-x"]
solve(lambda t, y: -y, steps)
print("solved")
sys.exit(3)
"""
    script.write_text(SOLVE + body)
    command = ["-c", "from pyseminorm.cli import app; app()", "profile", "--output", str(file)]
    code, out, err = _run("", *command, str(script), "--output", "mine", "-x")
    assert code == 3, out + err
    lines = out.splitlines()
    assert lines[0] == "solved" and lines[1].startswith("Profile of ") and str(file) in lines[-1]
    _check_speedscope(file)


@pytest.mark.julia
@pytest.mark.slow
def test_an_exception_of_the_block_leaves_a_profile_and_goes_on():
    code, out, err = _run("""
        try:
            with pyseminorm.profile() as p:
                solve(sleepy, 50)
                raise ZeroDivisionError
        except ZeroDivisionError:
            print(p.samples["callback"] > 0, p.callback_seconds > 0.1)
        with pyseminorm.profile() as p:
            solve(lambda t, y: -y, 3000)
        print(p.samples["solver"] > 0)
    """)
    assert code == 0, out + err
    assert out.splitlines() == ["True True", "True"]


@pytest.mark.julia
@pytest.mark.slow
def test_a_vector_field_in_julia_has_samples_of_its_own():
    code, out, err = _run("""
        field = pyseminorm.JuliaFunction("(du, u, p, t) -> (du .= -sin.(u))")
        y0 = torch.ones(1000)
        pyseminorm.start_julia(handle_signals=True)
        pyseminorm.solve(field, y0, [0.0, 1.0], method="rk4", dt=0.1, backend="julia")
        with pyseminorm.profile(interval=0.002) as p:
            pyseminorm.solve(field, y0, [0.0, 1.0], method="rk4", dt=2e-5, backend="julia", max_steps=10**6)
        print(p.samples["field"] > p.samples["solver"] > 0, p.samples["callback"], p.callback_seconds)
    """)
    assert code == 0, out + err
    assert out.split() == ["True", "0", "0.0"]


@pytest.mark.julia
@pytest.mark.slow
def test_julia_alone_profiles_a_native_problem(tmp_path):
    from found_julia import JULIA

    script, file = Path(__file__).parents[1] / "examples" / "profile_alone.jl", tmp_path / "alone.json"
    command = [JULIA.config.exe, "--startup-file=no", f"--project={JULIA.config.project}", str(script), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps = re.match(r"accepted steps: (\d+) with the seminorm, (\d+) with everything", done.stdout)
    assert 5 * int(steps[1]) < int(steps[2])
    assert "vector field in Julia" in done.stdout and "callback" not in done.stdout
    _, profile = _check_speedscope(file)
    assert max(map(len, profile["samples"])) > 5
