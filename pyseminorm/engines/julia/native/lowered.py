"""Captured graphs as native Julia functions: lowered once, solved without a call of Python."""

from __future__ import annotations

import ctypes
import functools
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....graphs.joint_graph import JointGraph
from ....graphs.lowering.writer import LoweringError, Writer
from ....graphs.traced_field import FormError, Trace
from ....problem.parameters import as_real
from ....problem.state import StateSpec
from ....torch_internals import count_all_writes
from ..calls.settings import ELTYPES
from ..session.layouts import LoadCall
from ..session.memory import Lent
from ..session.runtime import runtime
from .compiled_function import NativeField
from .vector_field import JuliaVectorField, plan_gradients


def _lower(inputs: list[Tensor], found: Trace, sources: list[Tensor]) -> LoweredNative:
    """Make Julia code of a captured function; raise a FormError where it cannot be made."""
    spec = found.spec
    if spec.device.type != "cpu" or spec.dtype not in ELTYPES:
        reason = f"the state is {spec.dtype} on {spec.device}: code is made for float32 and float64 on the CPU"
    else:
        try:
            return LoweredNative(found.graph, spec, inputs, sources)
        except LoweringError as error:
            reason = f"{error} has no Julia code"
    raise FormError(f"func is not lowered to Julia: {reason}; its graph is called back from Julia")


class LoweredNative(NativeField):
    """A lowered graph in Julia, with the memory that it works in, and what is equal for all its `JuliaVectorField`s."""

    def __init__(self, graph: JointGraph, spec: StateSpec, inputs: list[Tensor], sources: list[Tensor]) -> None:
        self.spec = spec
        real = list(map(as_real, inputs))
        self.shapes, self.sizes = [x.shape for x in real], tuple(x.numel() for x in real)
        self._julia = runtime()
        self.module = self._julia.module
        self.module.Kernels.use_blas_b(*_blas_of_torch())
        dtype, count = graph.examples[0].dtype, len(sources)
        code = Writer(graph, sources)
        self.size, self.params_size = spec.size, sum(self.sizes)
        self.moves = [(0, 0, self.params_size)] if self.sizes else []  # gradients come out by target, in order
        self.scatter, self.small = plan_gradients(self.moves, inputs, dtype)
        sizes = (self.size, self.params_size, count, code.constants_size, code.work_size, code.scratch_size)
        self.handle = self.module.lowered_field(ELTYPES[dtype], code.source, *sizes)
        self._take_memory(dtype, 0)
        self.dtype = dtype
        table = int(self.module.lowered_sources(self.handle))
        self._addresses = (ctypes.c_size_t * count).from_address(table) if count else (ctypes.c_size_t * 0)()
        self._loaded: Any = None  # the field that the pointers and what was made of the tensors stand for

    def load_field(self, field: LoweredVectorField, lent: Lent, *, by_pass: bool) -> bool:
        """Point at the tensors of a field, and make what stays the same in a solve, unless it was the last one loaded.

        With ``by_pass`` the pass that follows is to make what stays the same, if it must be made: True.
        """
        if self._loaded is not None and self._loaded() is field:
            return False
        self._loaded = None
        self._addresses[:] = lent.addresses
        if not by_pass:
            self._julia.check_caller()
            self.c_functions.call("load", LoadCall(self.address))
        self._loaded = weakref.ref(field)
        return by_pass

    def prepare_vjp(self, t: float) -> None:
        """Do nothing: products are part of the code."""

    def check_time(self) -> None:
        """Do nothing: products by time are part of the code."""

    def _arguments(self) -> str:
        return "(It was made from a captured graph.)"


class LoweredVectorField(JuliaVectorField):
    """A captured field as Julia code, which reads the sources of its graph where they are."""

    def __init__(self, inputs: list[Tensor], found: Trace, read: list[Tensor]) -> None:
        self.tensors = found.graph.tensors(read)
        if found.native is None:
            found.native = _lower(inputs, found, self.tensors)
        native: LoweredNative = found.native
        self.native = native
        self.spec, self.shapes, self.sizes = native.spec, native.shapes, native.sizes
        self.scatter, self.small, self.moves = native.scatter, native.small, native.moves
        self.inputs = self.targets = inputs
        self.random_from = None
        self._load, self._lent = native.load_field, Lent(self.tensors, native.dtype)
        self._counts = count_all_writes(self.tensors)

    @property
    def is_lasting(self) -> bool:
        return not self._lent.copied

    def again(self) -> LoweredVectorField:
        made = object.__new__(LoweredVectorField)
        made.__dict__.update(self.__dict__, _counts=count_all_writes(self.tensors))
        return made

    def load(self, *, by_pass: bool = False) -> bool:
        return self._load(self, self._lent, by_pass=by_pass)

    def restore(self) -> None:
        self.load()

    def settle(self) -> None:
        """Do nothing: the tensors are read as they were when this was made."""


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
