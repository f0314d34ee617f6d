"""Where Julia is: environment variables first, then the file that `pyseminorm setup` writes."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from ....errors import InvalidInputError

EXE_VARIABLE, PROJECT_VARIABLE = "PYSEMINORM_JULIA_EXE", "PYSEMINORM_JULIA_PROJECT"
THREADS_VARIABLE = "PYSEMINORM_JULIA_THREADS"
FILE_VARIABLE = "PYSEMINORM_CONFIG"


@dataclass(frozen=True)
class JuliaConfig:
    """A Julia executable and the project (folder with Project.toml) that has PySeminorm and the solver packages.

    ``threads``: how many it starts with, a whole number or "auto"; None leaves that to Julia.
    """

    exe: str
    project: str
    threads: str | None = None


def config_file() -> Path:
    """Return the configuration file: $PYSEMINORM_CONFIG, or config.json in the user's configuration folder."""
    given = os.environ.get(FILE_VARIABLE)
    return Path(given) if given else _user_file(*map(os.environ.get, _FOLDER_VARIABLES))


_FOLDER_VARIABLES = "HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA"


@functools.cache
def _user_file(*folders: str | None) -> Path:
    """Return the file in the user's configuration folder, which these variables say: every solve asks for it."""
    return platformdirs.user_config_path("pyseminorm") / "config.json"


def find_configuration() -> tuple[JuliaConfig, str] | None:
    """Return the configured Julia and where that is said, or None; refuse half a configuration, or a bad file."""
    exe, project = os.environ.get(EXE_VARIABLE), os.environ.get(PROJECT_VARIABLE)
    if exe and project:
        return JuliaConfig(exe, project), f"{EXE_VARIABLE} and {PROJECT_VARIABLE}"
    if exe or project:
        raise InvalidInputError(f"set both {EXE_VARIABLE} and {PROJECT_VARIABLE}, or neither.")
    file = config_file()
    if not file.is_file():
        return None
    try:
        julia = json.loads(file.read_text())["julia"]
        threads = julia.get("threads")
        if threads is not None:
            threads = check_threads(threads, "threads")
        exe, project = julia["exe"], julia["project"]
        if not (isinstance(exe, str) and isinstance(project, str)):
            raise TypeError(f"exe={exe!r} and project={project!r} are not paths")
        return JuliaConfig(exe, project, threads), str(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{file} cannot be read ({error}): run `pyseminorm setup` to write it anew.") from None


def environment_threads() -> str | None:
    """Return the number of Julia's threads that the environment asks for, or None."""
    given = os.environ.get(THREADS_VARIABLE)
    return check_threads(given, THREADS_VARIABLE) if given else None


def check_threads(threads: int | str, name: str) -> str:
    """Return a number of threads as text; ``name`` is what the error calls it."""
    text = str(threads)
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise InvalidInputError(f'{name}={threads!r}: expected a positive whole number or "auto".')
    return text


def write_julia(config: JuliaConfig) -> Path:
    """Write the configuration file; every later process finds it."""
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    julia = {name: value for name, value in asdict(config).items() if value is not None}
    file.write_text(json.dumps({"julia": julia}, indent=2) + "\n")
    return file
