"""`start_julia`: Julia when the caller wants it, with the threads that the caller wants."""

from __future__ import annotations

from typing import Literal

from ....errors import InvalidInputError
from .config import check_threads


def start_julia(threads: int | Literal["auto"] | None = None, handle_signals: bool | None = None) -> dict[str, str]:
    """Start Julia now, instead of at the first solve on the engine "julia"; again, it only checks.

    The calling thread is the one that Julia can be called from. Where juliacall and torch do not go together (macOS,
    old Linux distributions) this does not help: there import juliacall before torch.

    Args:
        threads: how many threads Julia has, a positive whole number or "auto". A solve runs on one of them; the others
            are for Julia code of your own. None: what ``PYSEMINORM_JULIA_THREADS`` or `pyseminorm setup --threads`
            says, else juliacall's own (``PYTHON_JULIACALL_THREADS``, ``JULIA_NUM_THREADS``, one).
        handle_signals: whether Julia handles signals, which several threads and `profile` need; None: with several
            threads. Ctrl-C raises KeyboardInterrupt either way.

    Returns:
        The versions of Julia, juliacall, PythonCall and the solver packages, by name.

    Raises:
        InvalidInputError: a wrong argument, or Julia runs with other options than asked for.
        BackendUnavailableError: Julia cannot be started; the message says why and what to do.
        WrongThreadError: Julia was started on another thread.

    Examples:
        >>> import pyseminorm
        >>> pyseminorm.start_julia(threads=2)["julia"]  # doctest: +SKIP
        '1.10.8'
        >>> pyseminorm.start_julia(threads=0)
        Traceback (most recent call last):
        pyseminorm.errors.InvalidInputError: threads=0: expected a positive whole number or "auto".
    """
    text = None if threads is None else check_threads(threads, "threads")
    if handle_signals not in (None, True, False):
        raise InvalidInputError(f"handle_signals={handle_signals!r}: expected True, False or None.")
    from .runtime import runtime
    from .startup import StartOptions

    return dict(runtime(StartOptions(text, handle_signals)).versions)
