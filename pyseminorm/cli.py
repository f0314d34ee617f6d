"""The `pyseminorm` command."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import __version__
from .errors import PySeminormError

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
) -> None:
    """Set up the Julia engine.

    Without options Julia and its packages are downloaded and installed (by juliapkg, into this Python environment).
    With --julia and --project nothing is downloaded: the project is checked, PySeminorm is developed into it, and both
    paths are written to the configuration file, where every later process finds them.
    """
    from .engines.julia import setup as julia_setup

    try:
        if julia is None and project is None:
            julia_setup.install(typer.echo)
        elif julia is None or project is None:
            raise typer.BadParameter("give both --julia and --project, or neither.")
        else:
            julia_setup.configure(julia, project, typer.echo)
    except PySeminormError as error:
        typer.secho(f"pyseminorm setup: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


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
        typer.secho(f"pyseminorm demo needs {', '.join(missing)}: pip install 'pyseminorm[demo]'", fg="red", err=True)
        raise typer.Exit(1)
    from .demo.command import run

    try:
        run(dataset=dataset, backend=backend, epochs=epochs, seed=seed, plot=plot)
    except PySeminormError as error:
        typer.secho(f"pyseminorm demo: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.secho("interrupted", fg="yellow", err=True)
        raise typer.Exit(130) from None
