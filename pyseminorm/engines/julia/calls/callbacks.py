"""The C functions that the Julia solver calls: torch code reading and writing the solver's own buffers.

Exceptions cannot pass through C: a callback that raises keeps its exception and tells Julia to stop; the engine raises
it again as itself once Julia has returned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..session.c_functions import address_of
from ..session.layouts import PROTOTYPES
from ..session.memory import array_type
from ..session.profiling_clock import Place, clock_calls
from ..session.signals import DeferredSignals
from .looks import RAISED_THERE, Looks


class SolverMemory:
    """Tensors over memory that Julia owns, valid as long as Julia keeps it, on one device and of one dtype."""

    def __init__(self, like: Tensor) -> None:
        self._dtype, self._device, self._on_cuda = like.dtype, like.device, like.is_cuda

    def at(self, address: int, length: int) -> Tensor:
        """Return a vector of ``length`` elements at ``address``."""
        if self._on_cuda:
            interface = {"shape": (length,), "typestr": f"<f{self._dtype.itemsize}", "data": (address, False)}
            memory = SimpleNamespace(__cuda_array_interface__=interface | {"version": 3})
            return torch.as_tensor(memory, device=self._device)
        raw = array_type(ctypes.c_char, length * self._dtype.itemsize).from_address(address)
        return torch.frombuffer(raw, dtype=self._dtype)

    def finish(self) -> None:
        """Wait for torch's work on a device, which Julia is going to read."""
        if self._on_cuda:
            torch.cuda.current_stream(self._device).synchronize()


def _keep_errors(failed: float) -> Callable[[Callable[..., float | None]], Callable[..., float]]:
    """Make a method one that C can enter: what it raises is kept, and C gets ``failed``; else its value, or 1."""

    def decorate(method: Callable[..., float | None]) -> Callable[..., float]:
        def enter(self: SolverCallbacks, *arguments: Any) -> float:
            try:
                self.signals.check()
                value = method(self, *arguments)
            except BaseException as error:
                self.raised = error
                return failed
            return 1 if value is None else value

        return enter

    return decorate


def _and_then(function: Callable[..., Any], restore: Callable[[], object] | None) -> Callable[..., Any]:
    if restore is None:
        return function

    def call(*arguments: Any) -> Any:
        value = function(*arguments)
        restore()
        return value

    return call


class SolverCallbacks:
    """Callbacks for one solve of states like ``like``; ``signals`` is the context of a call that enters them.

    ``right_hand_side(t, z, dz)`` gets the solver's buffers, fills ``dz`` and keeps neither (None: Julia has its own);
    all others get copies: a user's ``norm``, ``jacobian(t, z)``, which returns derivatives by state and time,
    ``report(accepted, t, z, dt)``. ``evaluate_nodes`` is told how many quadrature nodes there are (negative: see
    `Evaluator` in Julia). ``sums(what, number)`` has mu where it is not a part of the state; then ``right_hand_side``
    is told, too, whether they want its derivative. ``restore`` runs after every callback, which may have solved
    another problem by the same native function.
    """

    def __init__(
        self,
        like: Tensor,
        right_hand_side: Callable[..., None] | None,
        norm: Callable[[Tensor], float] | None = None,
        *,
        evaluate_nodes: Callable[[int], float] | None = None,
        jacobian: Callable[[float, Tensor], tuple[Tensor, Tensor]] | None = None,
        report: Callable[[bool, float, Tensor, float], None] | None = None,
        looks: Looks | None = None,
        sums: Callable[[int, float], float] | None = None,
        restore: Callable[[], object] | None = None,
    ) -> None:
        self._memory = SolverMemory(like)
        self._looks, self._has_sums = looks, sums is not None
        given: dict[str, Any] = {
            "evaluate": right_hand_side, "norm": norm, "evaluate_nodes": evaluate_nodes, "jacobian": jacobian,
            "report": report, "look": looks and looks.look, "sums": sums,
        }  # fmt: skip
        given = {name: _and_then(function, restore) for name, function in given.items() if function}
        self._user = {name: clock_calls(Place.CALLBACK, function) for name, function in given.items()}
        self._buffers: list[Tensor] = []
        self.raised: BaseException | None = None  # by a callback
        self.signals = DeferredSignals(self._evaluate.__code__)  # that of `enter`, for every callback
        self._c: dict[str, ctypes._FuncPointer] = {}

    def address(self, name: str) -> int:
        """Return where C finds one of `CALLBACKS`, which stays there until `close`; 0: there is none."""
        if name not in self._user and name != "register":
            return 0
        if name not in self._c:
            self._c[name] = PROTOTYPES[name](getattr(self, f"_{name}"))
        return address_of(self._c[name])

    @property
    def arguments(self) -> dict[str, int]:
        """Addresses of the functions that a C function of Julia calls, by the names of its arguments."""
        return {name: self.address(name) for name in ("evaluate", "register", "norm", "jacobian", "report")}

    @property
    def looking(self) -> tuple[int, int, int]:
        """Addresses of what looks for events, and of its times and states; 0: none."""
        return (0, 0, 0) if self._looks is None else (self.address("look"), *self._looks.addresses)

    def close(self) -> None:
        """Drop the views of solver memory and the cycle through the C functions."""
        self._buffers.clear()
        self._c.clear()

    @_keep_errors(failed=0)
    def _evaluate(self, slot_dz: int, slot_z: int, t: float, params: int) -> None:
        wanted = (bool(params),) if self._has_sums else ()
        self._user["evaluate"](t, self._buffers[slot_z], self._buffers[slot_dz], *wanted)
        self._memory.finish()

    @_keep_errors(failed=-1.0)
    def _sums(self, what: int, number: float) -> float:
        return float(self._user["sums"](what, number))

    @_keep_errors(failed=0)
    def _register(self, slot: int, address: int, length: int) -> None:
        assert slot == len(self._buffers)
        self._buffers.append(self._memory.at(address, length))

    @_keep_errors(failed=-1.0)
    def _evaluate_nodes(self, count: int) -> float:
        found: float = self._user["evaluate_nodes"](count)
        return found

    @_keep_errors(failed=-1.0)
    def _norm(self, address: int, length: int) -> float:
        return float(self._user["norm"](self._memory.at(address, length).clone()))

    @_keep_errors(failed=0)
    def _jacobian(self, what: int, out: int, address: int, length: int, t: float) -> None:
        by_state, by_time = self._user["jacobian"](t, self._memory.at(address, length).clone())
        if what == 0:  # Julia's matrices are column major
            self._memory.at(out, length * length).view(length, length).copy_(by_state.T)
        else:
            self._memory.at(out, length).copy_(by_time)
        self._memory.finish()

    @_keep_errors(failed=RAISED_THERE)
    def _look(self, t0: float, t1: float) -> float:
        return int(self._user["look"](t0, t1))

    @_keep_errors(failed=0)
    def _report(self, accepted: int, t: float, dt: float, address: int, length: int) -> None:
        self._user["report"](bool(accepted), t, self._memory.at(address, length).clone(), dt)
