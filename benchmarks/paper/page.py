"""The page of results: tables and plots of what is recorded, nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from pyseminorm import InvalidInputError

from . import plots
from .ablations import COMPARED, SERIES, Measured, Series, read_series
from .contenders import CONTENDERS
from .pairs import FAMILIES, TASKS
from .plots import LABELS, NORMS
from .record import Record, read_records
from .summary import Quality, Results, spread

OURS = ("norm-seminorm", "backsolve", "traced", "gauss", "discrete")
PACKAGE = ("package-default", "package-seminorm")
READING = "reading.md"  # written by hand, beside the page in docs
TIMED = (*OURS, "package-seminorm")
NAMES = LABELS | {"norm-seminorm": "seminorm (cotangents not scaled)"}


def write_page(out: Path, page: Path) -> None:
    """Write the Markdown page, and its plots in a folder of its name beside it.

    Raises:
        InvalidInputError: no records, or records of more than one engine.
        RecordError: a record that cannot be read.
    """
    results, measured = Results(read_records(out)), read_series(out)
    if not results.records:
        raise InvalidInputError(f"{out} holds no records: run `python -m benchmarks.paper --out {out}` first.")
    engines = sorted({record.backend for record in results.records} - {"torchdiffeq"})
    if len(engines) > 1:
        raise InvalidInputError(
            f"{out} holds records of the engines {', '.join(engines)}: give each a folder of its own."
        )
    pictures = page.with_suffix("")
    plots.plot_reductions(results, pictures / "reductions.png")
    plots.plot_times(results, TIMED, pictures / "times.png")
    plots.plot_training(results, pictures / "training.png")
    sections = [_head(results, out), _short(results), _differences(), _reductions(results), _gradients(results)]
    sections += [_qualities(results), _times(results), _auto(results), _counts(results)]
    if measured:
        plots.plot_ablations(measured, pictures / "ablations.png")
        sections.append(_ablations(measured))
    if any(record.samples for record in results.records):
        plots.plot_samples(results, pictures / "samples.png")
        sections.append(_samples())
    sections.append(_provenance(results))
    if page.with_name(READING).exists():
        sections.insert(2, f"[Reading the results]({READING}) says in prose what follows from these numbers.")
    text = "\n\n".join(sections).replace("PICTURES", page.stem)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column left, the others right.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|---:|
    | x | 1 |
    """
    rule = ["---", *("---:" for _ in head[1:])]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(rule) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _head(results: Results, out: Path) -> str:
    counts = [len(results.of(pair, contender.name)) for pair in results.pairs for contender in CONTENDERS]
    least, most = min(counts, default=0), max(counts, default=0)
    seeds = f"{most} seed(s) of everything" if least == most else f"{least} to {most} seeds (the run is not complete)"
    return f"""# Results

P. Kidger, R. T. Q. Chen, T. Lyons, "Hey, that's not an ODE": Faster ODE Adjoints via Seminorms (ICML 2021) report a
median of 40 % fewer function evaluations, at best 62 %, with training time roughly halved there and accuracy
unchanged. This page is what `python -m benchmarks.paper` measured on three families of tasks
({", ".join(FAMILIES)}), {seeds};
`python -m benchmarks.paper --out {out.as_posix()} --report docs/results.md` wrote it from the records in that folder.
Tasks, tolerances and sizes stand in one table (`benchmarks/paper/pairs.py`), fixed before the first full run; every
pair is shown and counts in the medians."""


def _short(results: Results) -> str:
    """The bars, and what came out."""
    lines = []
    for where, new, usual in (
        ("in our engine", "norm-seminorm", "norm-torchdiffeq"),
        ("in torchdiffeq 0.2.5", "package-seminorm", "package-default"),
    ):
        found = spread([results.reduction(pair, new, usual) for pair in results.pairs])
        middle, least, most = (_percent(None if found is None else value) for value in found or (None, None, None))
        lines.append(
            f"- Backward evaluations saved by the seminorm {where}: median {middle}, best {most}, worst {least} "
            f"(goals: 40 %, 60 %); {_agreeing(results, new, usual)}."
        )
    for name in OURS:
        found = spread([results.ratio(pair, name, "package-default", "cpu_seconds") for pair in results.pairs])
        lines.append(
            f"- Training time over torchdiffeq's default, {NAMES[name]}: median "
            f"{_ratio(found[0] if found else None)} (goal: 0.5); {_agreeing(results, name, 'package-default')}."
        )
    return "## In short\n\n" + "\n".join(lines)


