"""Finding a Julia that is ready to use, cheaply: no import of juliacall, no lock file, never a download."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import BackendUnavailableError
from .config import JuliaConfig, config_file, find_configuration

HOW_TO_SET_UP = (
    "Run `pyseminorm setup` (online: it installs Julia and the packages), or, offline or on a cluster, "
    "`pyseminorm setup --julia EXE --project DIR` with a Julia and a project of your own."
)


@dataclass(frozen=True)
class Julia:
    """A Julia that can be started without a download. ``config`` is None where juliapkg resolved it."""

    source: str
    config: JuliaConfig | None


@dataclass(frozen=True)
class NoJulia:
    """Why there is none."""

    reason: str


def find_julia() -> Julia | NoJulia:
    """Return the Julia that the engine would start: one that runs, is configured, or that juliapkg has resolved."""
    if "juliacall" in sys.modules:
        main: Any = sys.modules["juliacall"].Main
        if not started and main.seval('Base.find_package("PySeminorm") === nothing'):
            return NoJulia("juliacall is loaded already, with a Julia project that does not have PySeminorm")
        return Julia("juliacall is loaded already", None)  # by us, or by the user's own import
    configured = find_configuration()
    if configured is not None:
        config, where = configured
        return check_config(config, f"Julia {config.exe} from {where}")
    exe, project = os.environ.get("PYTHON_JULIACALL_EXE"), os.environ.get("PYTHON_JULIACALL_PROJECT")
    if exe and project:
        return check_config(JuliaConfig(exe, project), f"Julia {exe} from PYTHON_JULIACALL_EXE and _PROJECT")
    return _find_resolved()


started: tuple[int, int] | None = None  # where a Julia with PySeminorm, which need not be asked, was started


def here() -> tuple[int, int]:
    """Return this process and thread."""
    return os.getpid(), threading.get_ident()


def runs_elsewhere() -> str | None:
    """Return why the Julia that runs cannot be called from here, or None."""
    return None if started in (None, here()) else "Julia was started on another thread, or before a fork"


def check_config(config: JuliaConfig, source: str) -> Julia | NoJulia:
    """Return a Julia whose executable and project are there."""
    if not os.access(config.exe, os.X_OK) or not Path(config.exe).is_file():
        return NoJulia(f"{source}: that executable does not exist")
    if not any((Path(config.project) / name).is_file() for name in ("Project.toml", "JuliaProject.toml")):
        return NoJulia(f"{source}: its project {config.project} has no Project.toml")
    return Julia(source, config)


def check_bridge(ours: str, theirs: str | None) -> None:
    """Refuse juliacall ``ours`` and PythonCall ``theirs`` of two versions, with the commands that make them one."""
    if ours != theirs:
        raise BackendUnavailableError(
            f"juliacall {ours} (Python) and PythonCall {theirs} (Julia) must have the same version: "
            f"`pip install juliacall=={theirs}`, or add PythonCall {ours} to the project."
        )


def _find_resolved() -> Julia | NoJulia:
    """Return what an earlier `pyseminorm setup` resolved, to be started as a plain EXE + PROJECT: never a download."""
    if importlib.util.find_spec("juliapkg") is None:
        return NoJulia("juliacall is not installed")
    try:
        meta, project = _juliapkg_record()
    except Exception as error:  # semi-private: a change there must not take the embedded engine away
        return NoJulia(f"juliapkg's record of installed Julias cannot be read ({error})")
    if meta is None:
        return NoJulia(f"no Julia is configured (there is no file {config_file()}) or resolved")
    exe, lib = meta["executable"], meta["libjulia"]
    if not Path(exe).is_file() or not Path(lib).exists():
        return NoJulia(f"the Julia that juliapkg resolved ({exe}) is gone")
    if "PySeminorm" not in {package["name"] for package in meta["pkgs"]}:
        return NoJulia("the Julia project that juliapkg resolved does not have PySeminorm yet")
    return check_config(JuliaConfig(exe, project), f"Julia {exe}, resolved by juliapkg")


def _juliapkg_record() -> tuple[dict[str, Any] | None, str]:
    """Return Juliapkg's metadata (None: never resolved) and its project folder. Takes no lock."""
    import juliapkg.deps
    import juliapkg.state

    return juliapkg.deps.load_meta(), str(juliapkg.state.STATE["project"])
