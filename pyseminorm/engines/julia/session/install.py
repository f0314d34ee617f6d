"""`pyseminorm setup`: make a Julia ready, check it in a process of its own, and write down where it is."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....errors import BackendUnavailableError
from .config import JuliaConfig, check_threads, write_julia
from .detect import HOW_TO_SET_UP, NoJulia, check_bridge, check_config

Say = Callable[[str], object]

_PACKAGE_JSON = Path(__file__).parents[3] / "juliapkg.json"

# Printed lines that start with a mark are ours; everything else is Julia's own output and shown as it comes.
_MARK = "pyseminorm:"

_CHECK = f"""
import Pkg
needed, folder = split(ARGS[1], ','), ARGS[2]
missing_packages = [name for name in needed if Base.find_package(String(name)) === nothing]
if !isempty(missing_packages)
    println("{_MARK}missing ", join(missing_packages, ", "))
    exit(3)
end
Pkg.offline(true)
Pkg.develop(Pkg.PackageSpec(path = folder); io = devnull)
Pkg.resolve(; io = devnull) # a newer PySeminorm may have other dependencies than the one that the Manifest knows
"""

_LOAD = f"""
import PySeminorm, PythonCall
println("{_MARK}versions julia ", VERSION, " PythonCall ", pkgversion(PythonCall), " ",
    join([name * " " * version for (name, version) in PySeminorm.solver_versions()], " "))
"""


def _packages() -> dict[str, Any]:
    """Return the packages that the Julia project needs."""
    described: dict[str, Any] = json.loads(_PACKAGE_JSON.read_text())["packages"]
    return described


def julia_package() -> Path:
    """Return the folder of the Julia package PySeminorm, inside an installed wheel or beside this one in a checkout."""
    return Path(_PACKAGE_JSON.parent, _packages()["PySeminorm"]["path"]).resolve()


def configure(exe: Path, project: Path, say: Say, threads: str | None = None) -> None:
    """Check a Julia and a project of the user's own, develop PySeminorm into it, and write the configuration."""
    threads = None if threads is None else check_threads(threads, "--threads")
    # Without following links of the executable: juliaup's `julia` is one whose name matters.
    exe, project = Path(os.path.abspath(exe)), project.resolve()  # noqa: PTH100
    config = JuliaConfig(str(exe), str(project), threads)
    found = check_config(config, f"--julia {exe} --project {project}")
    if isinstance(found, NoJulia):
        raise BackendUnavailableError(f"{found.reason}.")
    _check(config, say)
    say(f"Written to {write_julia(config)}; every later process finds it.")


def install(say: Say) -> None:
    """Download and install Julia and its packages with juliapkg, into this Python environment."""
    import juliapkg

    say("Installing Julia and its packages; the first time this takes some minutes.")
    try:
        juliapkg.resolve()
        found = JuliaConfig(juliapkg.executable(), juliapkg.project())
    except Exception as error:  # juliapkg raises whatever its download raised
        raise BackendUnavailableError(
            f"Julia could not be installed: {type(error).__name__}: {error}. {HOW_TO_SET_UP}"
        ) from error
    _check(found, say)
    say("Julia is ready: juliapkg keeps it for this Python environment.")


def _check(config: JuliaConfig, say: Say) -> None:
    """Load everything in a Julia of its own; compiling PySeminorm happens here, not in the first solve."""
    say(f"Checking {config.exe} with the project {config.project} ...")
    needed = ",".join(["PythonCall", *(name for name in _packages() if name != "PySeminorm")])
    missing = _run(config, _CHECK, say, needed, str(julia_package())).get("missing")
    if missing:
        raise BackendUnavailableError(
            f"the project {config.project} lacks {missing}: add them with `julia --project={config.project} -e "
            f"'using Pkg; Pkg.add({json.dumps(missing.split(', '))})'`, then run this again."
        )
    say("Loading PySeminorm; the first time it is compiled, which takes a minute or two.")
    versions = _run(config, _LOAD, say).get("versions", "").split()
    named = dict(zip(versions[::2], versions[1::2], strict=True))
    check_bridge(importlib.metadata.version("juliacall"), named.get("PythonCall"))
    say("Loaded: " + ", ".join(f"{k} {v}" for k, v in named.items()))


def _run(config: JuliaConfig, code: str, say: Say, *arguments: str) -> dict[str, str]:
    """Run Julia code; gives the marked lines, shows the others, and raises with them where Julia failed."""
    command = [config.exe, "--startup-file=no", f"--project={config.project}", "-e", code, *arguments]
    marked, shown = {}, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_MARK):
                key, _, value = line[len(_MARK) :].strip().partition(" ")
                marked[key] = value
            elif line.strip():
                shown.append(line.rstrip())
                say("  " + line.rstrip())
    if process.returncode not in (0, 3):
        raise BackendUnavailableError(
            f"{config.exe} failed with exit code {process.returncode}: {shown[0] if shown else 'no output'}"
        )
    return marked
