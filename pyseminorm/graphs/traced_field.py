"""`TracedVectorField`: a vector field that runs as the joint graph of its function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..host_copies import send_numbers
from ..problem.solve_tensors import check_unchanged, targets_of
from ..problem.vector_field import Connected, EagerVectorField, FieldArguments, LeafProducts, measure, split_products
from ..torch_internals import count_all_writes
from .capture import Captured, capturing
from .functions import Functions
from .joint_graph import JointGraph, joint_graph
from .split import Wanted
from .step_graphs import StepGraphs
from .steps import Nodes, StepKind


def without_grad() -> AbstractContextManager[None]:
    """Return a context without gradient, which costs nothing where there is none already."""
    return torch.no_grad() if torch.is_grad_enabled() else _NOTHING


_NOTHING = nullcontext()


class FormError(Exception):
    """Why a form of a function cannot be made of its graph; the message is a log line."""


class Trace:
    """What is made of a captured function for some targets of its products: the joint graph, and code of its parts.

    ``native`` is the Julia code, once it is made; ``refused`` and ``verified`` are the forms that cannot be made of it,
    and those that were seen to give func's value.
    """

    def __init__(
        self, captured: Captured, inputs: Sequence[Tensor], read: Sequence[Tensor], t: float, y: Tensor
    ) -> None:
        self.captured, self.spec = captured, captured.spec
        self.graph: JointGraph = joint_graph(captured, read, inputs, t, y)
        self.shapes, self.sizes = measure(inputs)
        self.native: Any = None
        self.refused: set[str] = set()
        self.verified: set[str] = set()
        self._functions: dict[Any, Functions] = {}
        self._steps: dict[tuple[int, ...], StepGraphs] = {}

    def functions(self, compiler: Callable[[Any], Any] | None) -> Functions:
        """Return the graph as Python functions, each passed through ``compiler``."""
        if compiler not in self._functions:
            self._functions[compiler] = Functions(self.graph, compiler)
        return self._functions[compiler]

    def steps(self, places: tuple[int, ...]) -> StepGraphs:
        """Return the steps of the graph, compiled where they are first run, for constants that are the same ones at
        such ``places``.
        """
        if places not in self._steps:
            self._steps.setdefault(places, StepGraphs(self.functions(None), self.spec, places))
        return self._steps[places]


def find_trace(
    captured: Captured, inputs: Sequence[Tensor], read: Sequence[Tensor], t: float, start: Callable[[], Tensor]
) -> Trace:
    """Return the trace for some inputs, made at t and the state ``start()`` where there is none.

    Raise a CaptureError as `joint_graph`.
    """
    targets = targets_of(inputs, read)
    if targets not in captured.traces:
        with capturing():  # one thread
            if targets not in captured.traces:
                captured.traces[targets] = Trace(captured, inputs, read, t, start())
    found: Trace = captured.traces[targets]
    return found


class TracedVectorField(EagerVectorField):
    """A vector field whose values and products come from its joint graph, which reads ``sources`` in this solve.

    Products that need autograd (quadrature nodes in one batch, Jacobians) differentiate what TorchDynamo captured.
    """

    rereads = False

    def __init__(
        self,
        asked: FieldArguments,
        inputs: Sequence[Tensor],
        found: Trace,
        read: Sequence[Tensor],
        compiler: Callable[[Any], Any] | None = None,
        *,
        whole_steps: bool = False,
    ) -> None:
        self.inputs, self._found, self._read = list(inputs), found, read
        super().__init__(*asked._replace(params=inputs))
        self.graph, self._functions = found.graph, found.functions(compiler)
        self.kind = found.captured
        self._lasting = {id(x): x.detach() for x in read}  # in the memory that they have now, whatever x.data becomes
        self.sources = self.graph.tensors([self._lasting[id(x)] for x in read])
        with torch.no_grad():
            self._constants = self._functions.constants(*self.sources)
        self._ahead: dict[float, tuple[Tensor, tuple[Tensor, ...]]] = {}  # what depends on the time alone
        self.steps: StepGraphs | None = None
        if whole_steps:
            once: dict[int, int] = {}
            places = tuple([once.setdefault(id(x), len(once)) for x in self._constants])
            self._once = list({id(x): x for x in self._constants}.values())
            self.steps = found.steps(places)

    def _take_tensors(self) -> None:
        self.params, self.args = self.inputs, ()
        self.shapes, self.sizes = self._found.shapes, self._found.sizes

    @property
    def is_lasting(self) -> bool:
        return self._functions.constants_are_views

    def again(self) -> TracedVectorField:
        made = object.__new__(TracedVectorField)
        made.__dict__.update(self.__dict__, _ahead={}, _pass="forward pass", random_from=None)
        if self.steps is not None:
            made._once = self.steps.renew(self._once)
        return made

    @functools.cached_property
    def targets(self) -> list[Tensor]:  # type: ignore[override]
        """Return what autograd is asked for: a twin of each input."""
        twins: dict[int, Tensor] = {}
        lasting = (self._lasting.get(id(x), x) for x in self.inputs)
        return [twins.setdefault(id(x), x.detach().requires_grad_()) for x in lasting]

    @functools.cached_property
    def call(self) -> Callable[..., Any]:  # type: ignore[override]
        """Return what TorchDynamo captured, as a function of (t, y), of the targets."""
        twins = self._lasting | {id(x): twin for x, twin in zip(self.inputs, self.targets, strict=True)}
        return self._found.captured.bound([twins[id(x)] for x in self._read])

    @property
    def call_for_value(self) -> Callable[..., Any]:  # type: ignore[override]
        return self.call

    def run_step(self, kind: StepKind, *arguments: Tensor) -> Sequence[Tensor] | None:
        """Run a step as one compiled graph, without gradient; None where it cannot be compiled."""
        assert self.steps is not None
        return self.steps.run(kind, self._once, arguments)

    @property
    def present(self) -> list[int]:
        """Which targets func depends on, in whole steps."""
        assert self.steps is not None
        return self.steps.field.present

    def zeros(self, adjoints: Tensor) -> list[Tensor]:
        """Return zeros like a row of adjoints, and for the sums of what is `present`: to be read, not given out."""
        assert self.steps is not None
        return self.steps.zeros(adjoints, self.inputs)

    def spread(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        """Return tensors for `present` in the places of their targets, None in the others."""
        if len(tensors) == len(self.inputs):
            return list(tensors)
        found = dict(zip(self.present, tensors, strict=True))
        return [found.get(i) for i in range(len(self.inputs))]

    def look_ahead(self, times: Sequence[float]) -> None:
        """Make what depends on these times alone, at which func is soon to be evaluated, in one go."""
        part = self._functions.time_part
        if part is not None:
            with without_grad():
                self._ahead = part.values(self._constants, times, self.time(times[0]))

    def _primal(self, t: float, leaves: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Sequence[Tensor]]:
        """Return the time as func gets it, the leaves of f, and what products read."""
        known = self._ahead.get(t)
        if known is None:
            when = self.time(t)
            return when, *self._functions.primal(self._constants, when, *leaves)
        assert self._functions.time_part is not None
        return known[0], *self._functions.time_part.rest(self._constants, *known, *leaves)

    def saved_at(self, t: float, y: Tensor) -> Sequence[Tensor]:
        """Return what the products at (t, y) read."""
        with torch.no_grad():
            return self._primal(t, self.spec.split(y))[2]

    def f(self, t: float, y: Tensor) -> Tensor:
        with without_grad():
            return self.spec.join(self._primal(t, self.spec.split(y))[1])

    def settle(self) -> None:
        self._counts = count_all_writes(self.sources)

    def start_pass(self, *, backward: bool) -> None:
        if backward:
            check_unchanged(self.sources, self._counts)

    def connect(self, t: float, leaves: list[Tensor], *, params: bool = True, time: bool = False) -> Connected:
        make = self._functions.adjoint(Wanted(params=params, time=time))
        with without_grad():
            when, values, saved = self._primal(t, leaves)

        def products(adjoint: list[Tensor]) -> LeafProducts:
            with without_grad():
                found = make(self._constants, when, leaves, saved, *adjoint)
            return split_products(found, leaves, time=time)

        return values, products

    def vjp_params(
        self, times: Sequence[float], y: Tensor, adjoint: Tensor, *, batched_time: bool = False
    ) -> list[Tensor | None]:
        """Return the sum over rows, in one batch by vmap: the graph's shapes are those of one state."""
        if self.steps is not None:
            made = self.run_step(Nodes(len(times)), send_numbers(times, y), y, adjoint)
            if made is not None:
                return self.spread(made)
        return super().vjp_params(times, y, adjoint)
