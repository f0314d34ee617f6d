"""Imports of large packages, which an interrupt must not end half-way: PyTorch's could not be imported after it."""

from __future__ import annotations

import contextlib
import importlib
import threading
from types import ModuleType


def import_whole(name: str) -> ModuleType:
    """Import a module in a thread of its own, which goes on where the caller is interrupted."""

    def run() -> None:
        with contextlib.suppress(Exception):  # which comes again, below
            importlib.import_module(name)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return importlib.import_module(name)
