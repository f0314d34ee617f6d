"""A function written in Julia, made ready for one shape of the state: its values and its products, through torch."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ....errors import BackendUnavailableError, InvalidInputError, JuliaFunctionError, UnsupportedError
from ..calls.callbacks import SolverMemory
from ..calls.settings import ELTYPES
from ..session.runtime import Runtime, runtime

logger = logging.getLogger("pyseminorm")

CHOICES = ("auto", "enzyme", "reversediff", "zygote")

_SENSITIVITY = "SciMLSensitivity"
_OWN_PRODUCT = 'a product of your own, vjp="(dλ, dp, λ, u, p, t) -> ..."'


class Code:
    """What the user gave as ``function`` and ``vjp``: source texts or Julia functions, evaluated at the first use.

    Equal texts are evaluated once in a process, so that equal models compile once.
    """

    def __init__(self, function: Any, vjp: Any) -> None:
        self.function, self.vjp = _check_code("function", function), _check_code("vjp", vjp)
        if isinstance(vjp, str) and vjp.isidentifier() and vjp not in CHOICES:
            raise InvalidInputError(
                f"vjp={vjp!r} is not known: give one of {', '.join(map(repr, CHOICES))}, or Julia source of a function "
                "vjp!(dλ, dp, λ, u, p, t)."
            )

    @property
    def choice(self) -> str | None:
        """The name of a choice of SciMLSensitivity's; None where the user gave a product."""
        return self.vjp if isinstance(self.vjp, str) and self.vjp in CHOICES else None

    def evaluate(self, julia: Runtime) -> tuple[Any, Any]:
        """Return the Julia functions f! and vjp! (None for a choice by name)."""
        evaluate = _evaluate_text if self.is_text else _evaluate
        return evaluate(julia, self.function, None if self.choice else self.vjp)

    @property
    def is_text(self) -> bool:
        return isinstance(self.function, str) and isinstance(self.vjp, str)

    def __deepcopy__(self, memo: Any) -> Code:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_text:
            raise UnsupportedError("a JuliaFunction made from a Julia object cannot be pickled: give it source text.")
        return Code, (self.function, self.vjp)


def _evaluate(julia: Runtime, function: Any, vjp: Any) -> tuple[Any, Any]:
    *functions, message = julia.module.evaluate_sources(function, vjp)
    if message:
        raise InvalidInputError(f"the source of this JuliaFunction cannot be evaluated: {message}")
    return functions[0], functions[1]


_evaluate_text = functools.cache(_evaluate)


def _check_code(name: str, code: Any) -> Any:
    if isinstance(code, str) and code.strip():
        return code
    juliacall = sys.modules.get("juliacall")
    if juliacall is not None and isinstance(code, juliacall.AnyValue):
        return code
    raise InvalidInputError(
        f"{name}={code!r}: expected Julia source text, or a Julia function as juliacall gives it. (A Python function "
        "needs no JuliaFunction: give it to solve.)"
    )


