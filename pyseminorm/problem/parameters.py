"""The parameters of a function: of the module that it is, or that it is a method of; and those that are given."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Set
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_callable
from ..errors import InvalidInputError


class MadeAnew(nn.Module):
    """A module that a training loop makes anew around ``func``, which stays."""

    func: Callable[..., Any]

    def __init__(self, func: Callable[..., Any]) -> None:
        super().__init__()
        check_callable(func)
        self.func = func


def kind_of(func: Callable[..., Any]) -> Any:
    """Return what stays, hashable and weakly referable, when a lambda, partial or bound method is made anew."""
    while isinstance(func, (functools.partial, MadeAnew)):
        func = func.func
    if isinstance(func, nn.Module):  # asks its __getattr__ for what it has not
        return func
    owner = getattr(func, "__self__", None)
    kind = getattr(func, "__code__", func) if owner is None else owner
    try:
        hash(kind)
        weakref.ref(kind)
    except TypeError:  # a dataclass; an object with slots
        return type(kind)
    return kind


def owner_of(func: Callable[..., Any]) -> tuple[nn.Module | None, str]:
    """Return the module that a function is, or is a method or partial of, and the way there from the function."""
    path = ""
    while isinstance(func, functools.partial):
        func, path = func.func, path + ".func"
    if isinstance(func, nn.Module):
        return func, path
    owner = getattr(func, "__self__", None)
    return (owner, path + ".__self__") if isinstance(owner, nn.Module) else (None, "")


def choose_params(func: Callable[..., Any], params: Iterable[Tensor] | None) -> list[Tensor]:
    """Return the parameters to differentiate by: those given, or those of func."""
    return parameters_of(func) if params is None else check_params(params)


def parameters_of(func: Callable[..., Any]) -> list[Tensor]:
    """Return parameters that require grad of a module, of the module that a method or a partial is of."""
    owner = owner_of(func)[0]
    if owner is None:
        return []
    # As owner.parameters(), without its names: this runs in every solve.
    found: list[Any] = []
    for module in _modules(owner, set()):
        attributes = attributes_of(module)
        found += attributes["_parameters"].values()
        if "_is_replica" in attributes:  # of nn.DataParallel, whose parameters are attributes
            found += [x for x in attributes.values() if isinstance(x, Tensor)]
    return list({id(p): p for p in found if p is not None and p.requires_grad}.values())


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes; what `torch.jit.trace` has made stands for a scripted module that has them."""
    attributes = module.__dict__
    return attributes if "_parameters" in attributes else module._actual_script_module.__dict__


def _modules(module: nn.Module, seen: set[int]) -> list[nn.Module]:
    """Return the modules as ``module.modules()`` does, in its order."""
    seen.add(id(module))
    found = [module]
    for child in module._modules.values():
        if child is not None and id(child) not in seen:
            found += _modules(child, seen) if child._modules else [child]
            seen.add(id(child))
    return found


def check_params(params: Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors among ``params`` that require grad, each once."""
    if isinstance(params, Tensor):
        raise InvalidInputError("params is a tensor: expected an iterable of tensors, such as module.parameters().")
    unique: dict[int, Tensor] = {}
    for p in params:
        if not isinstance(p, Tensor):
            raise InvalidInputError(f"params contains a {type(p).__name__}: expected tensors.")
        if p.requires_grad:
            unique[id(p)] = p
    return list(unique.values())


def has_lazy(func: Callable[..., Any]) -> bool:
    """Return whether a module has parameters that its first call will give their shapes."""
    owner = owner_of(func)[0]
    return owner is not None and any(map(nn.parameter.is_lazy, owner.parameters()))


def hidden_leaves(outputs: Iterable[Tensor], known: Iterable[Tensor]) -> list[Tensor]:
    """Return leaves that require grad in the graph of outputs, but those reached only through ``known`` tensors."""
    known = list(known)
    known_ids = {id(x) for x in known}
    nodes = graph_nodes(outputs, stop={x.grad_fn for x in known if x.grad_fn is not None})
    leaves = {id(node.variable): node.variable for node in nodes if hasattr(node, "variable")}  # of AccumulateGrad
    return [x for key, x in leaves.items() if key not in known_ids]


def graph_reaches(outputs: Iterable[Tensor], tensors: Iterable[Tensor]) -> bool:
    """Tell whether the graph of the outputs leads to one of ``tensors``."""
    ids, stop = set(), set()
    for x in tensors:
        ids.add(id(x))
        stop.add(x.grad_fn)
    nodes = graph_nodes(outputs)
    return any(node in stop or id(getattr(node, "variable", None)) in ids for node in nodes)


def graph_nodes(outputs: Iterable[Tensor], stop: Set[Any] = frozenset()) -> Iterable[Any]:
    """Return the nodes of the graph of the outputs, as far as those where it is to stop."""
    stack = [x.grad_fn for x in outputs if x.grad_fn is not None]
    seen: dict[Any, None] = {}
    while stack:
        node = stack.pop()
        if node not in seen and node not in stop:
            seen[node] = None
            stack += [following for following, _ in node.next_functions if following is not None]
    return seen


def as_real(x: Tensor) -> Tensor:
    """Return a tensor as one of real numbers; of complex ones the pairs, on a further axis."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def as_like(x: Tensor, like: Tensor) -> Tensor:
    """Return what `as_real` has made as it was: complex where ``like`` is."""
    # A copy: pairs need not start at an even place in memory.
    return torch.view_as_complex(x.clone()) if like.is_complex() and not x.is_complex() else x
