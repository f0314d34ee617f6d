"""Training steps of which only the import changes: torchdiffeq's functions, and ours in their place.

    python -m benchmarks.peers.swap [CASE ...]      # prints
    python -m benchmarks.peers.swap --record        # writes benchmarks/results/swap.json, and docs/migrating.md from it

The fields of the performance page by torchdiffeq's defaults (float32, dopri5, rtol 1e-7, atol 1e-9), and the demo's by
its own tolerances. Both packages take turns in one process with one thread; seconds are the processor's, and medians
count.
"""

from __future__ import annotations

import argparse
import datetime
import re
import statistics
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchdiffeq
from torch.nn.functional import cross_entropy

import pyseminorm.torchdiffeq
from pyseminorm.demo import command as demo
from pyseminorm.demo.data import load as load_series
from pyseminorm.demo.neural_cde import NeuralCDE

from ..speed.cases import CASES, Problem
from ..speed.machine import busy, machine, threads, versions
from ..speed.records import Record, load

ROOT = Path(__file__).parents[2]
RECORD, PAGE = ROOT / "benchmarks" / "results" / "swap.json", ROOT / "docs" / "migrating.md"
SECTION = re.compile(
    r"(?<=<!-- swap: made by `python -m benchmarks.peers.swap --record` -->\n).*?(?=<!-- /swap -->)", re.DOTALL
)
FIELDS = {case.name: case for case in CASES if case.bar}
PACKAGES = {"torchdiffeq": torchdiffeq, "pyseminorm": pyseminorm.torchdiffeq}
INTERFACES = ("odeint_adjoint", "odeint")
REPEATS = 7

Step = Callable[[Any, str], None]  # of a package, by its function of this name


def step_of(name: str) -> tuple[str, Step]:
    """Return the title of a case, and its training step."""
    return _step_of_demo() if name == "demo" else _step_of_field(name)


def _step_of_field(name: str) -> tuple[str, Step]:
    problem = Problem(FIELDS[name])

    def step(package: Any, interface: str) -> None:
        problem.field.zero_grad()
        ys = getattr(package, interface)(problem.field, problem.y0, problem.t)
        ys[-1].square().mean().backward()

    return problem.case.title, step


def _step_of_demo() -> tuple[str, Step]:
    train, _, classes = load_series("basic-motions")
    torch.manual_seed(0)
    model = NeuralCDE(train.series.shape[1], classes, hidden=demo.HIDDEN, width=demo.WIDTH)
    settings: dict[str, Any] = {"method": demo.METHOD, "rtol": demo.RTOL, "atol": demo.ATOL}

    def step(package: Any, interface: str) -> None:
        def solver(field: Any, y0: Any, times: Any, params: Any) -> Any:
            own = {"adjoint_params": tuple(params)} if interface == "odeint_adjoint" else {}
            return getattr(package, interface)(field, y0, torch.as_tensor(times), **settings, **own)

        model.zero_grad()
        cross_entropy(model(train.series, solver), train.labels).backward()  # type: ignore[no-untyped-call]

    return f"the demo's Neural CDE, rtol {demo.RTOL:g}, atol {demo.ATOL:g}", step


def measure(name: str, repeats: int = REPEATS) -> dict[str, Any]:
    """Return seconds of steps by both packages, by each of the two functions, with what they are steps of."""
    title, step = step_of(name)
    found: dict[str, Any] = {"case": name, "title": title}
    for interface in INTERFACES:
        seconds: dict[str, list[float]] = {package: [] for package in PACKAGES}
        for _ in range(1 + repeats):
            for package, module in PACKAGES.items():
                started = time.process_time()
                step(module, interface)
                seconds[package].append(time.process_time() - started)
        found[interface] = {package: times[1:] for package, times in seconds.items()}
    return found


def line(row: dict[str, Any]) -> str:
    """Return a row of the table: both packages' times, and how many times faster ours is."""
    cells = [row["title"]]
    for interface in INTERFACES:
        theirs, ours = (statistics.median(row[interface][package]) for package in PACKAGES)
        cells += [_time(theirs), _time(ours), f"{theirs / ours:.2g}×"]
    return f"| {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1.0 else f"{1e3 * seconds:.3g} ms"


def report(record: Record) -> str:
    """Return the section of docs/migrating.md."""
    where, rows = record.machine["processor"], record.sections["swap"]
    says = f"One thread of an {where}; torch {record.versions['torch']}; medians of {record.settings['repeats']} steps."
    says = textwrap.fill("; ".join([says[:-1], *record.notes]) + ".", 120)
    head = ["| field", *(f"`{x}` | here |" for x in INTERFACES)]
    return "\n".join([says, "", " | ".join(head) + " |", "|---" + "|---:" * 6 + "|", *map(line, rows)]) + "\n"


def write(page: Path, record: Record) -> None:
    """Write the section anew."""
    text, count = SECTION.subn(report(record), page.read_text())
    assert count == 1, f"{page} has no marks for the figures"
    page.write_text(text)


def main() -> None:
    """Measure the cases that are named, or all, and print or record them."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="CASE", help=", ".join([*FIELDS, "demo"]))
    arguments.add_argument("--repeats", type=int, default=REPEATS)
    arguments.add_argument("--record", action="store_true")
    given = arguments.parse_args()
    record = Record(machine(), versions(), {"repeats": given.repeats}, made=f"{datetime.date.today():%Y-%m-%d}")
    record.notes += filter(None, [busy()])
    print(record.machine, *record.notes, sep="\n")
    with threads(1):
        for name in given.names or [*FIELDS, "demo"]:
            record.sections.setdefault("swap", []).append(measure(name, given.repeats))
            print(line(record.sections["swap"][-1]), flush=True)
    if given.record:
        record.save(RECORD)
        write(PAGE, load(RECORD))


if __name__ == "__main__":
    main()
