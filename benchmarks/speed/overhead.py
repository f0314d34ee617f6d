"""What whole passes cost beyond the calls of f and of its vector-Jacobian product that they make, in eager PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .cases import Case, Problem
from .contender import Contender, Solver
from .measure import Tell
from .modes import julia_missing, mode
from .peers.torch_packages import SEMINORM, peers
from .work_precision import COMPARED

CALLS = 30  # bare calls of each kind between two passes


def overhead(cases: Sequence[Case], repeats: int, tell: Tell) -> Iterator[dict[str, Any]]:
    """A row for each of these cases that the bars name, and each contender.

    Ratios are of medians; bare calls and passes take turns.
    """
    for case in cases:
        if case.bar is None:
            continue
        tell(f"overhead: {case.name}")
        problem = Problem(case)
        solvers = {c.name: (c, c.make(problem, COMPARED)) for c in _contenders()}
        for _, solver in solvers.values():
            _pass(problem, solver, 0)
        bare: list[tuple[float, float]] = []
        timed: dict[str, list[float]] = {name: [] for name in solvers}
        for repeat in range(repeats):
            for name, (_, solver) in solvers.items():
                bare.append(_bare(problem))
                timed[name].append(_pass(problem, solver, 1 + repeat))
        f, vjp = (statistics.median(b[i] for b in bare) for i in (0, 1))
        for name, (contender, solver) in solvers.items():
            yield _row(case.name, contender, solver, f, vjp, statistics.median(timed[name]))


def _contenders() -> list[Contender]:
    """Eager modes whose backward calls are fused products, one by one, beside torchdiffeq."""
    backends = ("torch",) if julia_missing() else ("torch", "julia")
    ours = [mode(backend, None, adjoint, "dopri5") for backend in backends for adjoint in ("Backsolve", "Discrete")]
    return [*(c for c in peers()[0] if c.name == SEMINORM), *ours]


def _row(case: str, contender: Contender, solver: Solver, f: float, vjp: float, seconds: float) -> dict[str, Any]:
    made = solver.outcome()
    assert made.forward is not None and made.backward is not None
    plain, products = made.forward.nf + made.backward.nf, made.backward.nvjp
    return {
        "case": case, "contender": contender.name, "settings": contender.settings, "f_seconds": f, "vjp_seconds": vjp,
        "f_calls": plain, "vjp_calls": products, "seconds": seconds, "ratio": seconds / (plain * f + products * vjp),
    }  # fmt: skip


def _bare(problem: Problem) -> tuple[float, float]:
    """Seconds of one plain call of f, and of one plain vector-Jacobian product by the state and all parameters."""
    t, adjoint = problem.t[0], torch.ones_like(problem.y0)
    started = time.perf_counter()
    calls = 0
    with torch.no_grad():
        while calls < CALLS and time.perf_counter() - started < 0.2:
            problem.field(t, problem.y0)
            calls += 1
    between, products = time.perf_counter(), 0
    while products < CALLS and time.perf_counter() - between < 0.2:
        y = problem.y0.detach().requires_grad_()
        torch.autograd.grad(problem.field(t, y), [y, *problem.params], adjoint)
        products += 1
    return (between - started) / calls, (time.perf_counter() - between) / products


def _pass(problem: Problem, solver: Solver, change: int) -> float:
    problem.change(change)
    solver.refresh()
    started = time.perf_counter()
    solver.step()
    return time.perf_counter() - started
