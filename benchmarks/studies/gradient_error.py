"""How well the estimate of the parameter gradient's error is, and what control by it costs.

    python -m benchmarks.studies.gradient_error [fields] [others] [unseen] [torchdiffeq] [cases] [pairs]  # measure
    python -m benchmarks.studies.gradient_error report  # docs/gradient-error.png, the tables

``fields``: f sin(omega t) and f + p sin(omega t) with p = 0, of which y and lambda see nothing, f a tanh net 2-16-2,
tsit5. ``others``: the same from other seeds, by which no constant was chosen but those of the second look;
``unseen``: from seeds that decided nothing. ``torchdiffeq``: the fields of the second seeds in torchdiffeq's steps by
dopri5, with 2 and with 6 outputs; what an output counts there was chosen on the first seeds. ``cases``: of the speed
benchmark. ``pairs``: the paper's tasks at their tolerances, with fresh weights and after a few steps of training.
True errors are from the adjoint system with all components controlled, in float64. What the estimate costs:
`benchmarks.studies.estimate_cost`.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.paper.pairs import KINKED, pairs
from benchmarks.paper.tasks import experiment
from benchmarks.speed.cases import CASES, Problem, relative_error
from pyseminorm import (
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    GradientErrorWarning,
    InterpolatingAdjoint,
    PassStats,
    Solution,
    solve,
)
from pyseminorm.passes.second_look import forget_looks, in_doubt

RECORD = Path("benchmarks/results/gradient-error")
FIGURE = Path("docs/gradient-error.png")
OMEGAS = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80)
TOLERANCES = (1e-3, 1e-5, 1e-7)
SEEDS, OTHERS, UNSEEN = range(2), range(2, 5), range(5, 9)
COMPARED = ("case1", "case2", "case3", "outputs-2", "oscillating", "oscillating-small")
CONTROL = 1e-2
COLOURS = ("tab:blue", "tab:cyan", "tab:purple", "tab:red", "tab:green", "tab:orange")
ADJOINTS: dict[str, Any] = {
    "backsolve": BacksolveAdjoint,
    "interpolating": InterpolatingAdjoint,
    "gauss": GaussAdjoint,
    "discrete": DiscreteAdjoint,
}
# method and tolerance -> (dL/dtheta, statistics of both passes)
Gradient = Callable[..., tuple[Tensor, Solution]]


@dataclasses.dataclass
class Row:
    """One backward pass: of what, how, its error, true and as estimated, and where that is in doubt by a second look;
    whether it warns; and the same with ``param_rtol``.
    """

    what: str
    rtol: float
    adjoint: str
    true: float
    estimate: float | None
    evaluations: int
    looked: float | None = None
    looked_evaluations: int | None = None
    warned: bool = False
    controlled: float | None = None
    controlled_evaluations: int | None = None
    controlled_warned: bool = False


class Oscillating(nn.Module):
    """f sin(omega t), or f + p sin(omega t) where ``silent``."""

    def __init__(self, omega: float, *, silent: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)).double()
        self.omega, self.p = omega, nn.Parameter(torch.zeros(2, dtype=torch.float64)) if silent else None

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        forcing = torch.sin(self.omega * t)
        return dy * forcing if self.p is None else dy + self.p * forcing


def fields(
    seeds: Iterable[int] = SEEDS, outputs: int = 2, names: Iterable[str] = ADJOINTS, **settings: Any
) -> Iterator[Row]:
    for silent in (False, True):
        for omega in OMEGAS:
            for seed in seeds:
                torch.manual_seed(seed)
                field, y0 = Oscillating(omega, silent=silent), torch.randn(1 + 3 * seed, 2, dtype=torch.float64)
                take = _taking(field, y0, torch.linspace(0.0, 2.0, outputs, dtype=torch.float64))
                truth, _ = take(method="vern7", rtol=1e-11, atol=1e-11, adjoint=InterpolatingAdjoint(norm="rms"))
                many = f", {outputs} outputs" if outputs > 2 else ""
                what = f"{'p' if silent else 'f'} sin {omega}t, {seed}{many}"
                for rtol in TOLERANCES:
                    given: dict[str, Any] = {"method": "tsit5", "rtol": rtol, "atol": 1e-3 * rtol, **settings}
                    yield from rows(what, take, truth, names, **given)


def in_torchdiffeqs_steps() -> Iterator[Row]:
    for outputs in (2, 6):
        yield from fields(OTHERS, outputs, ["backsolve"], method="dopri5", controller="torchdiffeq")


def cases() -> Iterator[Row]:
    for case in (case for case in CASES if case.name in COMPARED):
        problem = Problem(case)
        exact = problem.doubled()
        taken = _taking(exact.field, exact.y0, exact.t)
        truth, _ = taken(method="vern7", rtol=1e-11, atol=1e-11, adjoint=InterpolatingAdjoint(norm="rms"))
        for rtol in TOLERANCES[:2]:
            take = _taking(problem.field, problem.y0, problem.t)
            yield from rows(case.name, take, truth, method="tsit5", rtol=rtol, atol=rtol)


def paper() -> Iterator[Row]:
    for pair in sorted(pairs(), key=lambda pair: (pair.reference is KINKED, -pair.rtol)):
        torch.manual_seed(0)
        task = experiment(pair.task, pair.sizes)
        model = task.model()
        optimiser = torch.optim.Adam(model.parameters(), lr=pair.sizes.rate)
        settings: dict[str, Any] = {"method": "dopri5", "rtol": pair.rtol, "atol": pair.atol}
        for stage, steps in (("fresh", 0), ("trained", 4)):
            for batch in (task.batches() * 4)[:steps]:
                optimiser.zero_grad()
                solver = Solver(adjoint=DiscreteAdjoint(verbose=False), **settings)
                task.loss(model, batch, solver).backward()  # type: ignore[no-untyped-call]
                optimiser.step()

            def take(model: nn.Module = model, held: Any = task.held, **given: Any) -> tuple[Tensor, Solution]:
                solver = Solver(**given)
                loss = task.loss(model, held, solver)  # noqa: B023 (of this pair alone)
                parts = torch.autograd.grad(loss, list(model.get_submodule("field").parameters()))
                return torch.cat([x.reshape(-1).double() for x in parts]), solver.solution

            method, tolerance = pair.reference
            tolerance *= 10.0 if pair.reference is KINKED else 1.0  # errors are above 1e-4 there
            held = tuple(x.double() if x.is_floating_point() else x for x in task.held)
            tight = {"method": method, "rtol": tolerance, "atol": tolerance}
            truth, _ = take(copy.deepcopy(model).double(), held, adjoint=InterpolatingAdjoint(norm="rms"), **tight)
            yield from rows(f"{pair.name}, {stage}", take, truth, **settings)


class Solver:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def __call__(self, field: Any, y0: Tensor, times: Any, params: Iterable[Tensor], /) -> Tensor:
        self.solution = solve(field, y0, times, params=params, backend="torch", **self.settings)
        ys: Tensor = self.solution.ys
        return ys


def _taking(field: nn.Module, y0: Tensor, t: Tensor) -> Gradient:
    """Return what gives the gradient of the mean square of the outputs."""

    def take(**settings: Any) -> tuple[Tensor, Solution]:
        field.zero_grad()
        solution = solve(field, y0, t, backend="torch", **settings)
        solution.ys.pow(2).mean().backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in field.parameters()]
        return torch.cat([part.reshape(-1).double() for part in parts]), solution

    return take


def rows(what: str, take: Gradient, truth: Tensor, names: Iterable[str] = ADJOINTS, **settings: Any) -> Iterator[Row]:
    """Yield a row for every adjoint."""
    for name in names:
        adjoint = ADJOINTS[name]
        found, solution = take(adjoint=adjoint(verbose=False), **settings)
        stats = _backward(solution)
        error = relative_error(found, truth)
        row = Row(what, settings["rtol"], name, error, stats.param_error, stats.evaluations)
        if in_doubt(stats, solution.stats.forward):
            forget_looks()  # each as if it were the first pass of its function
            _, solution, row.warned = _take_aloud(take, adjoint=adjoint(), **settings)
            stats = _backward(solution)
            row.looked, row.looked_evaluations = stats.param_error, stats.evaluations
        if name != "discrete" and "controller" not in settings:
            found, solution, row.controlled_warned = _take_aloud(take, adjoint=adjoint(param_rtol=CONTROL), **settings)
            row.controlled = relative_error(found, truth)
            row.controlled_evaluations = _backward(solution).evaluations
        yield row


def _take_aloud(take: Gradient, **settings: Any) -> tuple[Tensor, Solution, bool]:
    """Return the gradient, the solution, and whether the pass warned of its error."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, solution = take(**settings)
    return found, solution, any(x.category is GradientErrorWarning for x in said)


