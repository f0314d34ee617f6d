"""The one file that touches juliacall: starts Julia, once and lazily, and guards where it may be called from."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Any, Literal

from ....errors import BackendUnavailableError, InvalidInputError, WrongThreadError, first_line
from . import detect
from .c_functions import CFunctions
from .config import check_threads, environment_threads
from .layouts import check_layouts
from .startup import StartOptions, leave_signals_to_python


class _Remembering:
    """A Julia module whose members are looked up once."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        setattr(self, name, value)
        return value


class Runtime:
    """A running Julia with its module PySeminorm loaded, the ``versions`` of all, and the ``options`` of its start."""

    def __init__(self, module: Any, versions: dict[str, str], options: StartOptions) -> None:
        self.module, self.versions, self.options = _Remembering(module), versions, options
        check_layouts(module)
        self.c_functions = CFunctions(module)
        self._process, self._thread = os.getpid(), threading.get_ident()

    def load(self, package: str) -> bool:
        """Load a package of the Julia project, and what PySeminorm has for it; False where the project lacks it."""
        self.check_caller()
        main = sys.modules["juliacall"].Main
        if main.seval(f'Base.find_package("{package}") === nothing'):
            return False
        try:
            main.seval(f"import {package}")
        except Exception as error:  # whatever its compilation or its own start raised
            raise BackendUnavailableError(f"{package} could not be loaded: {first_line(error)}.") from error
        self.versions[package] = str(main.seval(f"string(pkgversion({package}))"))
        return True

    def command_to_add(self, package: str) -> str:
        """Return the command that adds a package to the Julia project."""
        main = sys.modules["juliacall"].Main
        exe = main.seval("joinpath(Sys.BINDIR, Base.julia_exename())")
        project = main.seval("dirname(Base.active_project())")
        return f"`{exe} --project={project} -e 'using Pkg; Pkg.add(\"{package}\")'`"

    def check_caller(self) -> None:
        """Refuse calls from another thread or process than the one that started Julia, with the cure."""
        if os.getpid() != self._process:
            raise WrongThreadError(
                "Julia was started in the parent of this forked process and cannot be used here: start workers with "
                'the "spawn" method (multiprocessing.set_start_method("spawn")), or use backend="torch" in them.'
            )
        if threading.get_ident() != self._thread:
            raise WrongThreadError(
                "Julia was started on another thread and can be called only from there. For a backward pass that "
                "torch runs on a thread of its own: torch.autograd.set_multithreading_enabled(False). For threads of "
                'your own: make the first solve on the thread that will make all, or use backend="torch".'
            )


_runtime: Runtime | None = None


_ANY = StartOptions()


def runtime(options: StartOptions = _ANY) -> Runtime:
    """Return the running Julia; the first call starts it with ``options``, which later calls compare.

    Raises:
        BackendUnavailableError: Julia cannot be started, or its project lacks something that the message names.
        WrongThreadError: called from another thread or process than the first time.
        InvalidInputError: Julia runs with other options.
    """
    global _runtime
    if _runtime is None:
        _runtime = _start(options)
        detect.started = detect.here()
    _runtime.check_caller()
    if options is not _ANY:
        options.check(_runtime.options)
    return _runtime


def start_julia(threads: int | Literal["auto"] | None = None, handle_signals: bool | None = None) -> dict[str, str]:
    """Start Julia now, instead of at the first solve on the engine "julia"; again, it only checks.

    The calling thread is the one that Julia can be called from. Where juliacall and torch do not go together (macOS,
    old Linux distributions) this does not help: there import juliacall before torch.

    Args:
        threads: how many threads Julia has, a positive whole number or "auto". A solve runs on one of them; the others
            are for Julia code of your own. None: what ``PYSEMINORM_JULIA_THREADS`` or `pyseminorm setup --threads`
            says, else juliacall's own (``PYTHON_JULIACALL_THREADS``, ``JULIA_NUM_THREADS``, one).
        handle_signals: whether Julia handles signals, which several threads and `profile` need; None: with several
            threads. Ctrl-C raises KeyboardInterrupt either way.

    Returns:
        The versions of Julia, juliacall, PythonCall and the solver packages, by name.

    Raises:
        InvalidInputError: a wrong argument, or Julia runs with other options than asked for.
        BackendUnavailableError: Julia cannot be started; the message says why and what to do.
        WrongThreadError: Julia was started on another thread.

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.start_julia(threads=2)["julia"]  # doctest: +SKIP
        '1.10.8'
        >>> pyseminorm.start_julia(threads=0)
        Traceback (most recent call last):
        pyseminorm.errors.InvalidInputError: threads=0: expected a positive whole number or "auto".
    """
    text = None if threads is None else check_threads(threads, "threads")
    if handle_signals not in (None, True, False):
        raise InvalidInputError(f"handle_signals={handle_signals!r}: expected True, False or None.")
    return dict(runtime(StartOptions(text, handle_signals)).versions)


def _start(options: StartOptions) -> Runtime:
    found = detect.find_julia()
    if isinstance(found, detect.NoJulia):
        raise BackendUnavailableError(f"Julia cannot be started: {found.reason}. {detect.HOW_TO_SET_UP}")
    if found.config is not None:
        # EXE + PROJECT make juliacall skip juliapkg: no network, no lock file.
        os.environ["PYTHON_JULIACALL_EXE"] = found.config.exe
        os.environ["PYTHON_JULIACALL_PROJECT"] = found.config.project
    configured = environment_threads() or (found.config.threads if found.config else None)
    StartOptions(options.threads or configured, options.handle_signals).to_environment()
    try:
        with warnings.catch_warnings(), leave_signals_to_python():
            # PyTorch is always imported first here; juliacall warns of crashes seen on macOS with old versions.
            warnings.filterwarnings("ignore", message="torch was imported before juliacall")
            import juliacall
    except Exception as error:
        sys.modules.pop("juliacall", None)
        raise BackendUnavailableError(
            f"Julia did not start ({found.source}): {type(error).__name__}: {error}. Julia's own message is above: "
            f"where it cannot write a folder, let JULIA_DEPOT_PATH name another. Else: {detect.HOW_TO_SET_UP}"
        ) from error
    main = juliacall.Main
    bridge = str(main.seval(_PYTHONCALL_VERSION))
    detect.check_bridge(juliacall.__version__, bridge)
    try:
        main.seval("import PySeminorm")
    except juliacall.JuliaError as error:
        raise BackendUnavailableError(
            f"Julia started ({found.source}) but could not load PySeminorm: {first_line(error)}. {detect.HOW_TO_SET_UP}"
        ) from error
    module = main.PySeminorm
    versions = {"julia": str(main.VERSION), "juliacall": juliacall.__version__, "PythonCall": bridge}
    versions |= {str(k): str(v) for k, v in module.solver_versions()}
    main.seval("Base.exit_on_sigint(false)")  # where Julia handles interrupts, one is an exception, not the end
    threads, handle_signals = main.seval(_OPTIONS)
    return Runtime(module, versions, StartOptions(str(threads), bool(handle_signals)))


# 0 threads: not said, which is one; -1: auto.
_OPTIONS = """
let options = Base.JLOptions(), n = Int(options.nthreads)
    (n == -1 ? "auto" : string(max(n, 1)), options.handle_signals == 1)
end
"""

_PYTHONCALL_VERSION = "string(pkgversion(only(m for m in values(Base.loaded_modules) if nameof(m) === :PythonCall)))"