def _agreeing(results: Results, new: str, usual: str) -> str:
    verdicts = [results.same_quality(pair, new, usual) for pair in results.pairs]
    known = [verdict for verdict in verdicts if verdict is not None]
    return f"final quality within one standard deviation in {sum(known)} of {len(known)} pairs"


def _differences() -> str:
    differs = "\n".join(f"- **{task.name}**: {task.differs}." for task in TASKS)
    return f"""## What differs from the paper

Data and scale: everything is small enough for one core and an hour in all, on data that comes inside PyPI packages.
Trainings are short, so that most models are far from trained to the end: the counts are those of early training.

{differs}

All trainings: dopri5, float32, Adam, one thread. Contenders named by a norm are `BacksolveAdjoint(norm=...,
scale_invariant=False)` in our engine, with everything but the norm equal. `GaussAdjoint()` and `BacksolveAdjoint()`
have their defaults: they scale the cotangents, and so solve backwards more tightly than torchdiffeq wherever the loss
is a mean over many samples. A backward evaluation is a call of the field with its products; a product alone counts
one, each quadrature node too."""


def _reductions(results: Results) -> str:
    ours = [results.reduction(pair, "norm-seminorm", "norm-torchdiffeq") for pair in results.pairs]
    rms = [results.reduction(pair, "norm-seminorm", "norm-rms") for pair in results.pairs]
    theirs = [results.reduction(pair, "package-seminorm", "package-default") for pair in results.pairs]
    rows = []
    for pair, saved, from_rms, in_package in zip(results.pairs, ours, rms, theirs, strict=True):
        counts = [_count(results.mean(pair, name, "backward_evaluations")) for name in (*NORMS, *PACKAGE)]
        rows.append([pair, *counts[:3], _percent(saved), _percent(from_rms), *counts[3:], _percent(in_package)])
    for i, name in enumerate(("median", "worst", "best")):
        found = [_percent(s[i] if (s := spread(x)) else None) for x in (ours, rms, theirs)]
        rows.append([f"**{name}**", "", "", "", found[0], found[1], "", "", found[2]])
    head = ["task, rtol, atol", *(LABELS[name] for name in NORMS), "saved", "saved from RMS"]
    head += [*(LABELS[name] for name in PACKAGE), "saved"]
    return f"""## The claim: backward evaluations

Backward evaluations of a whole training, means over seeds; "saved" is by the seminorm, from torchdiffeq's norm and from
the plain RMS. The three columns at the right are torchdiffeq's own package.

{table(head, rows)}

![Backward evaluations saved](PICTURES/reductions.png)

![Backward evaluations by epoch](PICTURES/training.png)"""


def _gradients(results: Results) -> str:
    rows = [[pair, *(_errors(results.gradient_errors(pair, name)) for name in LABELS)] for pair in results.pairs]
    return f"""## Gradient errors

Relative error of dL/dθ of the vector field on a held batch, against a float64 reference at tight tolerance; the forward
solve's error is in it. All contenders are measured at the same weights, those of the training with torchdiffeq's norm
(first seed) at its start, middle and end: median (largest). The reference is good to about 1e-5 on the Neural CDEs,
whose fields have kinks.

{table(["task, rtol, atol", *LABELS.values()], rows)}"""


def _qualities(results: Results) -> str:
    rows = []
    for pair in results.pairs:
        measure = next(r.quality_name for r in results.records if r.pair == pair)
        verdicts = (
            results.same_quality(pair, "norm-seminorm", "norm-torchdiffeq"),
            results.same_quality(pair, "package-seminorm", "package-default"),
        )
        cells = [_quality(results.quality(pair, name)) for name in LABELS]
        rows.append([pair, measure, *cells, *(_verdict(v) for v in verdicts)])
    head = ["task, rtol, atol", "measure", *LABELS.values()]
    head += ["seminorm within one deviation", "the same in torchdiffeq 0.2.5"]
    return f"""## Final quality

Mean ± standard deviation over seeds. "Within one deviation": the means differ by at most the larger of the two standard
deviations.

{table(head, rows)}"""


def _counts(results: Results) -> str:
    columns = ("forward_evaluations", "backward_evaluations", "backward_rejected")
    rows = [
        [pair, *(" / ".join(_count(results.mean(pair, name, c)) for c in columns) for name in LABELS)]
        for pair in results.pairs
    ]
    failed = [f"- {r.pair}, {r.contender}, seed {r.seed}: {r.failure}" for r in results.failures]
    failures = "\n\nNot trained to the end, and counted nowhere:\n\n" + "\n".join(failed) if failed else ""
    return f"""## All counts

Forward evaluations / backward evaluations / rejected backward steps of a whole training, means over seeds.

{table(["task, rtol, atol", *LABELS.values()], rows)}{failures}"""


