"""The tensors that func reads in one solve: what autograd is told of, and what products are made by."""

from __future__ import annotations

import operator
import sys
import threading
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..torch_internals import count_all_writes, count_writes, flatten_tree, has_hooks, is_wrapped, pytree
from .parameters import choose_params, graph_reaches
from .places import Place, find_places
from .tensors_read import Exchange, TensorsRead
from .torch_modes import run_uncompiled

_OURS = 3  # references to a tensor that nobody but `SolveTensors.observe` has


class SolveTensors:
    """The differentiable tensors of one solve, each once, and the others that func reads.

    Func is given twins of the leaves of ``args``, detached from what these were computed from; its parameters, and
    tensors that were computed before the solve, it finds by itself. Products are made by the latter as they are, or,
    where that would be wrong, by twins that func gets in their places: where a hook would act on every product, where
    one tensor is computed from another, and where func finds other tensors in the backward pass than in the forward
    pass, or the same in other memory.

    Attributes:
        own: parameters, and tensors with a graph that func has read.
        args: as func gets them.
        inputs: what autograd is told of: ``own``, and the differentiable leaves of args.
        targets: what products are made by, in this order.
        call: func, or func with twins; ``call_for_value``: the same where no product is made.
        graphs_last: whether a graph of func made in the forward pass is right in the backward pass.
    """

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], params: Iterable[Tensor] | None) -> None:
        self._func = self.call = self.call_for_value = func
        self.own = choose_params(func, params)
        self.inputs = self.targets = self.own
        self._args = self.args = args
        self._leaves: list[Tensor] = []  # of args
        self._given: list[Tensor] = []  # those of them that require grad, and that func does not read by itself too
        self._twins: list[Tensor] = []
        if args:
            self._take_args(args)
        self.graphs_last = self._exchanged = False
        self._read: list[tuple[Tensor, int]] = []  # with its version
        self._written: list[int] = []  # the versions of the inputs
        self._places: list[Place] = []
        self._holders: list[Place] = []  # of the objects on the way to these
        self._memory: list[tuple[Tensor, Tensor]] = []  # a tensor, and another one in the memory that it had

    def _take_args(self, args: tuple[Any, ...]) -> None:
        leaves, tree = flatten_tree(args)
        own = {id(x) for x in self.own}
        self._leaves = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        given = {id(leaf): leaf for leaf in self._leaves if leaf.requires_grad and id(leaf) not in own}
        twins = {key: _twin_of(leaf) for key, leaf in given.items()}
        self._given, self._twins = list(given.values()), list(twins.values())
        self.args = pytree.tree_unflatten([twins.get(id(leaf), leaf) for leaf in leaves], tree)
        self.inputs = [*self.own, *self._given]
        self.targets = [*self.own, *self._twins]

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Take up tensors that func reads by itself, where they are not known yet."""
        known = {id(x) for x in self.own}
        self.own = [*self.own, *(x for x in tensors if id(x) not in known)]
        self._take_args(self._args)

    def observe(self, seen: TensorsRead, state: Sequence[Tensor]) -> None:
        """Take up what func has read in a call with ``state``: leaves of y, and the time."""
        read = seen.take([*state, *self._twins])
        given = {id(x) for x in self._given}
        own = [x for x, _ in read if seen.is_older(x) or id(x) in given]
        if own:
            self.add(own)
        known = {id(x) for x in (*self.inputs, *self._leaves)}
        # What nobody refers to any more was made by func where no mode sees it.
        self._read = [(x, version) for x, version in read if id(x) in known or sys.getrefcount(x) > _OURS]
        del read
        in_args = {id(x) for x in self._leaves}
        self._places, self._holders = find_places(self._func, [x for x, _ in self._read if id(x) not in in_args])

    def settle(self) -> None:
        """End the forward pass: what func itself has changed in it is no reason to refuse the backward pass."""
        inputs = {id(x) for x in self.inputs}
        self._written = count_all_writes(self.inputs)  # autograd looks too, but not under hooks for saved tensors
        self._read = [(x, v) for x, v in self._read if id(x) not in inputs and count_writes(x) == v]
        self._places = [place for place in self._places if place.now() is place.value]
        self._holders = [place for place in self._holders if place.now() is place.value]
        every = [*self.own, *(x for x, _ in self._read)]
        self._memory = [(x, x.detach()) for x in every if _has_memory(x)]

    def start_pass(self, *, backward: bool) -> None:
        """Exchange tensors for twins where products need that; refuse a backward pass whose tensors have changed."""
        if backward:
            check_unchanged(self.inputs, self._written)
        moved = self._find_moved() if backward else {}
        # x.data = other, of which autograd knows nothing
        before = {id(x): old for x, old in self._memory if not x.is_set_to(old)} if backward else {}
        usual = all(x.is_leaf and x.requires_grad and not has_hooks(x) for x in self.own)
        again = before.keys() - {id(x) for x in self.own} if self._exchanged else before  # what graphs have no twins of
        self.graphs_last = (usual or self._exchanged) and not again
        now = [place.now() for place in self._holders] if backward else []
        # What is gone, func misses by itself; in a dict of layers it would come back at another place.
        others = [p for p, x in zip(self._holders, now, strict=False) if x is not None and x is not p.value]
        func = with_holders(self._func, others) if others else self._func
        self.call = self.call_for_value = func
        self.targets = [*self.own, *self._twins]
        if usual and not moved and not before:
            return
        twins = {id(x): _twin_of(before.get(id(x), x)) for x in self.own}
        self.targets = [*twins.values(), *self._twins]
        twins = before | twins
        twins.update({key: twins.get(id(x), x) for key, x in moved.items()})
        self.call = _WithTwins(func, twins, self.own)
        if moved or before:
            self.call_for_value = self.call
        self._exchanged = self._exchanged or not backward

    def _find_moved(self) -> dict[int, Tensor]:
        """Return what func read in the forward pass, by the id of what stands in its place now."""
        check_unchanged([x for x, _ in self._read], [count for _, count in self._read])
        moved: dict[int, Tensor] = {}
        for place in self._places:
            now = place.now()
            if now is place.value:
                continue
            taken = not isinstance(now, Tensor) or moved.get(id(now), place.value) is not place.value
            if taken or any(now is other.value for other in self._places):
                raise UnsupportedError(
                    f"func read the tensor {place.key!r} in the forward pass, and would find "
                    f"{'another one' if isinstance(now, Tensor) else now!r} in its place in the backward pass: call "
                    "backward() before that is changed, or pass the tensor with args=(...)."
                )
            moved[id(now)] = place.value
        return moved


def with_holders(func: Callable[..., Any], places: Sequence[Place]) -> Callable[..., Any]:
    """Return func as if it found objects of the forward pass, such as a network or a layer, in their places.

    A function's own variables are those of a copy, so that other threads may call it as it is; elsewhere the objects
    stand there for the time of each call.
    """
    if not isinstance(func, types.FunctionType):
        return _WithHolders(func, places)
    held = {id(place.where): place.value for place in places if isinstance(place.where, types.CellType)}
    cells = tuple(types.CellType(held[id(x)]) if id(x) in held else x for x in func.__closure__ or ())
    copy = types.FunctionType(func.__code__, func.__globals__, func.__name__, func.__defaults__, cells or None)
    copy.__kwdefaults__, copy.__dict__ = func.__kwdefaults__, func.__dict__
    own = {id(x) for x in func.__closure__ or ()}
    left = [place for place in places if id(place.where) not in own]
    return _WithHolders(copy, left) if left else copy


class _WithHolders:
    """Func, called while objects of the forward pass stand in their places, by one thread at a time."""

    def __init__(self, func: Callable[..., Any], places: Sequence[Place]) -> None:
        self._func, self._places = func, places

    def __call__(self, *args: Any) -> Any:
        with _EXCHANGING:
            found = [place.now() for place in self._places]
            try:
                for place in self._places:
                    place.put(place.value)
                return self._func(*args)
            finally:
                for place, now in zip(self._places, found, strict=True):
                    if place.now() is place.value is not now:  # else func has put something there
                        place.put(now)


_EXCHANGING = threading.RLock()


class _WithTwins:
    """Func, as if it had read twins (by the id of what it reads) in the place of its own tensors."""

    def __init__(self, func: Callable[..., Any], twins: dict[int, Tensor], own: list[Tensor]) -> None:
        self._func, self._twins, self._own = func, twins, own
        self._seen_to = False

    def __call__(self, *args: Any) -> Any:
        with run_uncompiled(), Exchange(self._twins):
            value = self._func(*args)
        if not self._seen_to and torch.is_grad_enabled():
            self._seen_to = True
            if graph_reaches([x for x in pytree.tree_leaves(value) if isinstance(x, Tensor)], self._own):
                raise UnsupportedError(
                    "func reads a tensor that has a hook, was computed from others, or is another one than in the "
                    "forward pass, by code that torch cannot give a twin to (a custom autograd function, a scripted "
                    "module): pass the tensor with args=(...)."
                )
        return value


def check_unchanged(read: Sequence[Tensor], counts: list[int]) -> None:
    """Refuse a backward pass after a change in place of tensors that had been changed ``counts`` times before."""
    now = count_all_writes(read)
    if now != counts:
        x = next(x for x, count, before in zip(read, now, counts, strict=True) if count != before)
        raise UnsupportedError(
            f"a tensor of shape {tuple(x.shape)} that func reads was changed in place between solve and "
            "backward(), which would evaluate func with other values than the forward pass: change a copy "
            "(x = x.clone()), or call backward() first."
        )


_is_leaf = operator.attrgetter("is_leaf")


def list_inputs(own: Sequence[Tensor], read: Sequence[Tensor], args: tuple[Any, ...]) -> list[Tensor]:
    """Return what autograd is told of, each once: ``own``, what func reads that was computed before, leaves of args."""
    inputs = list(own)
    if not all(map(_is_leaf, read)):
        inputs += [x for x in read if x.requires_grad and not x.is_leaf]
    if args:
        inputs += [x for x in flatten_tree(args)[0] if isinstance(x, Tensor) and x.requires_grad]
    return list(dict(zip(map(id, inputs), inputs, strict=True)).values())


def targets_of(inputs: Sequence[Tensor], read: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return where the tensors that gradients are wanted for are among those that func reads; else their form."""
    places = dict(zip(map(id, read), range(len(read)), strict=True))
    found = tuple(map(places.get, map(id, inputs)))
    if None not in found:
        return found
    return tuple([places.get(id(x), (x.shape, x.stride(), x.dtype)) for x in inputs])


def _twin_of(x: Tensor) -> Tensor:
    """Return a leaf that shares a tensor's memory and version, and neither its graph nor its hooks."""
    return x.detach().requires_grad_()


def _has_memory(x: Tensor) -> bool:
    """Tell whether a tensor is one in memory, and no wrapper that a transform of torch.func has left behind."""
    return type(x) in (Tensor, torch.nn.Parameter) and x.layout is torch.strided and not is_wrapped(x)
