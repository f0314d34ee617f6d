"""The `pyseminorm` command."""

from __future__ import annotations

import contextlib
import importlib.util
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from .errors import PySeminormError
from .version import __version__

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Neural differential equations in PyTorch with seminorm adjoints."
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Neural differential equations in PyTorch with seminorm adjoints."""
    if version:
        typer.echo(__version__)
        raise typer.Exit()


@app.command()
def setup(
    julia: Annotated[
        Path | None, typer.Option(help="A Julia executable of your own (offline, cluster). Needs --project.")
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="The folder of a Julia project that has PythonCall and the solver packages.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help='How many threads that Julia starts with, or "auto".', show_default="1")
    ] = None,
) -> None:
    """Set up the Julia engine.

    Without options Julia and its packages are downloaded and installed (by juliapkg, into this Python environment).
    With --julia and --project nothing is downloaded: the project is checked, PySeminorm is developed into it, and both
    paths are written to the configuration file, where every later process finds them.
    """
    from .engines.julia.session import install as julia_setup

    with _errors_of("setup"):
        if julia is None and project is None:
            if threads is not None:
                raise typer.BadParameter("--threads needs --julia and --project; else set PYSEMINORM_JULIA_THREADS.")
            julia_setup.install(typer.echo)
        elif julia is None or project is None:
            raise typer.BadParameter("give both --julia and --project, or neither.")
        else:
            julia_setup.configure(julia, project, typer.echo, threads)


@app.command()
def demo(
    backend: Annotated[Literal["torch", "julia", "auto"], typer.Option(help="The engine.")] = "torch",
    dataset: Annotated[
        Literal["basic-motions", "japanese-vowels"], typer.Option(help="Real series, shipped inside aeon.")
    ] = "japanese-vowels",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set, for each norm.")] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the weights, the same for both norms.")] = 0,
    plot: Annotated[Path, typer.Option(help="Where the plot goes.")] = Path("pyseminorm-demo.png"),
) -> None:
    """Train a Neural CDE on real data twice, with torchdiffeq's norm and with the seminorm, and compare."""
    missing = [name for name in ("aeon", "matplotlib", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        _stop(f"this command needs {', '.join(missing)}: pip install 'pyseminorm[demo]'")
    from .demo.command import run

    try:
        with _errors_of("demo"):
            run(dataset=dataset, backend=backend, epochs=epochs, seed=seed, plot=plot)
    except KeyboardInterrupt:
        _stop("interrupted", 130)


@app.command()
def crosscheck(
    problem: Annotated[
        str, typer.Argument(help="script.py:make_problem; it returns (func, y0, t) or a dict of arguments.")
    ],
    tolerance: Annotated[
        float | None, typer.Option(help="Largest relative error of a gradient that passes.", show_default="100 x rtol")
    ] = None,
    method: Annotated[str | None, typer.Option(help="tsit5 (default), dopri5, bosh3, vern7 ...")] = None,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance.", show_default="1e-3")] = None,
    atol: Annotated[float | None, typer.Option(help="Absolute tolerance.", show_default="1e-6")] = None,
    backend: Annotated[
        Literal["auto", "torch", "julia"] | None,
        typer.Option(help="torch: only the embedded engine; auto: all there are.", show_default="auto"),
    ] = None,
) -> None:
    """Differentiate a problem by every engine and adjoint, SciMLSensitivity's too, and compare their gradients.

    Exits with status 1 when an error is beyond the tolerance.
    """
    from .crosschecking import crosscheck as check

    arguments = _make_problem(problem)
    given = {"method": method, "rtol": rtol, "atol": atol, "backend": backend}
    arguments.update({name: value for name, value in given.items() if value is not None})
    with _errors_of("crosscheck"):
        found = check(**arguments)
    typer.echo(str(found))
    limit = 100 * float(arguments.get("rtol", 1e-3)) if tolerance is None else tolerance
    verdict = "within" if found.worst <= limit else "BEYOND"
    typer.echo(f"The largest relative error, {found.worst:.1e}, is {verdict} the tolerance {limit:g}.")
    if found.worst > limit:
        raise typer.Exit(1)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def profile(
    script: Annotated[Path, typer.Argument(help="A Python script.", exists=True, dir_okay=False)],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of the script.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where a file for https://www.speedscope.app goes.")] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two samples.")] = 0.01,
) -> None:
    """Run a Python script on the Julia engine and say where its time went: solver, callbacks into Python, torch ...

    Options of this command come before the script; what comes after it is the script's.
    """
    from .profiling import profile as profiled

    sys.argv = [str(script), *(arguments or [])]
    sys.path.insert(0, str(script.resolve().parent))
    found = None
    try:
        with profiled(interval=interval) as found:
            runpy.run_path(str(script), run_name="__main__")
    except PySeminormError as error:
        if found is not None:
            raise
        _stop(f"pyseminorm profile: {error}")
    finally:
        if found is not None:
            typer.echo(str(found))
            if output is not None:
                typer.echo(f"Written to {found.save(output)}; it opens at https://www.speedscope.app.")


@contextlib.contextmanager
def _errors_of(command: str) -> Iterator[None]:
    """Let an error of ours be a line of text."""
    try:
        yield
    except PySeminormError as error:
        _stop(f"pyseminorm {command}: {error}")


def _stop(message: str, code: int = 1) -> NoReturn:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(code) from None


def _make_problem(problem: str) -> dict[str, Any]:
    """Return the arguments of `crosscheck` that script.py:function makes."""
    path, _, name = problem.rpartition(":")
    script = Path(path)
    if not name.isidentifier() or not script.is_file():
        raise typer.BadParameter(f"{problem!r}: expected script.py:make_problem, with a script that exists.")
    sys.path.insert(0, str(script.resolve().parent))
    make = runpy.run_path(str(script), run_name=script.stem).get(name)
    if not callable(make):
        raise typer.BadParameter(f"{script} has no function {name}.")
    made = make()
    if isinstance(made, tuple) and len(made) == 3:
        return dict(zip(("func", "y0", "t"), made, strict=True))
    if isinstance(made, dict) and {"func", "y0", "t"} <= made.keys():
        return dict(made)
    raise typer.BadParameter(f"{name}() must return (func, y0, t), or a dict with these and other arguments.")
