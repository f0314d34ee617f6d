"""`crosscheck` and its command: our adjoints beside SciMLSensitivity's, and what is said where that cannot be."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from found_julia import JULIA
from problems import MLP, Linear, Pendulum, batch, cotangents
from typer.testing import CliRunner

import pyseminorm
from pyseminorm import BackendUnavailableError, CrossCheck, InvalidInputError
from pyseminorm.cli import app
from pyseminorm.engines.julia.session import detect

T = torch.linspace(0, 2, 4, dtype=torch.float64)
SCIML = ("BacksolveAdjoint", "InterpolatingAdjoint", "GaussAdjoint", "QuadratureAdjoint")


@pytest.fixture(scope="module")
def sciml():
    """Skips where the Julia project lacks SciMLSensitivity."""
    listed = (Path(JULIA.config.project) / "Project.toml").read_text() if JULIA and JULIA.config else ""
    if "SciMLSensitivity" not in listed:
        pytest.skip("the configured Julia project lacks SciMLSensitivity")


def _script(tmp_path, body):
    script = tmp_path / "problem.py"
    script.write_text("import torch\n" + body)
    return f"{script}:make_problem"


MATRIX = """
class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.tensor([[-0.3, 1.1], [-1.4, -0.2]], dtype=torch.float64))

    def forward(self, t, y):
        return y @ self.matrix.T


def make_problem():
    return Field(), torch.ones(2, dtype=torch.float64), torch.linspace(0, 1, 3)