def _backward(solution: Solution) -> PassStats:
    assert solution.stats.backward is not None
    return solution.stats.backward


def others() -> Iterator[Row]:
    return fields(OTHERS)


def unseen() -> Iterator[Row]:
    return fields(UNSEEN)


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "fields": fields, "others": others, "unseen": unseen, "torchdiffeq": in_torchdiffeqs_steps, "cases": cases,
    "pairs": paper,
}  # fmt: skip


def measure(section: str) -> None:
    found = []
    RECORD.mkdir(parents=True, exist_ok=True)
    for row in SECTIONS[section]():
        found.append(json.dumps(dataclasses.asdict(row)))
        print(found[-1], flush=True)
        (RECORD / f"{section}.json").write_text("[\n" + ",\n".join(found) + "\n]\n")


def recorded(section: str) -> list[Row]:
    return [Row(**row) for row in json.loads((RECORD / f"{section}.json").read_text())]


def table() -> str:
    """Return how often the estimate is within a factor of ten, and how often warnings are right."""
    lines = [
        "| problems | adjoint | estimates | within 10 | looked at again | within 2 then | warned, of true errors < 5 % "
        "| of 5 to 30 % | > 30 % |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for section in SECTIONS:
        for name in ADJOINTS:
            chosen = [row for row in recorded(section) if row.adjoint == name]
            if not chosen:
                continue
            made = [row.estimate / row.true for row in chosen if row.estimate is not None]
            looked = [row.looked / row.true for row in chosen if row.looked is not None]
            bands = [_warned(chosen, *band) for band in ((0.0, 0.05), (0.05, 0.3), (0.3, float("inf")))]
            cells = [section, name, f"{len(made)} of {len(chosen)}", _share_within(10.0, made), str(len(looked) or "–")]
            lines.append(f"| {' | '.join([*cells, _share_within(2.0, looked), *bands])} |")
    return "\n".join(lines)


def _share_within(factor: float, ratios: list[float]) -> str:
    right = sum(1 / factor <= ratio <= factor for ratio in ratios)
    return f"{100 * right / len(ratios):.0f} %" if ratios else "–"


def _warned(chosen: list[Row], low: float, high: float) -> str:
    inside = [row.warned for row in chosen if low <= row.true < high]
    return f"{sum(inside)} of {len(inside)}" if inside else "–"


def control_table() -> str:
    """Return what ``param_rtol`` does."""
    lines = [
        "| problems | adjoint | largest error without | with | above 3 % without | with | evaluations, without = 1 | "
        "where the error was below 1 % | singly more than 1.1 there | told that the states err |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for section in SECTIONS:
        for name in ADJOINTS:
            chosen = [row for row in recorded(section) if row.adjoint == name and row.controlled is not None]
            if not chosen:
                continue
            before, after = [row.true for row in chosen], [row.controlled or 0.0 for row in chosen]
            counts = [sum(x > 3e-2 for x in errors) for errors in (before, after)]
            well = [row for row in chosen if row.true < 1e-2]
            more = sum(_cost([row]) > 1.1 for row in well)
            lines.append(
                f"| {section} | {name} | {max(before):.1e} | {max(after):.1e} | {counts[0]} of {len(chosen)} | "
                f"{counts[1]} | {_cost(chosen):.2f} | {_cost(well):.2f} | {more} of {len(well)} | "
                f"{sum(row.controlled_warned for row in chosen)} |"
            )
    return "\n".join(lines)


def _cost(chosen: list[Row]) -> float:
    return sum(row.controlled_evaluations or 0 for row in chosen) / max(sum(row.evaluations for row in chosen), 1)


def draw() -> None:
    """Draw true errors against estimates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
    for axis, name in zip(axes.flat, ADJOINTS, strict=True):
        for section, colour in zip(SECTIONS, COLOURS, strict=True):
            made = [row for row in recorded(section) if row.adjoint == name and row.estimate is not None]
            said = [row.estimate if row.looked is None else row.looked for row in made]
            axis.loglog([row.true for row in made], said, ".", color=colour, label=section)
        ends = [1e-10, 10.0]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        for factor in (0.1, 10.0):
            axis.plot(ends, [factor * x for x in ends], color="grey", linewidth=0.8, linestyle="--")
        axis.set(title=name, xlim=ends, ylim=ends)
    axes[0, 0].legend()
    figure.supxlabel("true relative error of the parameter gradient")
    figure.supylabel("stats.backward.param_error")
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    every = [*SECTIONS, "report"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", help=f"of {', '.join(every)}; all, where none is named")
    chosen = parser.parse_args().section or every
    if unknown := [name for name in chosen if name not in every]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(every)}")
    torch.set_num_threads(1)
    for section in chosen:
        if section != "report":
            measure(section)
    if "report" in chosen:
        draw()
        print(table(), control_table(), sep="\n\n")


if __name__ == "__main__":
    main()
