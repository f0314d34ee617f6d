"""What a command of the laboratory needs."""

from __future__ import annotations

import importlib.util

import typer

INSTALL = "pip install -c constraints.txt -e '.[benchmarks]'"


def require(*packages: str) -> None:
    """Stop with the command that installs what is missing of the extra "benchmarks"."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        typer.secho(f"this command needs {', '.join(missing)}: {INSTALL}", fg="red", err=True)
        raise typer.Exit(1)