"""


def _command(*arguments):
    return CliRunner().invoke(app, ["crosscheck", *arguments])


def test_our_adjoints_agree_with_the_reference():
    found = pyseminorm.crosscheck(MLP(), batch(4), T, rtol=1e-6, atol=1e-9, backend="torch")
    assert isinstance(found, CrossCheck) and len(found.rows) == 5
    assert 0 < found.worst < 1e-5
    assert all(row.evaluations > row.naccept > 0 for row in found.rows)


def test_the_rows_are_what_solve_gives():
    field, y0 = Linear(), batch(3).requires_grad_()
    found = pyseminorm.crosscheck(field, y0, T, cotangents=cotangents(4, 3, 2), backend="torch")
    s = pyseminorm.solve(field, y0, T, backend="torch")
    (s.ys * cotangents(4, 3, 2)).sum().backward()
    row = found.rows[0]
    assert (row.evaluations, row.naccept) == (s.stats.backward.evaluations, s.stats.backward.naccept)
    exact = Linear()
    y0_exact = batch(3).requires_grad_()
    ys = torch.stack([exact.exact(y0_exact, float(t)) for t in T])
    (ys * cotangents(4, 3, 2)).sum().backward()
    assert row.error_y0 == pytest.approx(((y0.grad - y0_exact.grad).norm() / y0_exact.grad.norm()).item(), rel=1e-3)
    error = (field.matrix.grad - exact.matrix.grad).norm() / exact.matrix.grad.norm()
    assert row.error_params == pytest.approx(error.item(), rel=1e-3)


def test_an_adjoint_that_is_off_is_found(monkeypatch):
    from pyseminorm import BacksolveAdjoint

    module = sys.modules["pyseminorm.crosschecking"]
    monkeypatch.setitem(module.ADJOINTS, "loose", BacksolveAdjoint(rtol=10.0, atol=10.0, verbose=False))
    found = pyseminorm.crosscheck(Pendulum(), batch(2), T, rtol=1e-6, atol=1e-9, backend="torch")
    off = found.rows[-1]
    assert off.adjoint == "loose" and found.worst == max(off.error_y0, off.error_params) > 1e-3


def test_a_float32_module_is_compared_with_a_float64_copy_and_stays_float32():
    field = MLP(torch.float32)
    found = pyseminorm.crosscheck(field, batch(4, torch.float32), T, backend="torch")
    assert "rtol = atol = 1e-11, float64" in found.reference and "float32" in found.settings
    assert found.worst < 1e-3 and next(field.parameters()).dtype == torch.float32


def test_nested_states_args_and_functions_without_parameters():
    gain = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y0 = {"a": batch(2), "b": batch(1)}
    found = pyseminorm.crosscheck(
        lambda t, y, k: {"a": -k * y["a"], "b": torch.sin(t) * y["b"]}, y0, T, args=(gain,), backend="torch"
    )
    assert found.worst < 1e-2
    found = pyseminorm.crosscheck(lambda t, y: -y, batch(2), T, backend="torch")
    assert all(math.isnan(row.error_params) for row in found.rows) and found.worst < 1e-2


def test_a_failed_solve_is_a_row_and_a_note():
    found = pyseminorm.crosscheck(Pendulum(), batch(2), T, rtol=1e-9, atol=1e-9, backend="torch", max_steps=5)
    assert found.worst == math.inf
    assert len(found.notes) == 6 and "BacksolveAdjoint on torch failed" in found.notes[1]


def test_the_table_reads_as_markdown():
    found = pyseminorm.crosscheck(Linear(), batch(2), T, backend="torch")
    lines = str(found).splitlines()
    assert lines[0].startswith("| adjoint") and re.fullmatch(r"[| :-]+", lines[1])
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "tsit5, rtol 0.001" in str(found) and f"torch {torch.__version__}" in lines[-1]


def test_without_julia_one_line_says_why(monkeypatch):
    monkeypatch.setattr(detect, "find_julia", lambda: detect.NoJulia("there is none"))
    found = pyseminorm.crosscheck(Linear(), batch(2), T)
    assert {row.engine for row in found.rows} == {"torch"}
    (note,) = found.notes
    assert "there is none" in note and "pyseminorm setup" in note
    with pytest.raises(BackendUnavailableError, match="there is none"):
        pyseminorm.crosscheck(Linear(), batch(2), T, backend="julia")


def test_fixed_steps_are_refused():
    with pytest.raises(InvalidInputError, match="rk4"):
        pyseminorm.crosscheck(Linear(), batch(2), T, method="rk4")


def test_the_command_prints_the_table_and_passes(tmp_path):
    done = _command(_script(tmp_path, MATRIX), "--backend", "torch")
    assert done.exit_code == 0, done.output
    assert "GaussAdjoint(interpolate=False)" in done.output and "within the tolerance 0.1" in done.output


def test_the_command_fails_beyond_the_tolerance(tmp_path):
    done = _command(_script(tmp_path, MATRIX), "--backend", "torch", "--tolerance", "1e-12")
    assert done.exit_code == 1 and "BEYOND the tolerance 1e-12" in done.output


def test_the_command_takes_a_dict_and_its_tolerance(tmp_path):
    body = MATRIX.replace("return Field(), ", 'return dict(rtol=1e-5, backend="torch", func=Field(), y0=').replace(
        ", torch.linspace(0, 1, 3)", ", t=torch.linspace(0, 1, 3))"
    )
    done = _command(_script(tmp_path, body))
    assert done.exit_code == 0, done.output
    assert "rtol 1e-05" in done.output and "within the tolerance 0.001" in done.output


@pytest.mark.parametrize(
    ("body", "says"), [("", "no function make_problem"), ("make_problem = lambda: 3", "must return (func, y0, t)")]
)
def test_the_command_says_what_it_expects(tmp_path, body, says):
    done = _command(_script(tmp_path, body))
    assert done.exit_code == 2
    assert says in " ".join(re.sub(r"[│╭╮╰╯─\x1b]", " ", done.output).split())


@pytest.mark.julia
def test_both_engines_take_the_same_steps():
    found = pyseminorm.crosscheck(Linear(), batch(4), T)
    torchs, julias = ([r for r in found.rows if r.engine == name] for name in ("torch", "julia"))
    assert [r.adjoint for r in torchs] == [r.adjoint for r in julias]
    for ours, theirs in zip(torchs, julias, strict=True):
        assert ours.naccept == theirs.naccept and theirs.evaluations == ours.evaluations
        assert ours.error_params == pytest.approx(theirs.error_params, rel=1e-3)
    assert "julia" in found.versions


@pytest.mark.julia
def test_without_sciml_sensitivity_a_line_says_how_to_add_it(monkeypatch):
    from pyseminorm.engines.julia.session.runtime import Runtime

    monkeypatch.setattr(Runtime, "load", lambda self, package: False)
    found = pyseminorm.crosscheck(Linear(), batch(4), T)
    (note,) = found.notes
    assert 'Pkg.add("SciMLSensitivity")' in note
    assert {row.engine for row in found.rows} == {"torch", "julia"}


@pytest.mark.julia
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sciml_sensitivity_agrees(sciml, dtype):
    found = pyseminorm.crosscheck(MLP(dtype), batch(4, dtype), T, rtol=1e-5, atol=1e-7)
    theirs = [row for row in found.rows if row.engine == "SciMLSensitivity"]
    assert tuple(row.adjoint for row in theirs) == SCIML, found.notes
    assert found.worst < 1e-4
    assert found.versions["SciMLSensitivity"].startswith("7.")


@pytest.mark.julia
@pytest.mark.slow
def test_sciml_sensitivitys_gauss_adjoint_is_ours(sciml, monkeypatch):
    """Lambda alone with its own tolerances, three nodes in a step: the same work, counted in the same way."""
    monkeypatch.setattr("pyseminorm.engines.julia.calls.nodes.estimates", lambda method, traits: False)
    found = pyseminorm.crosscheck(Pendulum(), batch(2), T, rtol=1e-6, atol=1e-9)
    gauss = {row.engine: row for row in found.rows if row.adjoint == "GaussAdjoint"}
    ours, theirs = gauss["julia"], gauss["SciMLSensitivity"]
    # It evaluates the first point of a solve twice, as OrdinaryDiffEq does.
    assert (ours.evaluations, ours.naccept) == (theirs.evaluations - 1, theirs.naccept)
    assert ours.error_params == pytest.approx(theirs.error_params, rel=1e-6)


@pytest.mark.julia
@pytest.mark.slow
def test_errors_of_func_pass_through_sciml_sensitivity(sciml):
    from pyseminorm.engines.julia.sciml_sensitivity import Sensitivity
    from pyseminorm.engines.julia.session.runtime import runtime
    from pyseminorm.methods.tableaus import TABLEAUS
    from pyseminorm.passes.problems import PassOptions
    from pyseminorm.problem.state import StateSpec
    from pyseminorm.problem.vector_field import EagerVectorField

    def func(t, y):
        if t > 0.5:
            raise ZeroDivisionError("mine")
        return -y

    y0 = batch(2).reshape(-1)
    assert runtime().load("SciMLSensitivity")
    field = EagerVectorField(func, (), StateSpec(y0), None)
    options = PassOptions("tsit5", TABLEAUS["tsit5"].traits, 1e-3, 1e-6, 1000)
    with pytest.raises(ZeroDivisionError, match="mine"):
        Sensitivity(runtime(), field, y0, T.tolist(), options)


@pytest.mark.julia
@pytest.mark.slow
def test_decreasing_times_have_no_rows_of_sciml_sensitivity(sciml):
    found = pyseminorm.crosscheck(Linear(), batch(2), T.flip(0))
    assert {row.engine for row in found.rows} == {"torch", "julia"}
    assert "increasing times" in found.notes[-1]
