"""The C functions that the Julia solver calls: torch code reading and writing the solver's own buffers.

Exceptions cannot pass through C: a callback that raises keeps its exception and tells Julia to stop; the engine raises
it again as itself once Julia has returned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from .clock import Place, timed

_RHS = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_double)
_REGISTER = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_NODES = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int)
_NORM = ctypes.PYFUNCTYPE(ctypes.c_double, ctypes.c_void_p, ctypes.c_int64)


def tensor_at(address: int, length: int, dtype: torch.dtype) -> Tensor:
    """A tensor over ``length`` elements of foreign memory; valid as long as Julia keeps the buffer."""
    raw = (ctypes.c_char * (length * dtype.itemsize)).from_address(address)
    return torch.frombuffer(raw, dtype=dtype)


class SolverCallbacks:
    """Callbacks for one solve.

    ``right_hand_side(t, z, dz)`` gets the solver's buffers as tensors: it must fill ``dz`` and keep neither. ``norm``
    is a user's norm of a residual, given a copy.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        right_hand_side: Callable[[float, Tensor, Tensor], None],
        norm: Callable[[Tensor], float] | None = None,
        evaluate_nodes: Callable[[int], None] | None = None,
    ) -> None:
        self._dtype = dtype
        self._right_hand_side = timed(Place.CALLBACK, right_hand_side)
        self._user_norm = timed(Place.CALLBACK, norm)
        self._evaluate_nodes = timed(Place.CALLBACK, evaluate_nodes)
        self._buffers: list[Tensor] = []
        self._error: BaseException | None = None
        self._c = (_RHS(self._call), _REGISTER(self._register), _NORM(self._norm), _NODES(self._nodes))

    @property
    def call(self) -> int:
        return _address(self._c[0])

    @property
    def register(self) -> int:
        return _address(self._c[1])

    @property
    def norm(self) -> int:
        return 0 if self._user_norm is None else _address(self._c[2])

    @property
    def nodes(self) -> int:
        return _address(self._c[3])

    @property
    def raised(self) -> BaseException | None:
        """The exception that a callback raised during the solve, if any."""
        return self._error

    def close(self) -> None:
        """Drop the views of solver memory and the cycle through the C functions."""
        self._buffers.clear()
        del self._c

    def _call(self, slot_dz: int, slot_z: int, t: float) -> int:
        try:
            self._right_hand_side(t, self._buffers[slot_z], self._buffers[slot_dz])
        except BaseException as error:
            self._error = error
            return 0
        return 1

    def _register(self, slot: int, address: int, length: int) -> int:
        try:
            assert slot == len(self._buffers)
            self._buffers.append(tensor_at(address, length, self._dtype))
        except BaseException as error:
            self._error = error
            return 0
        return 1

    def _nodes(self, count: int) -> int:
        assert self._evaluate_nodes is not None
        try:
            self._evaluate_nodes(count)
        except BaseException as error:
            self._error = error
            return 0
        return 1

    def _norm(self, address: int, length: int) -> float:
        assert self._user_norm is not None
        try:
            return self._user_norm(tensor_at(address, length, self._dtype).clone())
        except BaseException as error:
            self._error = error
            return -1.0


def _address(function: ctypes._FuncPointer) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
