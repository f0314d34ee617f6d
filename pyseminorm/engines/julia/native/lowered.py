"""Captured graphs as native Julia functions: lowered once, solved without a call of Python."""

from __future__ import annotations

import ctypes
import functools
import operator
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....graphs.joint_graph import JointGraph
from ....graphs.lowering.lower import lower
from ....graphs.lowering.writer import LoweringError
from ....graphs.traced_field import FormError, Trace
from ....problem.vector_field import EagerVectorField
from ..session.layouts import LoadCall
from ..session.memory import Lent
from ..session.runtime import runtime
from .compiled_function import ELTYPES, NativeField
from .vector_field import JuliaVectorField, Scatter

_version = operator.attrgetter("_version")


def lower_field(field: EagerVectorField, found: Trace, read: list[Tensor]) -> LoweredVectorField:
    """Make Julia code of a captured field.

    Raises:
        FormError: it cannot be made.
    """
    sources = found.graph.tensors(read)
    if found.native is None:
        found.native = _make_field(field, found, sources)
    return LoweredVectorField(field, sources, found.native)


def _make_field(field: EagerVectorField, found: Trace, sources: list[Tensor]) -> LoweredNative:
    spec = field.spec
    if spec.device.type != "cpu" or spec.dtype not in ELTYPES:
        reason = f"the state is {spec.dtype} on {spec.device}: code is made for float32 and float64 on the CPU"
    else:
        try:
            return LoweredNative(found.graph, spec.size, sum(field.sizes), sources)
        except LoweringError as error:
            reason = f"{error} has no Julia code"
    raise FormError(f"func is not lowered to Julia: {reason}; its graph is called back from Julia")


class LoweredNative(NativeField):
    """A lowered graph in Julia, with the memory that it works in."""

    def __init__(self, graph: JointGraph, size: int, params_size: int, sources: list[Tensor]) -> None:
        self._julia = runtime()
        self.module = self._julia.module
        self.module.Kernels.use_blas_b(*_blas_of_torch())
        dtype, count = graph.examples[0].dtype, len(sources)
        code = lower(graph, sources)
        self.size, self.params_size = size, params_size
        sizes = (size, params_size, count, code.constants_size, code.work_size, code.scratch_size)
        self.handle = self.module.lowered_field(ELTYPES[dtype], code.source, *sizes)
        self._take_memory(dtype, 0)
        self.dtype = dtype
        table = int(self.module.lowered_sources(self.handle))
        self._addresses = (ctypes.c_size_t * count).from_address(table) if count else (ctypes.c_size_t * 0)()
        self.gradients: tuple[Scatter, bool] | None = None  # where they are written
        self._loaded: Any = None  # what the pointers and what was made of the tensors stand for

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Point at the tensors, and make what stays the same in a solve."""
        self._own = Lent(tensors, self.dtype)
        self.load_lent(self._own)

    def load_lent(self, lent: Lent, *, by_pass: bool = False) -> bool:
        """Do the same, unless these were the last to be loaded, and have not changed since.

        With ``by_pass`` the pass that follows is to make what stays the same, if it must be made: True.
        """
        versions = list(map(_version, lent.tensors))
        if self._loaded is not None and self._loaded[0]() is lent and self._loaded[1] == versions:
            return False
        self._julia.check_caller()
        self._loaded = None
        self._addresses[:] = lent.addresses
        if not by_pass:
            self.c_functions.call("load", LoadCall(self.address))
        self._loaded = (weakref.ref(lent), versions)
        return by_pass

    def prepare_vjp(self, t: float) -> None:
        """Do nothing: products are part of the code."""

    def check_time(self) -> None:
        """Do nothing: products by time are part of the code."""

    def _arguments(self) -> str:
        return "(It was made from a captured graph.)"


class LoweredVectorField(JuliaVectorField):
    """A captured field as Julia code, which reads the sources of its graph where they are."""

    def __init__(self, field: EagerVectorField, sources: list[Tensor], native: LoweredNative) -> None:
        self.__dict__.update(field.__dict__)
        self.native: LoweredNative = native
        if native.gradients is None:  # equal for all fields of one trace
            self._plan_gradients()
            native.gradients = self.scatter, self.small
        self.scatter, self.small = native.gradients
        self._lent = Lent(sources, native.dtype)
        self.tensors = self._lent.tensors

    def load(self) -> None:
        self.native.load_lent(self._lent)

    def load_for_pass(self, *, by_pass: bool = False) -> bool:
        return self.native.load_lent(self._lent, by_pass=by_pass)

    @property
    def moves(self) -> list[tuple[int, int, int]]:
        """Gradients come out by target, in order."""
        return [(0, 0, sum(self.sizes))] if self.sizes else []


@functools.cache
def _blas_of_torch() -> tuple[int, int]:
    """Return addresses of sgemm and dgemm (with 32-bit integers) in PyTorch's own library, or zeros.

    It is the faster BLAS where Julia has a plain OpenBLAS, and it keeps one pool of threads in the process.
    """
    folder = Path(torch.__file__).parent / "lib"
    for path in sorted(folder.glob("libtorch_cpu.*")):
        try:
            library = ctypes.CDLL(str(path))
            found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in ("sgemm_", "dgemm_")]
        except (OSError, AttributeError):
            continue
        if all(found):
            return int(found[0] or 0), int(found[1] or 0)
    return 0, 0
