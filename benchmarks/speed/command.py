"""The run: contenders and cases chosen, measured one case after the other, saved as it goes."""

from __future__ import annotations

import datetime
import fnmatch
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pyseminorm import InvalidInputError

from . import first, memory, outputs, overhead, report
from .cases import CASES, GPU, QUICK, Case, Problem
from .contender import Contender
from .contenders import find_contenders
from .machine import busy, cores, machine, threads, versions
from .measure import Plan, measure
from .records import CaseRecord, Record
from .reference import HOW, Reference, disagreement, reference

SECTIONS = ("cases", "first", "overhead", "outputs", "memory")
QUICK_SECTIONS = ("cases", "overhead")
CHECKED = 10_000  # parameters up to which torchdiffeq's own reference takes seconds


@dataclass(frozen=True)
class Options:
    """The options of the command.

    Attributes:
        out: folder of the results.
        cases: names of cases; empty for all (``quick``: for its few).
        contenders: patterns of names (``*julia*``); empty for all.
        sections: of `SECTIONS`; empty for those that are not asked for by name alone (``quick``: for its few).
        quick: few cases, contenders and repeats, about a minute.
        all_cores: give every library all cores, instead of one.
        repeats: timed turns of every contender; None takes 7, or 3 when ``quick``.
        limit: seconds that one step may take.
        curves: time all rungs and peers at more tolerances, for work-precision curves; never when ``quick``.
        budget: seconds that the first steps of all contenders in a case may take, compilation included.
        device: where states and parameters are; on another than the CPU, the embedded engine and peers in PyTorch run.
    """

    out: Path
    cases: Sequence[str] = ()
    contenders: Sequence[str] = ()
    sections: Sequence[str] = ()
    quick: bool = False
    all_cores: bool = False
    repeats: int | None = None
    limit: float = 30.0
    curves: bool = True
    device: str = "cpu"
    budget: float = math.inf

    @property
    def plan(self) -> Plan:
        """What `measure` needs of it."""
        return Plan(
            self.repeats or (3 if self.quick else 7),
            self.limit,
            curves=self.curves and not self.quick,
            budget=self.budget,
        )


def run(options: Options) -> Record:
    """Measure, print and save; what was measured until an interrupt is saved and printed as well."""
    console = Console(stderr=True)
    cases = _chosen_cases(options)
    sections = _chosen_sections(options)
    number = cores() if options.all_cores else 1
    record = _begun(options, number)
    name = "all-cores" if options.all_cores else "one-thread"
    file = options.out / f"{name if options.device == 'cpu' else options.device}.json"
    with threads(number):
        contenders = _contenders(options, record) if {"cases", "first"}.intersection(sections) else []
        try:
            with _progress(console, len(cases) * ("cases" in sections) + len(sections)) as (tell, advance):
                _measured(options, cases, contenders, sections, record, file, tell, advance)
        except KeyboardInterrupt:
            record.notes.append("interrupted: the last case is not complete, and others may be missing")
            raise
        finally:
            record.save(file)
            print(report.text(record))
            console.print(
                f"Saved: {file}; `python -m benchmarks.speed report {options.out}` makes a report of it.",
                soft_wrap=True,
            )
    return record


def _begun(options: Options, number: int) -> Record:
    settings = {
        "threads": number, "quick": options.quick, "repeats": options.plan.repeats, "limit": options.limit,
        "command": " ".join(["python -m benchmarks.speed", *sys.argv[1:]]),
    }  # fmt: skip
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    note = busy()
    return Record(machine(options.device), versions(), settings, made, [note] if note else [])


def _measured(
    options: Options, cases: Sequence[Case], contenders: Sequence[Contender], sections: Sequence[str], record: Record,
    file: Path, tell: Callable[[str], None], advance: Callable[[], None],
) -> None:  # fmt: skip
    smallest = min(cases, key=lambda case: case.parameters * case.state * case.outputs)
    for case in cases if "cases" in sections else ():
        found = CaseRecord(asdict(case), HOW)
        record.cases.append(found)
        tell(f"{case.name}: reference")
        problem = Problem(case, options.device)
        exact = reference(problem)
        if case is smallest and case.parameters <= CHECKED:
            _check(problem, exact, record)
        measure(problem, exact, contenders, options.plan, found, lambda what, case=case: tell(f"{case.name}: {what}"))  # type: ignore[misc]
        record.save(file)
        advance()
    tables: dict[str, Callable[[], Iterable[dict[str, Any] | str]]] = {
        "first": lambda: first.first_steps(cases, contenders, options.device, tell),
        "overhead": lambda: overhead.overhead(cases, options.plan.repeats, tell),
        "outputs": lambda: outputs.outputs(tell),
        "memory": lambda: memory.memory(options.limit, tell),
    }
    for name, table in tables.items():
        if name in sections:
            _fill(record, name, table())
            record.save(file)
            advance()


def _fill(record: Record, name: str, table: Iterable[dict[str, Any] | str]) -> None:
    """Rows go into the section, lines into the notes, each as it is made."""
    rows = record.sections.setdefault(name, [])
    for found in table:
        if isinstance(found, str):
            record.notes.append(found)
        else:
            rows.append(found)


def _check(problem: Problem, exact: Reference, record: Record) -> None:
    """The reference beside torchdiffeq's, once in a run."""
    try:
        difference = disagreement(problem, exact)
    except ImportError:
        return
    record.notes.append(
        f"the reference of {problem.case.name} and torchdiffeq's odeint_adjoint (float64, rtol = atol = 1e-11) differ "
        f"by {difference:.0e}, relatively"
    )


def _contenders(options: Options, record: Record) -> list[Contender]:
    """Everything that can take part and was asked for; the record says who cannot."""
    found, missing, julia = find_contenders(options.device)
    record.notes += missing
    record.versions.update(julia)
    found = [c for c in found if c.quick or not options.quick]
    if options.contenders:
        found = [c for pattern in options.contenders for c in found if fnmatch.fnmatch(c.name, pattern)]
        found = list({c.name: c for c in found}.values())  # in the order that they are asked for
    if not found:
        raise InvalidInputError(f"no contender is called {' or '.join(options.contenders)}.")
    return found


def _chosen_cases(options: Options) -> list[Case]:
    known = {case.name: case for case in (*CASES, *GPU)}
    wanted = options.cases or (QUICK if options.quick else tuple(case.name for case in CASES))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidInputError(f"no case {unknown[0]!r}: give one of {', '.join(known)}.")
    return [known[name] for name in wanted]


def _chosen_sections(options: Options) -> Sequence[str]:
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        raise InvalidInputError(f"no section {unknown[0]!r}: give one of {', '.join(SECTIONS)}.")
    return options.sections or (QUICK_SECTIONS if options.quick else tuple(s for s in SECTIONS if s != "first"))


@contextmanager
def _progress(console: Console, total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """(say what is being done, one more is done)."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), console=console,
    ) as progress:  # fmt: skip
        task = progress.add_task("", total=total)
        yield lambda what: progress.update(task, description=what), lambda: progress.advance(task)
