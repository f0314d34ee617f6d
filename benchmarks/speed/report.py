"""The report of one or more records: Markdown tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyseminorm import InvalidInputError

from . import bars, plots
from .cases import Case
from .records import CaseRecord, Record, Row, evaluations, load
from .work_precision import COMPARED, compared, matches

PROCEDURE = f"""\
Every step is a forward solve, the mean square over all outputs as the loss, and a backward pass. A peer runs at
rtol = atol = {COMPARED:g}; its relative error of dL/dθ from a float64 reference is the target, and each of our modes
goes down a fixed ladder of tolerances (half decades from 1e-1 to 1e-9): the first rung with an error no larger is the
one that is compared. Weights, loss and times are the same for all. Parameters change a little, in place, before every
timed step; contenders take turns, a turn being a few steps of which the first is not counted unless it is slow, and
what is compared takes them apart from the rows that are only drawn; times are medians, with the distance of the
quartiles as a share of them ("apart"). Compilation is in the seconds of the first step, not in the times. On one
thread the process is bound to one core."""


def write(folder: Path, file: Path) -> Path:
    """Make ``file`` (Markdown) of every record in ``folder``; plots go into a folder of its name beside it."""
    records = [load(found) for found in sorted(folder.glob("*.json"))]
    if not records:
        raise InvalidInputError(f"{folder} has no *.json of `python -m benchmarks.speed`.")
    images = file.with_suffix("")
    parts = ["# Performance", "", PROCEDURE, ""]
    records.sort(key=lambda r: r.made, reverse=True)
    for record in sorted(records, key=lambda r: int(r.settings["threads"])):
        drawn = {case.case["name"]: plots.work_precision(case, images, _stem(case, record)) for case in record.cases}
        parts += [*_lines(record, {name: f"{images.name}/{plot.name}" for name, plot in drawn.items() if plot}), ""]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(parts).rstrip() + "\n")
    return file


def text(record: Record) -> str:
    """The tables of one record, without plots."""
    return "\n".join(_lines(record, {}))


def _stem(case: CaseRecord, record: Record) -> str:
    return f"{case.case['name']}-{record.settings['threads']}-threads"


def _lines(record: Record, images: dict[str, str]) -> Iterator[str]:
    number = int(record.settings["threads"])
    threads, day = "One thread" if number == 1 else f"{number} threads", record.made[:10]
    yield from (f"## {threads}{day and f', {day}'}", "")
    yield "; ".join(f"{name}: {value}" for name, value in record.machine.items()) + "."
    yield from ("", ", ".join(f"{name} {version}" for name, version in record.versions.items()) + ".", "")
    yield f"Made {record.made} by `{record.settings['command']}`; {record.settings['repeats']} repeats."
    yield from (f"- {note}" for note in record.notes)
    yield ""
    if number == 1:
        yield from (*_bars(record), "")
    for case in record.cases:
        yield from (*_case(case, images.get(case.case["name"])), "")
    for name, table in (("first", _first), ("overhead", _overhead), ("outputs", _outputs), ("memory", _memory)):
        if record.sections.get(name):
            yield from (*table(record.sections[name]), "")


def _bars(record: Record) -> Iterator[str]:
    yield from ("### Bars", "", "Found (asked), at equal or smaller gradient error; – where it was not measured.", "")
    yield from ("| what | case 1 | case 2 | case 3 | case 4 |", "|---|---:|---:|---:|---:|")
    table = bars.verdicts(record)
    for title, cells in table.items():
        yield f"| {title} | " + " | ".join(map(_cell, cells)) + " |"
    yield ""
    for title, cells in table.items():
        named = "; ".join(f"case {i}: {cell.how}" for i, cell in enumerate(cells, 1) if cell.how)
        if named:
            yield f"- {title}: {named}."
    others = [f"| {title} | {_cell(cell)} |" for title, cell in bars.further(record)]
    if others:
        yield from ("", "| what | found (asked) |", "|---|---:|", *others)


def _cell(cell: bars.Verdict) -> str:
    if cell.found is None:
        return f"– ({cell.asked})"
    cold = "" if cell.cold is None else f"; {cell.cold:.3g} without a warm start"
    return f"{cell.found:.3g} ({cell.asked}{'' if cell.met else ', **not met**'}{cold})"


def _case(record: CaseRecord, image: str | None) -> Iterator[str]:
    case = Case(**record.case)
    yield from (f"### {case.name}: {case.title}", "")
    yield f"{case.parameters:,} parameters, {case.state:,} states. Reference: {record.reference}."
    yield ""
    peers = compared(record)
    if peers:
        yield "| peer, at 1e-5 | ms | gradient error | our fastest at that error | tolerance | error | ms | faster by |"
        yield "|---|---:|---:|---|---:|---:|---:|---:|"
        yield from (_versus(record, peer) for peer in peers)
        yield ""
    if image:
        yield from (f"![Work and precision of {case.name}]({image})", "")
    yield from _rows(record)
    if record.left_out:
        yield from ("", "Left out:", "")
        yield from (f"- {left['contender']}: {left['why']}" for left in record.left_out)


def _versus(record: CaseRecord, peer: Row) -> str:
    start = f"| {peer.contender} | {_ms(peer)} | {peer.error:.1e} |"
    best = next(iter(matches(record, peer)), None)
    if best is None:
        return f"{start} none reaches it | – | – | – | – |"
    ours = best.ours
    return f"{start} {ours.contender} | {ours.tolerance:.0e} | {ours.error:.1e} | {_ms(ours)} | {best.ratio:.3g}× |"


def _rows(record: CaseRecord) -> Iterator[str]:
    yield "| contender | tolerance | gradient error | forward calls | backward calls | ms | apart | first step, s |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in sorted(record.rows, key=lambda r: (r.package == "pyseminorm", r.contender, -r.tolerance)):
        if row.seconds:
            yield (
                f"| {row.contender} | {row.tolerance:.0e} | {row.error:.1e} | {_calls(row.forward)} | "
                f"{_calls(row.backward)} | {_ms(row)} | {_percent(row.spread)} | {row.first_seconds:.2f} |"
            )


def _ms(row: Row) -> str:
    return "–" if row.median is None else f"{1e3 * row.median:.3g}" if row.median < 1 else f"{1e3 * row.median:,.0f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _calls(calls: dict[str, int] | None) -> str:
    made = evaluations(calls)
    return "–" if made is None else f"{made:,}"


def _first(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from ("### The first step, in seconds", "")
    yield "Of a process with its compilers' caches empty, capture and compilation included; the second step beside it."
    yield from ("", "| case | contender | first | second |", "|---|---|---:|---:|")
    for r in rows:
        yield f"| {r['case']} | {r['contender']} | {r['first']:.3g} | {r['second']:.3g} |"


def _overhead(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from ("### Eager fields: whole passes over the bare calls they make", "")
    yield "| case | contender | f, µs | VJP, µs | calls of f | of VJP | pass, ms | over bare calls |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for r in rows:
        yield (
            f"| {r['case']} | {r['contender']} | {1e6 * r['f_seconds']:.0f} | {1e6 * r['vjp_seconds']:.0f} | "
            f"{r['f_calls']} | {r['vjp_calls']} | {1e3 * r['seconds']:.3g} | {r['ratio']:.2f} |"
        )


def _outputs(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from ("### Products of the backward pass, with 2 and with 1,000 outputs", "")
    yield "2-16-16-2, batch 1; vector-Jacobian products with the state, and quadrature nodes of GaussAdjoint."
    yield from ("", "| contender | with 2 | with 1,000 | ratio | per output | nodes with 2 | nodes with 1,000 |")
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for r in rows:
        yield (
            f"| {r['contender']} | {r['vjp_few']:,} | {r['vjp_many']:,} | {r['ratio']:.3g} | {r['per_output']:.2f} | "
            f"{r['nodes_few']:,} | {r['nodes_many']:,} |"
        )


def _memory(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from ("### Peak memory, in multiples of the parameters' own", "")
    yield "A tanh MLP of 8 states, batch 4; one multiple is the gradient itself."
    yield from ("", "| engine | adjoint | parameters | whole step | backward() alone |", "|---|---|---:|---:|---:|")
    for r in rows:
        size = r["parameter_bytes"]
        yield (
            f"| {r['backend']} | {r['adjoint']} | {size // 4:,} | {r['step_bytes'] / size:.1f} | "
            f"{r['backward_bytes'] / size:.1f} |"
        )
