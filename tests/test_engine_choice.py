"""Finding Julia cheaply, the configuration, and what is said where there is none. Driven by a script named julia."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import pyseminorm
from pyseminorm import BackendUnavailableError, InvalidInputError
from pyseminorm.engines import select
from pyseminorm.engines.julia.session import config, detect
from pyseminorm.engines.julia.session import install as julia_setup

Y0, T = torch.ones(2), [0.0, 1.0]


@pytest.fixture
def nothing_configured(tmp_path, monkeypatch):
    """A process in which no Julia is loaded, configured or resolved."""
    for name in (config.EXE_VARIABLE, config.PROJECT_VARIABLE, "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(config.FILE_VARIABLE, str(tmp_path / "config.json"))
    monkeypatch.delitem(sys.modules, "juliacall", raising=False)
    monkeypatch.setattr(detect, "_juliapkg_record", lambda: (None, ""))
    select._log_once.cache_clear()
    return tmp_path


@pytest.fixture
def fake_julia(nothing_configured):
    """A shell script that calls itself Julia, and a project folder."""
    exe = nothing_configured / "julia"
    exe.write_text("#!/bin/sh\necho julia version 1.11.5\n")
    exe.chmod(0o755)
    project = nothing_configured / "project"
    project.mkdir()
    (project / "Project.toml").write_text("")
    return exe, project


def _answering(exe: Path, check: str, load: str) -> None:
    """Make the script answer setup's two runs."""
    exe.write_text(
        textwrap.dedent(f"""\
            #!/bin/sh
            case "$*" in
              *"import PySeminorm, PythonCall"*) {load} ;;
              *) {check} ;;
            esac
            """)
    )


def test_without_julia_auto_is_torch_and_says_why(nothing_configured, caplog):
    with caplog.at_level("INFO", logger="pyseminorm"):
        assert pyseminorm.solve(lambda t, y: -y, Y0, T).backend == "torch"
    assert 'picks "torch": no Julia is configured' in caplog.text


def test_without_julia_backend_julia_names_the_command_and_the_offline_route(nothing_configured):
    with pytest.raises(BackendUnavailableError, match=r"`pyseminorm setup`.*--julia EXE --project DIR"):
        pyseminorm.solve(lambda t, y: -y, Y0, T, backend="julia")
    for name, meant in (("Tsit5", "tsit5"), ("RK45", "dopri5")):  # Julia's name, and SciPy's
        with pytest.raises(BackendUnavailableError, match=rf"method='{name}' needs.*engine has method='{meant}'"):
            pyseminorm.solve(lambda t, y: -y, Y0, T, method=name)
    with pytest.raises(BackendUnavailableError, match="method='Vern9' needs"):
        pyseminorm.solve(lambda t, y: -y, Y0, T, method="Vern9")


def test_environment_variables_configure(fake_julia, monkeypatch):
    exe, project = fake_julia
    monkeypatch.setenv(config.EXE_VARIABLE, str(exe))
    with pytest.raises(InvalidInputError, match="set both"):
        detect.find_julia()
    monkeypatch.setenv(config.PROJECT_VARIABLE, str(project))
    found = detect.find_julia()
    assert isinstance(found, detect.Julia) and found.config == config.JuliaConfig(str(exe), str(project))


def test_juliacalls_own_variables_are_honoured(fake_julia, monkeypatch):
    exe, project = fake_julia
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", str(exe))
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(project))
    assert isinstance(detect.find_julia(), detect.Julia)


def test_the_file_configures_every_later_process(fake_julia):
    exe, project = fake_julia
    file = config.write_julia(config.JuliaConfig(str(exe), str(project)))
    assert json.loads(file.read_text())["julia"]["exe"] == str(exe)
    assert isinstance(detect.find_julia(), detect.Julia)
    code = "from pyseminorm.engines.julia.session.detect import find_julia; print(type(find_julia()).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Julia"


def test_a_configuration_that_went_stale_says_what_is_gone(fake_julia):
    exe, project = fake_julia
    config.write_julia(config.JuliaConfig(str(exe), str(project)))
    (project / "Project.toml").unlink()
    assert "has no Project.toml" in detect.find_julia().reason
    exe.unlink()
    assert "does not exist" in detect.find_julia().reason


@pytest.mark.parametrize(
    "text", ["{", '{"julia": {"exe": 3, "project": "/"}}', '{"julia": {"exe": "/", "project": null}}']
)
def test_an_unreadable_configuration_file_is_named(nothing_configured, text):
    config.config_file().write_text(text)
    with pytest.raises(InvalidInputError, match="run `pyseminorm setup`"):
        detect.find_julia()


def test_a_configuration_file_that_is_not_there_is_named(nothing_configured):
    with pytest.raises(BackendUnavailableError, match=f"there is no file {re.escape(str(config.config_file()))}"):
        pyseminorm.solve(lambda t, y: -y, Y0, T, backend="julia")


