"""Which engine runs a problem: decided before any work, never by a download, never with a silent copy."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any

import torch

from ..arguments import check_choice
from ..errors import BackendUnavailableError, InvalidInputError
from ..methods.tableaus import EMBEDDED_METHODS, JULIA_METHODS, method_name
from ..passes.problems import Engine
from ..problem.state import StateSpec
from ..stepping import Algorithm, TorchdiffeqController, is_julia_object

logger = logging.getLogger("pyseminorm")


@functools.cache
def _torch_engine() -> Engine:
    from .torch.engine import TorchEngine

    return TorchEngine()


def select_engine(
    backend: str,
    spec: StateSpec,
    methods: tuple[Any, ...],
    controllers: tuple[Any, ...] = (),
    embedded: tuple[str, ...] = (),
) -> Engine:
    """Return the engine for ``backend`` ("auto", "torch" or "julia") and a state like ``spec``.

    ``embedded``: what is asked for that the embedded engine alone has, in words.

    Raises:
        InvalidInputError: unknown backend or method.
        BackendUnavailableError: "julia" where there is no Julia, or for a state that it cannot alias.
    """
    check_choice("backend", backend, ("auto", "torch", "julia"))
    foreign = [f"method={m!r}" for m in methods if not _is_embedded(m)]
    foreign += [f"controller={c!r}" for c in controllers if is_julia_object(c)]
    if backend == "torch":
        if foreign:
            raise InvalidInputError(
                f"{foreign[0]} is not known to the embedded engine: give one of {', '.join(EMBEDDED_METHODS)}"
                f"{_OR_JULIA if all(_looks_like_algorithm(m) or _is_embedded(m) for m in methods) else ''}."
            )
        return _torch_engine()
    for method in methods:
        if not (_is_embedded(method) or _looks_like_algorithm(method)):
            raise InvalidInputError(
                f'method={method!r} is not known: give {", ".join(EMBEDDED_METHODS)}; on the engine "julia" also '
                "an OrdinaryDiffEq algorithm by its name such as 'Vern9', an Algorithm, or one that Julia made."
            )
    alone = [f"method={m!r}" for m in methods if _is_embedded(m) and m not in JULIA_METHODS]
    alone += embedded
    alone += ['controller="torchdiffeq"' for c in controllers if isinstance(c, TorchdiffeqController)]
    if alone:
        _check_embedded(alone[0], foreign, backend)
        return _torch_engine()
    from .julia.session import detect  # juliacall itself is imported only when the engine starts

    refusal = _cannot_alias(spec, backend) or (detect.runs_elsewhere() if backend == "auto" else None)
    found = detect.find_julia() if refusal is None else None
    reason = refusal or (found.reason if isinstance(found, detect.NoJulia) else None)
    if reason is None:
        from .julia.engine import JuliaEngine

        assert isinstance(found, detect.Julia)
        if backend == "auto":
            _log_once(f'backend="auto" picks "julia": {found.source}')
        return JuliaEngine.on(spec.device)
    if backend == "julia" or foreign:
        asked = 'backend="julia"' if backend == "julia" else f'{foreign[0]} needs the engine "julia", which'
        hint = detect.HOW_TO_SET_UP if refusal is None else _USE_TORCH if backend == "julia" else ""
        hint = _meant(methods) + hint if foreign else hint
        raise BackendUnavailableError(f"{asked} cannot be used here: {reason}. {hint}")
    _log_once(f'backend="auto" picks "torch": {reason}')
    return _torch_engine()


_OF_SCIPY = {"rk23": "bosh3", "rk45": "dopri5", "dop853": "dopri8", "radau": "radauIIA5"}


def _meant(methods: Iterable[Any]) -> str:
    """Return which of the embedded engine's methods names stand for in another spelling, or in SciPy, in words."""
    known = {_plain(method): method for method in EMBEDDED_METHODS} | _OF_SCIPY
    names = [method for method in methods if isinstance(method, str) and not _is_embedded(method)]
    found = [known[_plain(name)] for name in names if _plain(name) in known]
    return "".join(f"The embedded engine has method={method!r}. " for method in found)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


_USE_TORCH = 'Use backend="torch", or move the state yourself: no engine copies between devices.'


def _cannot_alias(spec: StateSpec, backend: str) -> str | None:
    """Return why the Julia engine cannot work on the memory of such a state, or None."""
    if spec.device.type == "cuda" and backend == "auto":
        return f'the state is on {spec.device}; backend="julia" uses CUDA.jl there, where the project has it'
    if spec.device.type not in ("cpu", "cuda"):
        return f"the state is on {spec.device}, and the Julia engine works on CPU and CUDA memory"
    if spec.dtype not in (torch.float32, torch.float64):
        return f"the state has dtype {spec.dtype}, and the Julia engine works on float32 and float64"
    if spec.size == 0:
        return "the state has no elements, and the Julia engine works on memory"
    return None


def _check_embedded(alone: str, foreign: list[str], backend: str) -> None:
    """Refuse what the embedded engine alone has, where the other engine is asked for, or needed."""
    if backend == "julia":
        kind = "not one of OrdinaryDiffEq" if alone.startswith("method") else "the embedded engine's alone"
        raise InvalidInputError(f'{alone} is {kind}: give backend="torch", whose engine has it.')
    if foreign:
        raise InvalidInputError(f"{alone} is the embedded engine's alone, and {foreign[0]} is Julia's: give either.")


def _is_embedded(method: Any) -> bool:
    return bool(method_name(method))


def _looks_like_algorithm(method: Any) -> bool:
    if isinstance(method, str):
        return method.isidentifier() and method[:1].isupper()
    return isinstance(method, Algorithm) or is_julia_object(method)


_OR_JULIA = ', or use backend="julia", which has every OrdinaryDiffEq algorithm and controller'


@functools.cache
def _log_once(message: str) -> None:
    logger.info(message)
