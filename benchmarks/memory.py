"""Peak memory of a training step by adjoint, as the number of parameters grows.

    python benchmarks/memory.py [--julia]

A tanh MLP field of 8 states, batch 4, float32, tsit5, rtol = atol = 1e-4, 5 outputs on [0, 1]. Every figure comes from
a process of its own: the peak resident memory of one step over that before it, after a first step of a tiny field, in
multiples of the memory of the parameters. One multiple is the gradient itself, which any method must make.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint

ADJOINTS = {
    "BacksolveAdjoint": BacksolveAdjoint,
    "InterpolatingAdjoint": InterpolatingAdjoint,
    "GaussAdjoint": GaussAdjoint,
}
WIDTHS = (540, 1080, 2160)  # 0.3, 1.2 and 4.7 million parameters


def field(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(8, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 8)]
    return nn.Sequential(*layers)


def step(net: nn.Module, adjoint: str, backend: str) -> None:
    y0, t = torch.randn(4, 8), torch.linspace(0, 1, 5)
    settings = {"rtol": 1e-4, "atol": 1e-4, "adjoint": ADJOINTS[adjoint](), "backend": backend}
    solution = pyseminorm.solve(lambda t, y: net(y), y0, t, params=net.parameters(), **settings)
    solution.ys.pow(2).mean().backward()


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def measured(width: int, adjoint: str, backend: str) -> dict[str, int]:
    step(field(4), adjoint, backend)
    net = field(width)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = status("VmRSS")
    step(net, adjoint, backend)
    return {"extra": status("VmHWM") - before, "parameters": sum(p.numel() for p in net.parameters())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--julia", action="store_true", help="the Julia engine too")
    parser.add_argument("--one", nargs=3, metavar=("WIDTH", "ADJOINT", "BACKEND"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.one:
        print(json.dumps(measured(int(given.one[0]), *given.one[1:])))
        return
    print(
        f"torch {torch.__version__}, pyseminorm {pyseminorm.__version__}; MiB (multiples of the parameters' memory)\n"
    )
    print("| engine | adjoint |" + "".join(f" width {w} |" for w in WIDTHS))
    print("|---|---|" + "---:|" * len(WIDTHS))
    for backend in ("torch", "julia") if given.julia else ("torch",):
        for adjoint in ADJOINTS:
            cells = []
            for width in WIDTHS:
                command = [sys.executable, __file__, "--one", str(width), adjoint, backend]
                made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                row = json.loads(made.splitlines()[-1])
                cells.append(f" {row['extra'] / 2**20:.0f} ({row['extra'] / 4 / row['parameters']:.1f}) |")
            print(f"| {backend} | {adjoint} |" + "".join(cells))


if __name__ == "__main__":
    main()
