"""The user's function, ready to be called by an engine on flat vectors: f, and its fused vector-Jacobian product."""

from __future__ import annotations

import functools
import logging
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HiddenParametersWarning, InvalidInputError, SolveError
from ..torch_internals import pytree, run_backward
from .finiteness import VALUE, first_not_finite, not_finite
from .state import StateSpec, all_finite

logger = logging.getLogger("pyseminorm")

# What torch says when code differentiates inside itself although gradients are switched off.
_NEEDS_GRAD_MODE = "does not require grad"

VjpFunction = Callable[[Tensor], tuple[Tensor, list[Tensor | None], Tensor | None]]


class EagerVectorField:
    """``func(t, y, *args)`` on flat vectors, with products by reverse-mode autograd.

    Attributes:
        targets: the tensors that gradients are wanted for: parameters, then differentiable leaves of ``args``.
        sizes: their numbers of elements.
    """

    _LASTING: tuple[str, ...] = ("spec", "explicit_params", "shapes", "sizes", "_differentiates_inside")

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], spec: StateSpec, params: Iterable[Tensor] | None
    ) -> None:
        self.func, self.spec = func, spec
        self.explicit_params = params is not None
        self.params = _parameters(func) if params is None else _check_params(params)
        self.args: Any = ()
        self.inputs = self.targets = self.params
        if args:
            leaves, tree = pytree.tree_flatten(args)
            given = [leaf for leaf in leaves if _differentiable(leaf)]
            # The function gets detached twins, so that a product stops at its own arguments.
            twins = {id(leaf): leaf.detach().requires_grad_() for leaf in given}
            self.args = pytree.tree_unflatten([twins.get(id(leaf), leaf) for leaf in leaves], tree)
            self.inputs = [*self.params, *given]
            self.targets = [*self.params, *(twins[id(leaf)] for leaf in given)]
        self.shapes = [x.shape for x in self.targets]
        self.sizes = tuple(x.numel() for x in self.targets)
        self._differentiates_inside = False

    def lasting(self) -> dict[str, Any]:
        """What is the same for the next solve of a function without arguments; it holds no tensor."""
        return {name: getattr(self, name) for name in self._LASTING}

    def renew(self, func: Callable[..., Any], params: list[Tensor], sources: list[Tensor]) -> None:
        """Take what is not the same; ``sources`` are what a captured graph reads."""
        self.func, self.args = func, ()
        self.params = self.inputs = self.targets = params

    def f(self, t: float, y: Tensor) -> Tensor:
        """dy/dt at (t, y): a new vector of shape (size,), without gradient."""
        if self._differentiates_inside:
            return self._f_with_grad(t, y)
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.f(t, y)
        spec = self.spec
        try:
            if spec.is_plain:
                value: Tensor = self.func(self.time(t), y.reshape(spec.shape), *self.args)
                return value.reshape(-1)
            return spec.flatten(self.func(self.time(t), spec.unflatten(y), *self.args))
        except RuntimeError as error:
            if _NEEDS_GRAD_MODE not in str(error):
                raise
            self._differentiates_inside = True
            return self._f_with_grad(t, y)

    def _f_with_grad(self, t: float, y: Tensor) -> Tensor:
        """The same for functions that call autograd themselves (Hamiltonian nets, divergences)."""
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in self.spec.split(y)]
            value = self.func(self.time(t), self.spec.build(leaves), *self.args)
            return self.spec.flatten(value).detach()

    def vjp(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        """(f, adj df/dy, [adj df/dtheta_i or None], adj df/dt or None), for ``adjoint`` (size,)."""
        value, vjp = self.evaluate_with_vjp(t, y, params=params, time=time)
        return value, *vjp(adjoint)

    def vjp_shaped(
        self, t: float, y: Tensor, adjoint: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor | None], Tensor | None]:
        """`vjp` for ``y`` and ``adjoint`` in `StateSpec.shape`, without more calls than it takes.

        ``y``, a leaf of autograd, becomes part of the graph. What comes out is to be read, not changed, with gradients
        off: f is in the graph.
        """
        if not self.spec.is_plain:
            return self.vjp(t, y, adjoint, params=params, time=time)
        when = self.time(t)
        with torch.enable_grad():
            y.requires_grad_()
            if time:
                when.requires_grad_()
            value = self.func(when, y, *self.args)
        wanted = (y, *self.targets) if params else (y,)
        if time:
            wanted += (when,)
        if not value.requires_grad:
            return value, torch.zeros_like(adjoint), [None] * (len(wanted) - 1 - time), None
        state, *rest = _gradients((value,), wanted, (adjoint,))
        grad_time = rest.pop() if time else None
        return value, torch.zeros_like(adjoint) if state is None else state, rest, grad_time

    def evaluate_with_vjp(
        self, t: float, y: Tensor, *, params: bool = True, time: bool = False
    ) -> tuple[Tensor, VjpFunction]:
        """f, and what takes an ``adjoint`` (size,) to the products of `vjp`, once."""
        spec = self.spec
        if spec.is_plain:
            return self._evaluate_tensor_with_vjp(t, y, params=params, time=time)
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in spec.split(y)]
            when = self.time(t).requires_grad_(time)
            outputs = pytree.tree_leaves(self.func(when, spec.build(leaves), *self.args))
        wanted = [*leaves, *(self.targets if params else ()), *((when,) if time else ())]
        n = len(leaves)

        def vjp(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            pairs = [(o, a) for o, a in zip(outputs, spec.split(adjoint), strict=True) if o.requires_grad]
            if pairs:
                grads: Sequence[Tensor | None] = torch.autograd.grad(
                    [o for o, _ in pairs], wanted, [a for _, a in pairs], allow_unused=True
                )
            else:
                grads = (None,) * len(wanted)
            state = [torch.zeros_like(x) if g is None else g for g, x in zip(grads[:n], leaves, strict=True)]
            rest = list(grads[n:])
            grad_time = rest.pop() if time else None
            return spec.join(state), rest, grad_time

        return spec.join([o.detach() for o in outputs]), vjp

    def _evaluate_tensor_with_vjp(self, t: float, y: Tensor, *, params: bool, time: bool) -> tuple[Tensor, VjpFunction]:
        """The same for a state that is one real tensor, without the general case's bookkeeping: it is called often."""
        shape = self.spec.shapes[0]
        with torch.enable_grad():
            leaf, when = y.reshape(shape).detach().requires_grad_(), self.time(t)
            if time:
                when.requires_grad_()
            value = self.func(when, leaf, *self.args)
        wanted = (leaf, *self.targets) if params else (leaf,)
        if time:
            wanted += (when,)

        def vjp(adjoint: Tensor) -> tuple[Tensor, list[Tensor | None], Tensor | None]:
            if not value.requires_grad:
                return torch.zeros_like(adjoint), [None] * (len(wanted) - 1 - time), None
            state, *rest = _gradients((value,), wanted, (adjoint.reshape(shape),))
            grad_time = rest.pop() if time else None
            return torch.zeros_like(adjoint) if state is None else state.reshape(-1), rest, grad_time

        return value.detach().reshape(-1), vjp

    def vjp_params(
        self, times: Sequence[float], y: Tensor, adjoint: Tensor, *, batched_time: bool = False
    ) -> list[Tensor | None]:
        """Sum over rows j of adjoint[j] df/dtheta_i at (times[j], y[j]), for ``y`` and ``adjoint`` (rows, size).

        The sum is made inside the graph, so that no row's own gradient exists. One batched call, by vmap or along the
        model's own batch axis (``batched_time``); row by row where vmap cannot (inner autograd, data-dependent code,
        randomness, buffers that func changes).
        """
        if batched_time:
            return self._vjp_params_stacked(times, y, adjoint)
        if kind_of(self.func) not in _NOT_BATCHABLE:
            try:
                return self._vjp_params_vmapped(times, y, adjoint)
            except SolveError:
                raise
            except Exception as error:  # whatever vmap cannot do; an error of func's own comes again below
                gradients = self._vjp_params_looped(times, y, adjoint)
                _NOT_BATCHABLE.add(kind_of(self.func))
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                logger.info(f"quadrature nodes are evaluated one by one: vmap cannot batch func ({reason})")
                return gradients
        return self._vjp_params_looped(times, y, adjoint)

    def _vjp_params_vmapped(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        def rate(t: Tensor, state: Tensor) -> Tensor:
            return self.spec.flatten(self.func(t, self.spec.unflatten(state), *self.args))

        moments = torch.tensor(times, dtype=self.spec.real_dtype, device=self.spec.device)
        with torch.enable_grad():
            return self._contract(torch.func.vmap(rate)(moments, y.detach()), adjoint, times)

    def _vjp_params_stacked(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        (state,) = self.spec.split(y.detach())  # (rows, batch, ...)
        rows, batch = state.shape[:2]
        moments = torch.tensor(times, dtype=self.spec.real_dtype, device=self.spec.device).repeat_interleave(batch)
        with torch.enable_grad():
            value = self.func(moments.view(-1, *(1,) * (state.dim() - 2)), state.flatten(0, 1), *self.args)
            return self._contract(self.spec.join([value]).view(rows, -1), adjoint, times)

    def _vjp_params_looped(self, times: Sequence[float], y: Tensor, adjoint: Tensor) -> list[Tensor | None]:
        with torch.enable_grad():
            values = []
            for t, row in zip(times, y, strict=True):
                leaves = [leaf.detach().requires_grad_() for leaf in self.spec.split(row)]
                values.append(self.spec.flatten(self.func(self.time(t), self.spec.build(leaves), *self.args)))
            return self._contract(torch.stack(values), adjoint, times)

    def _contract(self, values: Tensor, adjoint: Tensor, times: Sequence[float]) -> list[Tensor | None]:
        """Gradients of sum(values * adjoint) by the targets, None where func does not depend on one."""
        if not all_finite(values.detach()):
            raise not_finite(VALUE, times[first_not_finite(values.detach()) or 0])
        if not values.requires_grad or not self.targets:
            return [None] * len(self.targets)
        return list(torch.autograd.grad(values, self.targets, adjoint, allow_unused=True))

    def check(self, t: float, y: Tensor, *, recording: bool) -> Tensor:
        """The one checking call at the start: f(t0, y0), after a look at its form and (if recording) at its graph."""
        with torch.set_grad_enabled(recording):
            leaves = [leaf.detach().requires_grad_(recording) for leaf in self.spec.split(y)]
            try:
                value = self.func(self.time(t), self.spec.build(leaves), *self.args)
            except RuntimeError as error:
                if recording or _NEEDS_GRAD_MODE not in str(error):
                    raise
                self._differentiates_inside = True
                with torch.enable_grad():
                    leaves = [leaf.requires_grad_() for leaf in leaves]
                    value = self.func(self.time(t), self.spec.build(leaves), *self.args)
            outputs = self.spec.check_output(value)
            if recording:
                self._warn_about_hidden(outputs, leaves)
        return check_value(self.spec.join([o.detach() for o in outputs]), t)

    def _warn_about_hidden(self, outputs: list[Tensor], leaves: list[Tensor]) -> None:
        known = [*self.targets, *leaves]
        if self.explicit_params:
            known += _parameters(self.func)
        hidden = _graph_leaves(outputs, known)
        if hidden:
            shapes = ", ".join(str(tuple(x.shape)) for x in hidden)
            warnings.warn(
                f"func uses {len(hidden)} tensor(s) that require grad but are hidden from solve (shapes {shapes}), "
                "so they get no gradient. Pass them with params=..., or give func as an nn.Module that owns them, "
                "or detach them.",
                HiddenParametersWarning,
                stacklevel=4,
            )

    def time(self, t: float) -> Tensor:
        """The time as func gets it."""
        return torch.full((), t, dtype=self.spec.real_dtype, device=self.spec.device)


def check_value(value: Tensor, t: float) -> Tensor:
    """What func returned at the first time, if it is finite."""
    if not all_finite(value):
        raise InvalidInputError(f"func returned non-finite values at the first time, t = {t}: check func and y0.")
    return value


class FirstValue:
    """f at the first time: the one checking call, made where somebody asks for it, once.

    Attributes:
        field: what is called.
        value: what it gave, (size,); None as long as nobody has asked.
    """

    def __init__(self, field: EagerVectorField, t: float, y0: Tensor, *, recording: bool) -> None:
        self.field = field
        self.value: Tensor | None = None
        self._t, self._y0, self._recording = t, y0, recording

    def __call__(self) -> Tensor:
        """The value.

        Raises:
            InvalidInputError: y0 or the value is not finite, or what func returns does not look like y0.
        """
        if self.value is None:
            flat = self._y0.detach().reshape(-1)
            if not all_finite(flat):
                raise InvalidInputError("y0 contains NaN or infinite values: check where it comes from.")
            self.value = self.field.check(self._t, flat, recording=self._recording)
        return self.value


def _gradients(
    outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """`torch.autograd.grad` with ``allow_unused=True``, without its handling of arguments, which takes as long as a
    small layer.
    """
    found: tuple[Tensor | None, ...] = run_backward(
        outputs, cotangents, False, False, inputs, True, accumulate_grad=False
    )
    return found


# What vmap could not batch once; later solves do not try again.
_NOT_BATCHABLE: weakref.WeakSet[Any] = weakref.WeakSet()


def kind_of(func: Callable[..., Any]) -> Any:
    """What stays the same when a training loop makes its lambda, partial or bound method anew."""
    while isinstance(func, functools.partial):
        func = func.func
    if isinstance(func, nn.Module):  # asks its __getattr__ for what it has not
        return func
    return getattr(func, "__self__", None) or getattr(func, "__code__", func)


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _parameters(func: Callable[..., Any]) -> list[Tensor]:
    """Parameters that require grad of a module, of the module that a bound method belongs to, or of a partial."""
    while isinstance(func, functools.partial):
        func = func.func
    owner = func if isinstance(func, nn.Module) else getattr(func, "__self__", None)
    if not isinstance(owner, nn.Module):
        return []
    # As owner.parameters(), without its names: this runs in every solve.
    found: dict[int, Tensor] = {}
    for module in _modules(owner, set()):
        for p in module._parameters.values():
            if p is not None and p.requires_grad:
                found.setdefault(id(p), p)
    return list(found.values())


def _modules(module: nn.Module, seen: set[int]) -> list[nn.Module]:
    """As ``module.modules()``, in its order."""
    seen.add(id(module))
    found = [module]
    for child in module._modules.values():
        if child is not None and id(child) not in seen:
            found += _modules(child, seen) if child._modules else [child]
            seen.add(id(child))
    return found


def _check_params(params: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(params, Tensor):
        raise InvalidInputError("params is a tensor: expected an iterable of tensors, such as module.parameters().")
    unique: dict[int, Tensor] = {}
    for p in params:
        if not isinstance(p, Tensor):
            raise InvalidInputError(f"params contains a {type(p).__name__}: expected tensors.")
        if p.requires_grad:
            unique[id(p)] = p
    return list(unique.values())


def _graph_leaves(outputs: list[Tensor], known: list[Tensor]) -> list[Tensor]:
    """Leaves that require grad in the graph of the outputs, other than those reached only through known tensors."""
    known_ids = {id(x) for x in known}
    stop = {x.grad_fn for x in known if x.grad_fn is not None}
    stack = [x.grad_fn for x in outputs if x.grad_fn is not None]
    seen: set[Any] = set()
    found: dict[int, Tensor] = {}
    while stack:
        node = stack.pop()
        if node in seen or node in stop:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # AccumulateGrad nodes carry the leaf
        if isinstance(variable, Tensor) and id(variable) not in known_ids:
            found[id(variable)] = variable
        stack += [following for following, _ in node.next_functions if following is not None]
    return list(found.values())
