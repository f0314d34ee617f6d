"""An import of a large package outlives an interrupt."""

import signal
import sys
import threading

import pytest

from pyseminorm.imports import import_whole

SLOW = """
import signal
import threading

signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.held.wait(60)
finished = True
"""


def test_an_interrupt_ends_no_import_half_way(tmp_path, monkeypatch):
    (tmp_path / "slow_package.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(threading, "held", threading.Event(), raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            import_whole("slow_package")
    finally:
        signal.signal(signal.SIGINT, before)
    found = sys.modules["slow_package"]
    assert not hasattr(found, "finished")
    threading.held.set()
    assert import_whole("slow_package") is found and found.finished


def test_what_cannot_be_imported_is_an_error():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_whole("no_such_package")