class NativeField:
    """A Julia function for one dtype, shape of the state and shapes of the parameters.

    ``tensors`` are the parameters in order; ``names`` is None where f! gets one array (or nothing). Values and products
    go through vectors that Julia owns and that live as long as this object; ``u`` is the one of the state. ``loads``:
    how often parameters have been read.
    """

    loads = 0

    def __init__(
        self, code: Code, dtype: torch.dtype, shape: Sequence[int], names: Sequence[str] | None, tensors: list[Tensor]
    ) -> None:
        self._julia = runtime()
        self._code, self.module = code, self._julia.module
        function, self._vjp = code.evaluate(self._julia)
        shapes = tuple(tuple(x.shape) for x in tensors)
        keys = None if names is None else tuple(names)
        self.handle = self.module.native_field(function, ELTYPES[dtype], tuple(shape), keys, shapes)
        if not self.module.native_fits(self.handle):
            raise InvalidInputError(
                "the Julia function takes no arguments (du, u, p, t): expected an in-place function of four arguments. "
                + self._arguments()
            )
        self.size, self.params_size = torch.Size(shape).numel(), sum(x.numel() for x in tensors)
        self._take_memory(dtype, self.params_size)
        self._ready = False

    def _take_memory(self, dtype: torch.dtype, params_size: int) -> None:
        """Return views of Julia's vectors: the parameters (``params_size`` of them), and those of a workspace."""
        self.c_functions, self.address = self._julia.c_functions, int(self.module.address_of(self.handle))
        self.prepared: dict[str, Any] = {}
        n, m, memory = self.size, self.params_size, SolverMemory(torch.empty(0, dtype=dtype))
        views = [
            memory.at(int(address), length) if length else torch.empty(0, dtype=dtype)
            for address, length in zip(
                self.module.native_memory(self.handle), (params_size, n, n, n, n, m), strict=True
            )
        ]
        self._theta, self.u, self._adjoint, self._value, self._state, self._params = views

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Read the parameters, as they are now."""
        self._julia.check_caller()
        self.loads += 1
        if tensors:
            torch.cat([x.detach().reshape(-1) for x in tensors], out=self._theta)

    def value(self, t: float, y: Tensor) -> Tensor:
        """Return f(t, y), a new vector (size,), for ``y`` with as many elements."""
        self._julia.check_caller()
        self.u.copy_(y.reshape(-1))
        self._value.fill_(torch.nan)  # seen where f! does not write all of du
        self._check(self.module.native_value_b(self.handle, t))
        return self._value.clone()

    def vjp(
        self, t: float, y: Tensor, adjoint: Tensor, *, value: bool, params: bool, time: bool
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """Return f, adj df/dy (size,), adj df/dtheta (one vector), adj df/dt; what is not asked for is void."""
        self.prepare(t, y)
        if time:
            self.check_time()
        self._adjoint.copy_(adjoint.reshape(-1))
        self._check(self.module.native_vjp_b(self.handle, t, value, True, params))
        moment = 0.0
        if time:
            moment, message = self.module.native_vjp_time(self.handle, t)
            self._check(message)
        return self._value.clone(), self._state.clone(), self._params.clone(), moment

    def prepare(self, t: float, y: Tensor) -> None:
        """Set the state, and find a way to differentiate f at it, once; raise by name where there is none."""
        self._julia.check_caller()
        self.u.copy_(y.reshape(-1))
        self.prepare_vjp(t)

    def prepare_vjp(self, t: float) -> None:
        """Do the same at the state that was set before."""
        if self._ready:
            return
        if self._code.choice is None:
            self._take_given()
        else:
            self._ask_sensitivity(self._code.choice, t)
        self._ready = True

    def _take_given(self) -> None:
        if not self.module.native_fits(self.handle, self._vjp):
            raise InvalidInputError(
                "the given vjp takes no arguments (dλ, dp, λ, u, p, t): expected an in-place function of these six. "
                + self._arguments()
            )
        self.module.given_vjp_b(self.handle, self._vjp)

    def _ask_sensitivity(self, choice: str, t: float) -> None:
        if _SENSITIVITY not in self._julia.versions:
            logger.info(f"loading {_SENSITIVITY} for the gradients of a JuliaFunction, which takes some seconds")
        if not self._julia.load(_SENSITIVITY):
            raise BackendUnavailableError(
                f"gradients of this JuliaFunction need {_SENSITIVITY}, which the Julia project lacks: add it "
                f'(`using Pkg; Pkg.add("{_SENSITIVITY}")`), or give {_OWN_PRODUCT}.'
            )
        found, message = self.module.sciml_vjp_b(self.handle, choice, t)
        if message:
            raise UnsupportedError(
                f"vjp={choice!r} cannot differentiate this JuliaFunction ({message}). Write it for any element type "
                f"(`similar(u)`, no Float64 buffers), or give another of {', '.join(map(repr, CHOICES))}, or "
                f"{_OWN_PRODUCT}."
            )
        logger.info(f"vjp={choice!r} of a JuliaFunction is {found}")

    def check_time(self) -> None:
        """Refuse adj df/dt by name where it is not known."""
        if self._code.choice is None:
            raise UnsupportedError(
                "the derivative of a JuliaFunction by t is not known with a vjp of your own, which gives λᵀ∂f/∂u and "
                'λᵀ∂f/∂p: for torchdiffeq\'s two norms and for gradients by t inside a model use vjp="auto".'
            )

    def failure(self) -> JuliaFunctionError | None:
        """Return what f! or vjp! raised in the last solve."""
        message = self.module.native_failure(self.handle)
        return self._error(message) if message else None

    def _check(self, message: str) -> None:
        if message:
            raise self._error(message)

    def _error(self, message: str) -> JuliaFunctionError:
        return JuliaFunctionError(f"the Julia function raised {message}. {self._arguments()}")

    def _arguments(self) -> str:
        return f"Arrays arrive with torch's dimensions reversed: {self.module.native_arguments(self.handle)}."