def _times(results: Results) -> str:
    rows = []
    for pair in results.pairs:
        seconds = results.mean(pair, "package-default", "cpu_seconds")
        cells = ["-" if seconds is None else f"{seconds:.1f} s"]
        for name in TIMED:
            cells.append(_ratio(results.ratio(pair, name, "package-default", "cpu_seconds")))
            cells.append(_verdict(results.same_quality(pair, name, "package-default")))
        rows.append([pair, *cells])
    for title, column in (("median", "cpu_seconds"), ("median of wall times", "seconds")):
        found = [spread([results.ratio(p, name, "package-default", column) for p in results.pairs]) for name in TIMED]
        rows.append([f"**{title}**", "", *(cell for s in found for cell in (_ratio(s[0] if s else None), ""))])
    head = ["task, rtol, atol", LABELS["package-default"], *(x for n in TIMED for x in (LABELS[n], "same quality"))]
    return f"""## Beyond the paper: training time

Training time over that of torchdiffeq's package with its default norm: the same tolerances, one thread, the same epochs
and weights to start from. Processor time, since the machine had other work; wall times are recorded too, and their
median stands below. "Same quality": final qualities within one standard deviation.

{table(head, rows)}

![Training times](PICTURES/times.png)"""


def _auto(results: Results) -> str:
    rows, ratios = [], []
    for pair in results.pairs:
        name = results.picked_by_auto(pair)
        record = next(r for r in results.records if r.pair == pair)
        ratios.append(results.ratio(pair, name, "package-default", "cpu_seconds"))
        rows.append([pair, f"{record.state:,}", f"{record.parameters:,}", LABELS[name], _ratio(ratios[-1])])
    found = spread(ratios)
    rows.append(["**median**", "", "", "", _ratio(None if found is None else found[0])])
    head = ["task, rtol, atol", "elements of the state", "parameters", "auto picks", "time over torchdiffeq's default"]
    return f"""## What `adjoint="auto"` picks

{table(head, rows)}"""


def _ablations(measured: Sequence[Measured]) -> str:
    parts = [_ablation(series, [m for m in measured if m.series == series.name]) for series in SERIES]
    tables = "\n\n".join(part for part in parts if part)
    return f"""## What the saving depends on, and where it costs accuracy

Single backward passes without training: a tanh net of width 64 on [0, 2], a state of 8 samples of 4, rtol 1e-4, atol a
thousandth of it, mean square of the outputs, float64; each series changes one thing. Backward evaluations | relative
error of dL/dθ, medians over seeds. The seminorm leaves the parameter gradient's quadrature unwatched: where the
gradient's integrand oscillates and y and λ do not (the last series is the extreme: a parameter that is zero), its error
is not controlled at all.

![Ablations](PICTURES/ablations.png)

{tables}"""


def _ablation(series: Series, measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    rows = []
    for value in series.values:
        here = [m for m in measured if m.value == value]
        if not here:
            continue
        cells = []
        for name in COMPARED:
            evaluations = [m.backward_evaluations for m in here if m.contender == name]
            errors = [m.error for m in here if m.contender == name]
            cells.append(f"{statistics.median(evaluations):.0f} \\| {statistics.median(errors):.0e}")
        rows.append([f"{value:g}", f"{here[0].parameters / here[0].state:,.0f}", *cells])
    head = [series.axis, "parameters per element", *(LABELS[name] for name in COMPARED)]
    return f"### {series.title}\n\n{table(head, rows)}"


def _samples() -> str:
    return """## Samples

Of the flows that were trained with the seminorm, first seed, after the few optimiser steps that the list above gives.

![Samples of the flows](PICTURES/samples.png)"""


def _provenance(results: Results) -> str:
    kinds = {_versions_of(record) for record in results.records}
    lines = "\n".join(f"- {kind}" for kind in sorted(kinds))
    return f"## Where it was measured\n\n{lines}"


def _versions_of(record: Record) -> str:
    named = ", ".join(f"{name} {version}" for name, version in record.versions.items() if name != "machine")
    return f"{record.versions['machine']}; {named}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{round(100 * share)} %"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _errors(values: Sequence[float | None]) -> str:
    found, failed = spread(values), sum(value is None for value in values)
    text = "-" if found is None else f"{found[0]:.0e} ({found[2]:.0e})"
    return f"{text}, {failed} failed" if failed else text


def _quality(quality: Quality | None) -> str:
    if quality is None:
        return "-"
    return f"{quality.mean:.4g}" + ("" if quality.deviation is None else f" ± {quality.deviation:.2g}")


def _verdict(same: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[same]
