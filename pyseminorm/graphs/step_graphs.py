"""The steps of one trace, each compiled where it is first run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import first_line
from ..problem.state import StateSpec
from ..torch_internals import compile_graph, guard_tensors
from .checked_steps import check_compiled_step
from .functions import Functions
from .replays import Replays, can_replay
from .steps import Inlined, StepKind
from .workspaces import keep_buffers

logger = logging.getLogger("pyseminorm")

Step = Callable[[list[Tensor]], Sequence[Tensor]]


class StepGraphs:
    """The steps of one trace, each compiled where it is first asked for.

    Attributes:
        field: what they call.
    """

    def __init__(self, functions: Functions, spec: StateSpec, places: tuple[int, ...]) -> None:
        self.field = Inlined(functions, spec, places)
        self._made: dict[StepKind, list[_Compiled]] = {}  # one for each form of the arguments
        self._zeros: list[Tensor] = []
        self._replays = Replays(max(places, default=-1) + 1)

    def zeros(self, adjoints: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return zeros like a row of adjoints and like the inputs that are present; few of them are made once."""
        if self._zeros:
            return self._zeros
        made = [adjoints.new_zeros(adjoints.shape[1]), *(torch.zeros_like(inputs[i]) for i in self.field.present)]
        if adjoints.is_cpu and sum(x.numel() for x in made) <= MOST_ZEROS:  # a device's streams wait for no other
            self._zeros = made
        return made

    def renew(self, constants: list[Tensor]) -> list[Tensor]:
        """Return the constants of another solve, which recordings copy whether or not a count tells of a change."""
        return [x.detach() for x in constants] if self._replays.begun else constants

    def run(self, kind: StepKind, constants: list[Tensor], arguments: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Run a step, without gradient; None where it cannot be compiled, which a log line says once.

        Each of the ``constants`` is there once; those of one trace have one form.
        """
        made = self._find(kind, arguments)
        if made is None:  # where a tensor is there twice, too
            last = {id(x): i for i, x in enumerate(arguments)}
            arguments = [x if last[id(x)] == i else x.detach() for i, x in enumerate(arguments)]
            made = self._find(kind, arguments) or self._add(kind, constants, arguments)
        return None if made.step is None else made.step([*constants, *arguments])

    def _find(self, kind: StepKind, arguments: Sequence[Tensor]) -> _Compiled | None:
        for made in self._made.get(kind, ()):
            if made.fits(*arguments):
                return made
        return None

    def _add(self, kind: StepKind, constants: list[Tensor], arguments: Sequence[Tensor]) -> _Compiled:
        with _ONE_AT_A_TIME:
            made = self._find(kind, arguments)
            if made is not None:  # by another thread
                return made
            forms = self._made.setdefault(kind, [])
            if len(forms) == MOST_FORMS:
                return _Compiled(guard_tensors(()), None)
            forms.append(_Compiled(guard_tensors(arguments), self._compile(kind, [*constants, *arguments])))
            return forms[-1]

    def _compile(self, kind: StepKind, arguments: Sequence[Tensor]) -> Step | None:
        name = type(kind).__name__.lower()
        logger.info(f"compiling a {name} step of func by torch.compile: this takes some seconds, once")
        try:
            with torch.no_grad():
                step = kind.make(self.field)
                if can_replay(arguments):
                    return self._replays(step, arguments, kind.errors)
                compiled = keep_buffers(compile_graph(step, arguments))
                check_compiled_step(compiled, step, arguments, kind.errors)
                return compiled
        except Exception as error:  # whatever the compiler cannot do; an error of func's own comes again
            logger.info(f"a {name} step could not be compiled, and runs as single calls ({first_line(error)})")
            return None


class _Compiled(NamedTuple):
    """A compiled step, and what tells which arguments behind the constants are of its form.

    Without the step: what cannot be compiled.
    """

    fits: Callable[..., bool]
    step: Step | None


_ONE_AT_A_TIME = threading.RLock()  # threads compile: inductor's settings are the process's
MOST_ZEROS = 2**16
MOST_FORMS = 8  # layouts of the tensors of one step; in others it is made stage by stage
