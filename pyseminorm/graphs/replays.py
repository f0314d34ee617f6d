"""Compiled steps on a CUDA device as one launch each: their kernels, recorded once as a CUDA graph, are replayed.

A recording reads and writes fixed memory. Arguments are copied into it before a replay, and results out of it after it,
so that no tensor that anybody holds is written by a later replay.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import first_line
from ..torch_internals import compile_graph, copy_all, count_all_writes
from .checked_steps import check_compiled_step

logger = logging.getLogger("pyseminorm")

# Recording is a state of the process, and the memory of a recording is one call's at a time.
_ALONE = threading.Lock()

Made = list[Tensor]


def can_replay(arguments: Sequence[Tensor]) -> bool:
    """Tell whether a step with these arguments can be recorded: what is read from the host would never change."""
    return all(x.is_cuda for x in arguments) and len({x.device for x in arguments}) == 1


class Replays:
    """The steps of one field as recordings, which share the memory that its constants are copied to.

    Calling it compiles a function of flat tensors, of which the first ``constants`` stay the same in a solve.
    """

    def __init__(self, constants: int) -> None:
        self._constants = constants
        self._memory: dict[Any, Memory] = {}  # of every stream

    @property
    def begun(self) -> bool:
        """Tell whether constants have been copied."""
        return bool(self._memory)

    def __call__(
        self, function: Callable[..., Made], arguments: Sequence[Tensor], errors: int | None = None
    ) -> Callable[[list[Tensor]], Made]:
        n = self._constants
        with _ALONE:
            memory = self.load(arguments)
            examples = [*memory.constants, *map(torch.clone, arguments[n:])]
        compiled = compile_graph(function, examples)
        check_compiled_step(compiled, function, examples, errors)
        recordings: dict[Memory, Recording] = {}

        def step(arguments: list[Tensor]) -> Made:
            with _ALONE, torch.no_grad():
                memory = self.load(arguments)
                if memory not in recordings:
                    recordings[memory] = Recording(compiled, memory, arguments[n:])
                return recordings[memory](arguments[n:])

        return step

    def load(self, arguments: Sequence[Tensor]) -> Memory:
        """Return the memory for the present stream, with the constants among the arguments in it.

        What one stream has begun to replay, another must not write.
        """
        stream = present_stream(arguments[-1].device)
        if stream not in self._memory:
            laid_out = next(iter(self._memory.values())).constants if self._memory else arguments[: self._constants]
            self._memory[stream] = Memory(laid_out)
        self._memory[stream].load(arguments[: self._constants])
        return self._memory[stream]


class Memory:
    """Copies of the tensors that stay the same in a solve, laid out like some, which recordings of one stream read."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        self.constants = [torch.empty_like(x) for x in like]
        self._taken: list[weakref.ref[Tensor]] = []
        self._counts: list[int] = []

    def load(self, given: Sequence[Tensor]) -> None:
        """Copy tensors, unless they are the very ones that were copied last, and unchanged since.

        Another solve has others: fused optimisers, and what is written through ``x.data``, count no change.
        """
        counts = count_all_writes(given)
        if counts == self._counts and all(taken() is x for taken, x in zip(self._taken, given, strict=True)):
            return
        if given:
            copy_all(self.constants, given)
        self._taken, self._counts = [weakref.ref(x) for x in given], counts


class Recording:
    """A compiled step, recorded for one memory; where it cannot be recorded, its kernels are launched one by one."""

    def __init__(self, step: Callable[[list[Tensor]], Made], memory: Memory, arguments: Sequence[Tensor]) -> None:
        self._inputs = [torch.empty_like(x) for x in arguments]
        copy_all(self._inputs, arguments)
        self._call: Callable[[], Made] = lambda: list(step([*memory.constants, *self._inputs]))
        self._made: Made = []
        self._replay: Callable[[], None] | None = None
        try:
            self._made, self._replay = record(self._call, self._inputs[0].device)
        except Exception as error:  # whatever cannot be captured
            logger.info(f"a step cannot be a CUDA graph, and its kernels are launched one by one ({first_line(error)})")

    def __call__(self, arguments: Sequence[Tensor]) -> Made:
        copy_all(self._inputs, arguments)
        if self._replay is None:
            return self._call()
        self._replay()
        copies = [torch.empty_like(x) for x in self._made]
        copy_all(copies, self._made)
        return copies


def present_stream(device: torch.device) -> Any:
    """Return which stream a device is given work on now."""
    return device.index, torch.cuda.current_stream(device).cuda_stream


def record(call: Callable[[], Made], device: torch.device) -> tuple[Made, Callable[[], None]]:
    """Return what a call makes, and what makes it again, in the same memory, by one launch.

    It is called once before it is recorded, for what is set up at a first use: handles of libraries, tuned kernels.
    """
    graph, present = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(present):  # which an error in the midst of a recording leaves
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            call()
        present.wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            made = call()
    return made, graph.replay
