"""The machine and the versions that a run states, and how a run is held to one core or given all."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("pyseminorm", "torch", "numpy", "torchdiffeq", "torchode", "diffrax", "jax", "jaxlib", "equinox")
# Read by libraries when they are loaded: the BLAS of Julia and of NumPy, and XLA (NPROC is the size of its pools).
_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
_ONE_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
BUSY = 0.5  # load per core from which a note says so


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Every library with ``number`` threads; with 1, the process is bound to one core, which holds all to it.

    XLA and Julia read the number when they start, so one process measures with one number.
    """
    variables = {"JAX_PLATFORMS": "cpu", **dict.fromkeys(_COUNTS, str(number)), **(_ONE_THREAD if number == 1 else {})}
    before = {name: os.environ.get(name) for name in variables}
    torch_threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    os.environ.update(variables)
    torch.set_num_threads(number)
    if number == 1 and allowed:
        os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(torch_threads)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def busy() -> str | None:
    """A line that says that other work took part, or None."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < BUSY * cores():
        return None
    return f"the machine was busy at the start (load {load:.1f} on {cores()} cores): times are longer than they need be"


def machine(device: str = "cpu") -> dict[str, str]:
    """Processor, cores, load and systems, as text; and the device, where it is another than the CPU."""
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "load at the start (1, 5, 15 min)": load,
        "system": platform.platform(),
        "Python": platform.python_version(),
        **({"device": torch.cuda.get_device_name()} if device == "cuda" else {}),
    }


def versions() -> dict[str, str]:
    """Of every package that can take part and is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Model, and what the kernel says of the family where the model is a bare brand, as in virtual machines."""
    file = Path("/proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line) if file.exists() else {}
    known = {key.strip(): value.strip() for key, value in lines.items()}
    if "model name" not in known:
        return platform.processor() or platform.machine()
    vectors = [flag for flag in ("avx2", "avx512f", "avx512_bf16") if flag in known.get("flags", "").split()]
    family = f"family {known.get('cpu family', '?')} model {known.get('model', '?')}"
    return f"{known['model name']} ({family}; {', '.join(vectors)})"
