"""Which engine runs a problem: decided before any work, never by a download, never with a silent copy."""

from __future__ import annotations

import logging

import torch

from ..errors import BackendUnavailableError, InvalidInputError
from ..state import StateSpec
from .interface import METHODS, Engine
from .torch.engine import TorchEngine

logger = logging.getLogger("pyseminorm")

BACKENDS = ("auto", "torch", "julia")
_TORCH = TorchEngine()
_told: set[str] = set()


def select_engine(backend: str, spec: StateSpec, methods: tuple[str, ...]) -> Engine:
    """The engine for ``backend`` ("auto", "torch" or "julia") and a state like ``spec``.

    Raises:
        InvalidInputError: unknown backend or method.
        BackendUnavailableError: "julia" where there is no Julia, or for a state that it cannot alias.
    """
    if backend not in BACKENDS:
        raise InvalidInputError(f"backend={backend!r} is not known: give one of {', '.join(map(repr, BACKENDS))}.")
    foreign = [m for m in methods if m not in METHODS]
    if backend == "torch":
        if foreign:
            raise InvalidInputError(
                f"method={foreign[0]!r} is not known to the embedded engine: give one of {', '.join(METHODS)}"
                f"{_or_julia(foreign[0])}."
            )
        return _TORCH
    if foreign and not _looks_like_algorithm(foreign[0]):
        raise InvalidInputError(
            f'method={foreign[0]!r} is not known: give one of {", ".join(METHODS)}, or, on the engine "julia", the '
            "name of an OrdinaryDiffEq algorithm such as 'Vern9'."
        )
    from .julia import detect  # juliacall itself is imported only when the engine starts

    refusal = _cannot_alias(spec)
    found = detect.find_julia() if refusal is None else None
    reason = refusal or (found.reason if isinstance(found, detect.NoJulia) else None)
    if reason is None:
        from .julia.engine import JuliaEngine

        assert isinstance(found, detect.Julia)
        if backend == "auto":
            _tell(f'backend="auto" picks "julia": {found.source}')
        return JuliaEngine()
    if backend == "julia":
        hint = "" if refusal else detect.HOW_TO_SET_UP
        raise BackendUnavailableError(f'backend="julia" cannot be used here: {reason}. {hint or _USE_TORCH}')
    if foreign:
        raise BackendUnavailableError(
            f'method={foreign[0]!r} needs the engine "julia", which cannot be used here: {reason}. '
            f"{'' if refusal else detect.HOW_TO_SET_UP}"
        )
    _tell(f'backend="auto" picks "torch": {reason}')
    return _TORCH


_USE_TORCH = 'Use backend="torch", or move the state yourself: no engine copies between devices.'


def _cannot_alias(spec: StateSpec) -> str | None:
    """Why the Julia engine cannot work on the memory of such a state, or None."""
    if spec.device.type != "cpu":
        return f"the state is on {spec.device}, and the Julia engine works on CPU memory"
    if spec.dtype not in (torch.float32, torch.float64):
        return f"the state has dtype {spec.dtype}, and the Julia engine works on float32 and float64"
    return None


def _looks_like_algorithm(name: str) -> bool:
    return isinstance(name, str) and name.isidentifier() and name[:1].isupper()


def _or_julia(name: str) -> str:
    return f', or use backend="julia" for OrdinaryDiffEq\'s {name}' if _looks_like_algorithm(name) else ""


def _tell(message: str) -> None:
    if message not in _told:
        _told.add(message)
        logger.info(message)