def test_what_juliapkg_resolved_is_found_and_checked(fake_julia, monkeypatch):
    exe, project = fake_julia
    record = {"executable": str(exe), "libjulia": str(exe), "pkgs": [{"name": "PySeminorm"}]}
    monkeypatch.setattr(detect, "_juliapkg_record", lambda: (record, str(project)))
    assert detect.find_julia().source.endswith("resolved by juliapkg")
    monkeypatch.setattr(detect, "_juliapkg_record", lambda: ({**record, "pkgs": []}, str(project)))
    assert "does not have PySeminorm" in detect.find_julia().reason
    monkeypatch.setattr(detect, "_juliapkg_record", lambda: ({**record, "libjulia": "/nowhere"}, str(project)))
    assert "is gone" in detect.find_julia().reason

    def broken():
        raise KeyError("meta")

    monkeypatch.setattr(detect, "_juliapkg_record", broken)
    assert "cannot be read" in detect.find_julia().reason


def test_the_wrapper_of_juliapkg_still_fits():
    """juliapkg's load_meta and STATE are semi-private: this fails when they change."""
    meta, project = detect._juliapkg_record()
    assert project and (meta is None or {"executable", "libjulia", "pkgs"} <= set(meta))


def test_setup_checks_develops_and_writes(fake_julia):
    import importlib.metadata

    exe, project = fake_julia
    ours = importlib.metadata.version("juliacall")
    _answering(exe, "true", f'echo "pyseminorm:versions julia 1.11.5 PythonCall {ours} PySeminorm 0.1.0"')
    said = []
    julia_setup.configure(exe, project, said.append)
    assert config.find_configuration()[0] == config.JuliaConfig(str(exe), str(project))
    assert any("PySeminorm 0.1.0" in line for line in said)


@pytest.mark.parametrize(
    ("check", "load", "message"),
    [
        ('echo "pyseminorm:missing OrdinaryDiffEqTsit5"; exit 3', "true", r"lacks OrdinaryDiffEqTsit5.*Pkg\.add"),
        ("true", 'echo "pyseminorm:versions julia 1.11.5 PythonCall 0.0.1"', r"pip install juliacall==0\.0\.1"),
        ("true", "echo ERROR: cannot load; exit 1", "exit code 1: ERROR: cannot load"),
    ],
)
def test_setup_names_what_is_wrong_and_writes_nothing(fake_julia, check, load, message):
    exe, project = fake_julia
    _answering(exe, check, load)
    with pytest.raises(BackendUnavailableError, match=message):
        julia_setup.configure(exe, project, lambda line: None)
    assert config.find_configuration() is None


def test_setup_refuses_paths_that_are_not_there(fake_julia):
    exe, project = fake_julia
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        julia_setup.configure(exe.parent / "nojulia", project, print)
    with pytest.raises(BackendUnavailableError, match=r"has no Project\.toml"):
        julia_setup.configure(exe, exe.parent, print)


def test_the_command_line(fake_julia):
    from typer.testing import CliRunner

    from pyseminorm.cli import app

    runner = CliRunner()
    assert pyseminorm.__version__ in runner.invoke(app, ["--version"]).output
    refused = runner.invoke(app, ["setup", "--julia", str(fake_julia[0])])
    assert refused.exit_code == 2 and "--project" in refused.output
    failed = runner.invoke(app, ["setup", "--julia", "/nowhere", "--project", str(fake_julia[1])])
    assert failed.exit_code == 1 and "does not exist" in failed.output


def test_setup_writes_the_threads(fake_julia):
    import importlib.metadata

    from typer.testing import CliRunner

    from pyseminorm.cli import app

    ours = importlib.metadata.version("juliacall")
    _answering(fake_julia[0], "true", f'echo "pyseminorm:versions julia 1.11.5 PythonCall {ours} PySeminorm 0.1.0"')
    command = ["setup", "--julia", str(fake_julia[0]), "--project", str(fake_julia[1]), "--threads"]
    refused = CliRunner().invoke(app, [*command, "none"])
    assert refused.exit_code == 1 and "--threads='none'" in refused.output and config.find_configuration() is None
    alone = CliRunner().invoke(app, ["setup", "--threads", "2"])
    assert alone.exit_code == 2 and config.THREADS_VARIABLE in alone.output
    assert CliRunner().invoke(app, [*command, "2"]).exit_code == 0
    assert config.find_configuration()[0].threads == "2"


@pytest.mark.julia
@pytest.mark.slow
def test_a_juliacall_of_the_users_own_without_pyseminorm_leaves_auto_on_torch(tmp_path):
    from found_julia import JULIA

    project = tmp_path / "project"
    project.mkdir()
    # The configured project's own packages, less PySeminorm: PythonCall is all that juliacall needs.
    manifest = (Path(JULIA.config.project) / "Manifest.toml").read_text()
    listed = (Path(JULIA.config.project) / "Project.toml").read_text().splitlines()
    (project / "Manifest.toml").write_text(manifest)
    (project / "Project.toml").write_text("\n".join(line for line in listed if "PySeminorm" not in line) + "\n")
    code = """
        import juliacall, torch, pyseminorm
        solution = pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0])
        print(solution.backend)
    """
    import os

    environment = {**os.environ, "PYTHON_JULIACALL_EXE": JULIA.config.exe, "PYTHON_JULIACALL_PROJECT": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "torch", done.stderr
