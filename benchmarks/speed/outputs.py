"""What output times cost: calls of every adjoint with 2 and with 1,000 of them, on the smallest field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CASES, Problem
from .contender import Contender
from .measure import Tell
from .modes import ADJOINTS, julia_missing, mode
from .peers.torch_packages import SEMINORM, peers
from .work_precision import COMPARED


def outputs(tell: Tell) -> Iterator[dict[str, Any]]:
    """A row for each contender: products with 2 outputs and with 1,000, their ratio, and products per output.

    Products are vector-Jacobian products with the state; quadrature nodes of GaussAdjoint are given beside them.
    """
    few, many = (next(c for c in CASES if c.name == name) for name in ("outputs-2", "outputs-1000"))
    for contender in _contenders():
        tell(f"outputs: {contender.name}")
        small, large = (_products(contender, Problem(case)) for case in (few, many))
        yield _row(contender, small, large, many.outputs - 1)


def _row(contender: Contender, few: tuple[int, int], many: tuple[int, int], later: int) -> dict[str, Any]:
    """``later``: outputs after the first time, which have a jump each."""
    return {
        "contender": contender.name, "settings": contender.settings, "vjp_few": few[0], "vjp_many": many[0],
        "nodes_few": few[1], "nodes_many": many[1], "ratio": many[0] / few[0], "per_output": many[0] / later,
    }  # fmt: skip


def _contenders() -> list[Contender]:
    backends = ("torch",) if julia_missing() else ("torch", "julia")
    ours = [mode(backend, None, adjoint, "tsit5") for backend in backends for adjoint in ADJOINTS]
    return [*(c for c in peers()[0] if c.name == SEMINORM), *ours]


def _products(contender: Contender, problem: Problem) -> tuple[int, int]:
    """(vector-Jacobian products with the state, quadrature nodes) of the backward pass."""
    solver = contender.make(problem, COMPARED)
    solver.refresh()
    solver.step()
    backward = solver.outcome().backward
    assert backward is not None
    return backward.nvjp + backward.nvjp_state, backward.nvjp_param
