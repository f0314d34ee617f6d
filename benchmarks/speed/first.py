"""How long the first step takes, capture and compilation included; every figure from a process of its own.

    python -m benchmarks.speed.first CASE CONTENDER DEVICE

measures one, at rtol = atol = 1e-5, with compilers' caches empty; what imports take is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from .cases import CASES, GPU, Case, Problem
from .contender import Contender
from .contenders import find_contenders
from .measure import COMPILING, Tell
from .work_precision import COMPARED


def first_steps(cases: Sequence[Case], contenders: Sequence[Contender], device: str, tell: Tell) -> Iterator[Any]:
    """A row for each case and contender, or a line that says why there is none."""
    for case in cases:
        for contender in contenders:
            tell(f"first: {case.name}, {contender.name}")
            try:
                yield _in_process(case.name, contender.name, device)
            except (subprocess.SubprocessError, ValueError, IndexError) as error:
                yield f"no first step of {contender.name} in {case.name}: {type(error).__name__}"


def _in_process(case: str, contender: str, device: str) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, case, contender, device]
    with tempfile.TemporaryDirectory() as empty:
        caches = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"), empty)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILING, check=True, env={**os.environ, **caches}
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(case: Case, contender: Contender, device: str) -> dict[str, Any]:
    """Seconds of the first two steps, the making of the solver included in the first, and the processor's in both."""
    problem, seconds = Problem(case, device), []
    started, busy = time.perf_counter(), _processor()
    solver = contender.make(problem, COMPARED)
    for _ in range(2):
        solver.refresh()
        solver.step()
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return {
        "case": case.name, "contender": contender.name, "settings": contender.settings, "first": seconds[0],
        "second": seconds[1], "processor": _processor() - busy,
    }  # fmt: skip


def _processor() -> float:
    """Seconds of this process and of the compilers that it has waited for, which other work does not change much."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    named, where = sys.argv[2], sys.argv[3]
    found = next(case for case in (*CASES, *GPU) if case.name == sys.argv[1])
    chosen = next(contender for contender in find_contenders(where)[0] if contender.name == named)
    print(json.dumps(measured(found, chosen, where)))
