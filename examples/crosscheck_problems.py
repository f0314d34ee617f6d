"""Five problems for `pyseminorm crosscheck`, such as

pyseminorm crosscheck examples/crosscheck_problems.py:mlp --rtol 1e-6

`python examples/crosscheck_problems.py` writes the tables of docs/crosscheck.md (with SciMLSensitivity's rows where the
configured Julia project has it).
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from problems import MLP, Linear, LotkaVolterra, Oscillating, Pendulum, batch  # noqa: E402


def _times(end, outputs=5):
    return torch.linspace(0, end, outputs, dtype=torch.float64)


def linear():
    return Linear(), batch(4), _times(3.0)


def lotka_volterra():
    return LotkaVolterra(), torch.tensor([1.0, 1.0], dtype=torch.float64), _times(4.0)


def pendulum():
    return Pendulum(), torch.tensor([1.2, 0.0], dtype=torch.float64), _times(3.0)


def mlp():
    return MLP(), batch(32), _times(2.0)


def oscillating():
    return Oscillating(), batch(8), _times(2.0)


PROBLEMS = (linear, lotka_volterra, pendulum, mlp, oscillating)
MARK = "<!-- tables: python examples/crosscheck_problems.py -->\n"


def tables():
    """One section for each problem and tolerance; the versions once, at the end."""
    import pyseminorm

    for problem in PROBLEMS:
        for rtol, atol in ((1e-3, 1e-6), (1e-6, 1e-9)):
            found = pyseminorm.crosscheck(*problem(), rtol=rtol, atol=atol)
            table, _, versions = str(found).rpartition("\nVersions: ")
            yield f"## {problem.__name__}, rtol {rtol:g}\n\n{table}\n"
    yield f"## Versions\n\n{versions}\n"


if __name__ == "__main__":
    page = ROOT / "docs" / "crosscheck.md"
    head = page.read_text().partition(MARK)[0]
    page.write_text(head + MARK + "\n" + "\n".join(tables()))
