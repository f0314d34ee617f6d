"""The installed package: what importing it costs, and where its Julia package lies in a wheel and in a checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UUID = re.search(r'^uuid = "(.+)"', (ROOT / "julia" / "Project.toml").read_text(), re.M).group(1)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the checkout, without network."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".*_cache", "__pycache__", "dist", ".venv")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel in a virtual environment of its own, which sees this one's dependencies behind it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, site


def _resolved(json_file: Path) -> Path:
    described = json.loads(json_file.read_text())["packages"]["PySeminorm"]
    assert described["uuid"] == UUID and described["dev"] is True
    return (json_file.parent / described["path"]).resolve()


def test_the_checkouts_juliapkg_points_to_the_julia_package():
    import pyseminorm

    folder = _resolved(Path(pyseminorm.__file__).with_name("juliapkg.json"))
    assert folder == ROOT / "julia" and UUID in (folder / "Project.toml").read_text()


def test_an_installed_wheel_carries_the_julia_package(installed):
    python, site = installed
    folder = _resolved(site / "pyseminorm" / "juliapkg.json")
    assert folder == (site / "pyseminorm" / "julia").resolve()
    assert UUID in (folder / "Project.toml").read_text()
    inside = {p.relative_to(folder) for p in folder.rglob("*.jl")}
    assert inside == {p.relative_to(ROOT / "julia") for p in (ROOT / "julia").rglob("*.jl")}
    code = (
        "import pyseminorm; print(pyseminorm.__file__); "
        "from pyseminorm.engines.julia.session import install; print(install.julia_package())"
    )
    out = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=site).stdout.split()
    assert Path(out[0]).parent == site / "pyseminorm" and Path(out[1]) == folder


def test_the_wheel_holds_only_the_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert all(n.startswith(("pyseminorm/", "pyseminorm-")) for n in names)
    assert sum(n == "pyseminorm/juliapkg.json" for n in names) == 1
    assert "pyseminorm/py.typed" in names and not any("test_" in n for n in names)


@pytest.mark.julia
@pytest.mark.slow
def test_julia_loads_pyseminorm_from_the_installed_wheel(installed, tmp_path):
    from found_julia import JULIA

    _, site = installed
    project = tmp_path / "project"
    shutil.copytree(JULIA.config.project, project)
    code = f"""
        using Pkg
        Pkg.offline(true)
        Pkg.develop(Pkg.PackageSpec(path = raw"{site / "pyseminorm" / "julia"}"); io = devnull)
        using PySeminorm
        print(pathof(PySeminorm))
    """
    command = [JULIA.config.exe, "--startup-file=no", f"--project={project}", "-e", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == site / "pyseminorm" / "julia" / "src" / "PySeminorm.jl"


def test_one_version_is_written_everywhere():
    import pyseminorm

    version = pyseminorm.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_import_starts_nothing_and_imports_no_juliacall():
    code = """
        import sys, threading
        import pyseminorm
        heavy = [m for m in ("juliacall", "juliapkg", "matplotlib", "aeon", "rich", "typer") if m in sys.modules]
        print(heavy, threading.active_count())
    """
    done = subprocess.run([sys.executable, "-c", _dedent(code)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] 1"


def test_import_adds_little_to_torch():
    """Counted in modules, which is the same on every machine; the time is in benchmarks/studies/latency.py."""
    code = """
        import sys, torch, torch.utils._pytree
        before = set(sys.modules)
        import pyseminorm
        new = sorted(m for m in set(sys.modules) - before if not m.startswith("pyseminorm"))
        print(len(new), new)
    """
    done = subprocess.run([sys.executable, "-c", _dedent(code)], check=True, capture_output=True, text=True)
    count, _, names = done.stdout.partition(" ")
    assert int(count) < 15, names


def test_import_leaves_what_only_some_solves_need():
    code = """
        import sys, pyseminorm
        late = ("graphs", "engines.torch.", "engines.julia", "engines.forms", "crosschecking", "julia_function")
        print([m for m in sys.modules if m.startswith(tuple(f"pyseminorm.{name}" for name in late))])
    """
    done = subprocess.run([sys.executable, "-c", _dedent(code)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["JuliaFunction", "crosscheck", "profile", "start_julia"])
def test_what_is_imported_late_is_there_by_name(name):
    import pyseminorm

    assert name in dir(pyseminorm) and name in pyseminorm.__all__ and callable(getattr(pyseminorm, name))
    with pytest.raises(AttributeError, match="nonsense"):
        pyseminorm.nonsense  # noqa: B018


def test_the_julia_project_and_juliapkg_agree():
    needed = json.loads((ROOT / "pyseminorm" / "juliapkg.json").read_text())["packages"]
    project = (ROOT / "julia" / "Project.toml").read_text()
    for name, described in needed.items():
        assert described["uuid"] in project, name
        if name != "PySeminorm":
            assert re.search(rf'^{name} = "{described["version"]}"$', project, re.M), name


def _dedent(code):
    import textwrap

    return textwrap.dedent(code)
