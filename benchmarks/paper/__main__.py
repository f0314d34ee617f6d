"""The command `python -m benchmarks.paper`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.requirements import require
from pyseminorm import PySeminormError

app = typer.Typer(add_completion=False)


@app.command()
def train(
    task: Annotated[
        str | None,
        typer.Argument(
            help="A task, a family of them (time-series, generative, control) or ablations.", show_default="all"
        ),
    ] = None,
    backend: Annotated[
        Literal["torch", "julia", "auto"], typer.Option(help="The engine of our own contenders.")
    ] = "torch",
    quick: Annotated[
        bool, typer.Option("--quick", help="Every task in a few minutes: one tolerance, one seed, two batches.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of every training.", show_default="3")] = None,
    contender: Annotated[
        list[str] | None, typer.Option(help="A contender by its name, instead of all; can be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the records.", show_default="results-paper, or results-quick"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Run nothing: write the page of results to this Markdown file, plots beside it."),
    ] = None,
) -> None:
    """Train the paper's families of tasks with every norm and adjoint, in our engine and in torchdiffeq's package.

    Every training is recorded as one JSON file; what is recorded is not run again, so that an interrupted run goes on.
    """
    require("aeon", "matplotlib", "rich", "sklearn", "torchdiffeq")
    from . import command, page, pairs

    folder = out or Path("results-quick" if quick else "results-paper")
    try:
        if report is not None:
            page.write_page(folder, report)
            typer.echo(f"Written to {report}.")
            return
        number = seeds or (1 if quick else pairs.SEEDS)
        failures = command.run(
            task=task,
            backend=backend,
            quick=quick,
            seeds=number,
            out=folder,
            contenders=contender or (),
        )
    except (PySeminormError, ValueError) as error:
        typer.secho(f"benchmarks.paper: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.secho(
            f"interrupted: what is finished is recorded in {folder}; the same command goes on from there.",
            fg="yellow",
            err=True,
        )
        raise typer.Exit(130) from None
    for failure in failures:
        typer.secho(f"not trained to the end: {failure}", fg="yellow", err=True)


if __name__ == "__main__":
    app()
