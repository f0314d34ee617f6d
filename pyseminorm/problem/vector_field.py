"""The user's function, ready to be called by an engine on flat vectors: f, and its fused vector-Jacobian product."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..errors import InvalidInputError, PySeminormError, SolveError, first_line
from ..torch_internals import count_writes, run_backward, vmap
from .agreement import agree
from .finiteness import VALUE, first_not_finite, not_finite
from .parameters import as_real, graph_nodes, kind_of
from .randomness import Generators
from .solve_tensors import SolveTensors
from .state import StateSpec, all_finite
from .tensors_read import TensorsRead
from .torch_modes import autocast_dtype, under_autocast

logger = logging.getLogger("pyseminorm")

# What torch says when code differentiates inside itself although gradients are switched off.
_NEEDS_GRAD_MODE = "does not require grad"

# What torch says when code changes in place what autograd holds.
_CHANGES = ("requires grad is being used in an in-place operation", "no_grad mode and is being modified inplace")

Gradients = list[Tensor | None]  # by the targets; None: zero

# A VJP of leaves: (by the leaves of y, by the targets, by the time).
LeafProducts = tuple[list[Tensor], Gradients, Tensor | None]
Connected = tuple[list[Tensor], Callable[[list[Tensor]], LeafProducts]]  # the leaves of f, and what gives their VJP
VjpFunction = Callable[[Tensor], tuple[Tensor, Gradients, Tensor | None]]
Vjp = tuple[Tensor, Tensor, Gradients, Tensor | None]  # f and its products


class FieldArguments(NamedTuple):
    """What a vector field is made of: what `solve` was given of it."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    spec: StateSpec
    params: Iterable[Tensor] | None


class FieldSource:
    """A function that makes the vector field of its solves itself."""

    def vector_field(self, args: tuple[Any, ...], spec: StateSpec, params: Iterable[Tensor] | None) -> EagerVectorField:
        """Return this function on flat vectors, for `solve`."""
        raise NotImplementedError


