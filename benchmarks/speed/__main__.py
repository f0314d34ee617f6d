"""The command `python -m benchmarks.speed`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.requirements import require
from pyseminorm import PySeminormError

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Two cases and few contenders, in about a minute.")] = False,
    case: Annotated[list[str] | None, typer.Option(help="A case by its name; can be repeated.")] = None,
    contender: Annotated[
        list[str] | None, typer.Option(help="Contenders by a pattern such as '*julia*'; can be repeated.")
    ] = None,
    section: Annotated[
        list[str] | None, typer.Option(help="cases, first, overhead, outputs or memory; can be repeated.")
    ] = None,
    threads: Annotated[Literal["one", "all"], typer.Option(help="One core for everything, or all there are.")] = "one",
    repeats: Annotated[int | None, typer.Option(min=1, help="Timed turns.", show_default="7, quick 3")] = None,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds that one step may take.")] = 30.0,
    budget: Annotated[
        float, typer.Option(min=1, help="Seconds that the first steps of all in a case may take.", show_default="any")
    ] = math.inf,
    curves: Annotated[
        bool, typer.Option(help="Time further tolerances for work-precision curves, which is most of a run.")
    ] = True,
    device: Annotated[str, typer.Option(help="Where states and parameters are: cpu or cuda.")] = "cpu",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results-speed"),
) -> None:
    """Measure training steps of every engine, mode and installed peer at equal gradient error; print and save tables.

    Results are saved after each case, and by Ctrl-C.
    """
    if context.invoked_subcommand is not None:
        return
    require("rich", "matplotlib")
    from .command import Options, run

    options = Options(
        out=out,
        cases=case or (),
        contenders=contender or (),
        sections=section or (),
        quick=quick,
        all_cores=threads == "all",
        repeats=repeats,
        limit=limit,
        curves=curves,
        device=device,
        budget=budget,
    )
    try:
        run(options)
    except PySeminormError as error:
        typer.secho(f"benchmarks.speed: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.secho("interrupted", fg="yellow", err=True)
        raise typer.Exit(130) from None


@app.command("report")
def write_report(
    folder: Annotated[Path, typer.Argument(help="Where `python -m benchmarks.speed` saved its results.", exists=True)],
    to: Annotated[Path, typer.Option(help="The Markdown file; plots go into a folder beside it.")] = Path(
        "docs/performance.md"
    ),
) -> None:
    """Make a report with plots from saved results."""
    require("rich", "matplotlib")
    from .report import write

    try:
        typer.echo(f"Written: {write(folder, to)}")
    except PySeminormError as error:
        typer.secho(f"benchmarks.speed report: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
