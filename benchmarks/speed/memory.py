"""Peak memory of a training step by adjoint, as the number of parameters grows; every figure from its own process.

    python -m benchmarks.speed.memory WIDTH ADJOINT BACKEND

measures one: a tanh MLP field of 8 states, batch 4, float32, tsit5, rtol = atol = 1e-4, 5 outputs on [0, 1]. The peak
of the resident memory is read from Linux, after a first step of a tiny field.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyseminorm import solve

from .measure import Tell
from .modes import ADJOINTS, julia_missing

WIDTHS = (540, 1080, 2160, 3150)  # 0.3, 1.2, 4.7 and 10 million parameters
STATES, BATCH, BYTES = 8, 4, 4


def memory(limit: float, tell: Tell) -> Iterator[dict[str, Any] | str]:
    """A row for each engine, adjoint and width, or a line that says why there is none."""
    if not Path("/proc/self/clear_refs").exists():
        yield "no figures of memory: they are read from Linux's /proc"
        return
    for backend in ("torch",) if julia_missing() else ("torch", "julia"):
        for adjoint in ADJOINTS:
            for width in WIDTHS:
                tell(f"memory: {backend} {adjoint}, width {width}")
                command = [sys.executable, "-m", __name__, str(width), adjoint, backend]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 4 * limit, check=True)
                    yield json.loads(done.stdout.splitlines()[-1])
                except (subprocess.SubprocessError, ValueError, IndexError) as error:
                    yield f"no memory of {backend} {adjoint} at width {width}: {type(error).__name__}"


def measured(width: int, adjoint: str, backend: str) -> dict[str, Any]:
    """Peaks in bytes: of the whole step above what was held before it, and of backward() above what was held then."""
    _, loss = _forward(_field(4), adjoint, backend)
    loss.backward()  # type: ignore[no-untyped-call]
    net = _field(width)
    before = _peak_from_here()
    solution, loss = _forward(net, adjoint, backend)
    forward_peak = _status("VmHWM")
    held = _peak_from_here()
    loss.backward()  # type: ignore[no-untyped-call]
    peak = _status("VmHWM")
    del solution
    size = BYTES * sum(p.numel() for p in net.parameters())
    row: dict[str, Any] = {"backend": backend, "adjoint": adjoint, "width": width, "parameter_bytes": size}
    return {**row, "step_bytes": max(forward_peak, peak) - before, "backward_bytes": peak - held}


def _field(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(STATES, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, STATES)]
    return nn.Sequential(*layers)


def _forward(net: nn.Module, adjoint: str, backend: str) -> tuple[Any, torch.Tensor]:
    y0, t = torch.randn(BATCH, STATES), torch.linspace(0, 1, 5)
    solution = solve(
        lambda t, y: net(y), y0, t, params=net.parameters(), rtol=1e-4, atol=1e-4, adjoint=ADJOINTS[adjoint],
        backend=backend,
    )  # fmt: skip
    loss: torch.Tensor = solution.ys.pow(2).mean()
    return solution, loss


def _peak_from_here() -> int:
    """Reset the peak to what is resident now, and give that."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(int(sys.argv[1]), *sys.argv[2:4])))