class EagerVectorField:
    """``func(t, y, *args)`` on flat vectors, with products by reverse-mode autograd.

    Attributes:
        targets: the tensors that gradients are wanted for: parameters, then differentiable leaves of ``args``.
        shapes, sizes: theirs as real numbers; a complex one is pairs.
        rereads: whether func is called anew in the backward pass, and may then find other tensors than before.
        steps: a solver's whole steps as graphs, of a form that has them.
        random_from: the generators as they were before the checking call, of a function that draws random numbers.
    """

    rereads: ClassVar[bool] = True
    steps: Any = None

    @property
    def is_lasting(self) -> bool:
        """Tell whether `again` gives the field of another solve by the same tensors, in the same memory."""
        return False

    def again(self) -> EagerVectorField:
        """Return the field of another solve; a form that is lasting has one."""
        raise NotImplementedError

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], spec: StateSpec, params: Iterable[Tensor] | None
    ) -> None:
        self.func, self.spec, self.time = func, spec, spec.time
        self.explicit_params = params is not None
        self.random_from: Generators | None = None
        kind = spec.device.type
        self.under_autocast = functools.partial(under_autocast, device=kind, dtype=autocast_dtype(kind))
        self._pass = "forward pass"
        self._tensors = SolveTensors(func, args, params)
        self._differentiates_inside = False
        self.kind: Any = kind_of(func)
        self._take_tensors()

    def _take_tensors(self) -> None:
        tensors = self._tensors
        self.params, self.args = tensors.own, tensors.args
        self.inputs, self.targets = tensors.inputs, tensors.targets
        self.call = self.under_autocast(tensors.call)
        self.call_for_value = self.under_autocast(tensors.call_for_value)
        self.shapes, self.sizes = measure(self.targets)

    def f(self, t: float, y: Tensor) -> Tensor:
        """Return dy/dt at (t, y): a new vector of shape (size,), without gradient."""
        if self._differentiates_inside:
            return self._f_with_grad(t, y)
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.f(t, y)
        spec, version = self.spec, count_writes(y)
        try:
            when = self.time(t)
            value = spec.join(self.leaves(self.call_for_value(when, spec.unflatten(y), *self.args), when))
        except RuntimeError as error:
            if not self.needs_grad_mode(error):
                raise
            return self._f_with_grad(t, y)
        check_writes(y, version)
        return value

    def flat(self, when: Tensor, y: Tensor) -> Tensor:
        """Return dy/dt (size,) at (when, y), differentiable."""
        return self.spec.join(self.leaves(self.call(when, self.spec.unflatten(y), *self.args), when))

    def _f_with_grad(self, t: float, y: Tensor) -> Tensor:
        """Do the same for functions that call autograd themselves (Hamiltonian nets, divergences)."""
        with torch.enable_grad():
            leaves, when = [leaf.detach().requires_grad_() for leaf in self.spec.split(y)], self.time(t)
            value = self.call_for_value(when, self.spec.build(leaves), *self.args)
            return self.spec.join([x.detach() for x in self.leaves(value, when)])

    def leaves(self, value: Any, when: Tensor) -> list[Tensor]:
        """Return leaves of what func returned at a time, of the state's dtype; refuse what looks otherwise."""
        if self.spec.is_plain and self.spec.is_like(value):
            return [value]
        try:
            return self.spec.check_output(value)
        except InvalidInputError:
            self.spec.check_output(value, where=f" at t = {when.item()} in the {self._pass}")
            raise

    def vjp(self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False) -> Vjp:
        """Return (f, adj df/dy, [adj df/dtheta_i or None], adj df/dt or None), for ``adjoint`` (size,)."""
        value, vjp = self.evaluate_with_vjp(t, y, params=params, time=time)
        return value, *vjp(adjoint)

    def vjp_shaped(self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False) -> Vjp:
        """Return `vjp` for ``y`` and ``adjoint`` in `StateSpec.shape`, without more calls than it takes.

        ``y``, a leaf of autograd, becomes part of the graph. What comes out is to be read, not changed, with gradients
        off: f is in the graph.
        """
        if not self.spec.is_plain:
            return self.vjp(t, y, adjoint, params=params, time=time)
        (value,), products = self.connect(t, [y], params=params, time=time)
        (state,), gradients, at = products([adjoint])
        return value, state, gradients, at

    def evaluate_with_vjp(
        self, t: float, y: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, VjpFunction]:
        """Return f, and what takes an ``adjoint`` (size,) to the products of `vjp`, once."""
        spec = self.spec
        outputs, products = self.connect(t, spec.split(y.detach()), params=params, time=time)

        def vjp(adjoint: Tensor) -> tuple[Tensor, Gradients, Tensor | None]:
            state, gradients, at = products(spec.split(adjoint))
            return spec.join(state), gradients, at

        return spec.join([x.detach() for x in outputs]), vjp

    def connect(self, t: float, leaves: list[Tensor], *, params: bool = True, time: bool = False) -> Connected:
        """Return the leaves of f, and what takes those of an adjoint to the products of `vjp`, once.

        ``leaves`` of y, which are leaves of autograd too, become part of the graph.
        """
        when = self.time(t)
        with torch.enable_grad():
            for x in (*leaves, when) if time else leaves:
                x.requires_grad_()
            try:
                outputs = self.leaves(self.call(when, self.spec.build(leaves), *self.args), when)
            except RuntimeError as error:
                refuse_writes(error)
                raise
        wanted = (*leaves, *(self.targets if params else ()), *((when,) if time else ()))

        def products(adjoint: list[Tensor]) -> LeafProducts:
            pairs = [(o, a) for o, a in zip(outputs, adjoint, strict=True) if o.requires_grad]
            return split_products(_gradients(pairs, wanted) if pairs else [None] * len(wanted), leaves, time=time)

        return outputs, products

    def vjp_params(
        self, times: Sequence[float], y: Tensor, adjoint: Tensor, *, batched_time: bool = False
    ) -> Gradients:
        """Sum over rows j of adjoint[j] df/dtheta_i at (times[j], y[j]), for ``y`` and ``adjoint`` (rows, size).

        The sum is made inside the graph, so that no row's own gradient exists. One batched call, by vmap or along the
        model's own batch axis (``batched_time``); row by row where vmap cannot (inner autograd, data-dependent code,
        randomness, buffers that func changes), or gives other gradients.
        """
        if batched_time:
            return self._vjp_params_stacked(times, y, adjoint)
        if self.kind not in _NOT_BATCHABLE:
            try:
                return self._vjp_params_vmapped(times, y, adjoint)
            except SolveError:
                raise
            except Exception as error:  # whatever vmap cannot do; an error of func's own comes again below
                gradients = self._vjp_params_looped(times, y, adjoint)
                _NOT_BATCHABLE.add(self.kind)
                logger.info(f"quadrature nodes are evaluated one by one: vmap cannot batch func ({first_line(error)})")
                return gradients
        return self._vjp_params_looped(times, y, adjoint)

    def _vjp_params_vmapped(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> Gradients:
        with torch.enable_grad():
            values, compared = self._vmapped(times, y), _COMPARED.setdefault(self.kind, set())
            operations = tuple(node.name() for node in graph_nodes([values]))
            if operations not in compared:
                self._compare_vmapped(times[:2], y[:2])
                compared.add(operations)
            return self._contract(values, adjoint, times)

    def _vmapped(self, times: Sequence[float], y: Tensor) -> Tensor:
        moments = torch.tensor(times, dtype=self.spec.real_dtype, device=self.spec.device)
        values: Tensor = vmap(self.flat, moments, y.detach())
        return values

    def _compare_vmapped(self, times: Sequence[float], y: Tensor) -> None:
        """Raise an error where vmap gives other gradients than single calls, as of select_scatter in torch 2.13."""
        ones = torch.ones_like(y)
        found = self._contract(self._vmapped(times, y), ones, times), self._vjp_params_looped(times, y, ones)
        made, expected = (
            [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, self.targets, strict=True)]
            for gradients in found
        )
        if not agree(made, expected):
            raise RuntimeError("it gives other gradients than single calls")

    def _vjp_params_stacked(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> Gradients:
        (state,) = self.spec.split(y.detach())  # (rows, batch, ...)
        rows, batch = state.shape[:2]
        moments = torch.tensor(times, dtype=self.spec.real_dtype, device=self.spec.device).repeat_interleave(batch)
        with torch.enable_grad():
            stacked = state.flatten(0, 1)
            moments = moments.view(-1, *(1,) * (state.dim() - 2))
            try:
                value = self.call(moments, stacked, *self.args)
            except PySeminormError:
                raise
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                raise _refuse_stack(f"failed at t of shape {tuple(moments.shape)} and y", stacked, rows) from error
            if not isinstance(value, Tensor) or value.shape != stacked.shape:
                found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                raise _refuse_stack(f"returned {found} for y", stacked, rows)
            value = value.to(self.spec.dtype).view_as(state)
            return self._contract(self.spec.join([value]).view(rows, -1), adjoint, times)

    def _vjp_params_looped(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> Gradients:
        with torch.enable_grad():
            values = []
            for t, row in zip(times, y, strict=True):
                outputs, _ = EagerVectorField.connect(self, t, self.spec.split(row.detach()))  # of graphs too
                values.append(self.spec.join(outputs))
            return self._contract(torch.stack(values), adjoint, times)

    def _contract(self, values: Tensor, adjoint: Tensor, times: Sequence[float]) -> Gradients:
        """Return gradients of sum(values * adjoint) by the targets, None where func does not depend on one."""
        if not all_finite(values.detach()):
            raise not_finite(VALUE, times[first_not_finite(values.detach()) or 0])
        if not values.requires_grad or not self.targets:
            return [None] * len(self.targets)
        return make_dense(torch.autograd.grad(values, self.targets, adjoint, allow_unused=True))

    def observe(self, seen: TensorsRead, state: Sequence[Tensor]) -> None:
        """Take up the tensors that func has read in a call with ``state``."""
        self._tensors.observe(seen, state)
        self._take_tensors()

    def look_ahead(self, times: Sequence[float]) -> None:
        """Make ready for evaluations at these times."""

    def settle(self) -> None:
        """End the forward pass of a solve that may be differentiated."""
        self._tensors.settle()

    def start_pass(self, *, backward: bool) -> None:
        """Make ready for products; refuse a backward pass in which func would not read what it has read before."""
        self._pass = "backward pass" if backward else "forward pass"
        self._tensors.start_pass(backward=backward)
        self._take_tensors()

    @property
    def graphs_last(self) -> bool:
        """Whether graphs of func that were made in the forward pass are right in the backward pass."""
        return not self.rereads or self._tensors.graphs_last

    def needs_grad_mode(self, error: RuntimeError) -> bool:
        """Tell whether an error under no_grad is that of a function which calls autograd itself; remembered."""
        self._differentiates_inside = self._differentiates_inside or _NEEDS_GRAD_MODE in str(error)
        return self._differentiates_inside


def check_writes(y: Tensor, version: int) -> None:
    """Refuse a state that func has changed in place, since it was ``version``."""
    if count_writes(y) != version:
        raise InvalidInputError(_CHANGED)


def refuse_writes(error: RuntimeError) -> None:
    """Let torch's refusal of a change in place be an error by name."""
    if any(said in str(error) for said in _CHANGES):
        raise InvalidInputError(_CHANGED) from error


def _refuse_stack(what: str, stacked: Tensor, rows: int) -> InvalidInputError:
    """Return the error of a function that does not take the times of several nodes, stacked along its batch."""
    return InvalidInputError(
        f"func {what} of shape {tuple(stacked.shape)}, where {rows} times are stacked along the batch: it must take t "
        "of shape (rows, 1, ...). GaussAdjoint(batched_time=False) gives it one time after the other."
    )


_CHANGED = (
    "func changes in place what it is given, such as its state y, or a parameter: let it work on a copy (y.clone())."
)


def measure(targets: Sequence[Tensor]) -> tuple[list[torch.Size], tuple[int, ...]]:
    """Return the shapes of tensors as real numbers, and how many these are."""
    real = list(map(as_real, targets))
    return [x.shape for x in real], tuple(x.numel() for x in real)


def _gradients(pairs: Sequence[tuple[Tensor, Tensor]], inputs: tuple[Tensor, ...]) -> Gradients:
    """Do as `torch.autograd.grad` with ``allow_unused=True``, without its handling of arguments, as slow as a layer."""
    outputs, cotangents = zip(*pairs, strict=True)
    return list(run_backward(outputs, cotangents, False, False, inputs, True, accumulate_grad=False))


def split_products(found: Gradients, leaves: Sequence[Tensor], *, time: bool) -> LeafProducts:
    """Return the gradients by leaves, by targets and, the last one, by the ``time``, each by itself."""
    found = make_dense(found)
    at = found.pop() if time else None
    state = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=False)]
    return state, found[len(leaves) :], at


def make_dense(gradients: Sequence[Tensor | None]) -> Gradients:
    """Return gradients whose every element is in memory: those of an embedding may be sparse."""
    return [x if x is None or x.layout is torch.strided else x.to_dense() for x in gradients]


# What vmap could not batch once: later solves do not try again. Of the others, which operations were compared.
_NOT_BATCHABLE: weakref.WeakSet[Any] = weakref.WeakSet()
_COMPARED: weakref.WeakKeyDictionary[Any, set[tuple[str, ...]]] = weakref.WeakKeyDictionary()
