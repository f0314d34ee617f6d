"""Where func finds the tensors that it reads: attributes, parameters, buffers, closures, globals, lists and dicts."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

_MOST = 1_000  # objects that are looked into, modules apart
_OF_EVERY_MODULE = frozenset(nn.Module().__dict__)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType)


class Place(NamedTuple):
    """``where[key]``, which held ``tensor``."""

    where: Any
    key: Any
    tensor: Tensor

    def now(self) -> Any:
        """Return what is there now; None where there is nothing."""
        try:
            return self.where[self.key]
        except (LookupError, AttributeError, ValueError):
            return None


class _Cell(NamedTuple):
    """A variable of an enclosing function, by its name."""

    cell: types.CellType

    def __getitem__(self, name: Any) -> Any:
        return self.cell.cell_contents


class _Slots(NamedTuple):
    """The slots of an object, by their names."""

    owner: Any

    def __getitem__(self, name: Any) -> Any:
        return getattr(self.owner, name)


def find_places(func: Any, tensors: Iterable[Tensor]) -> list[Place]:
    """Find where func holds ``tensors``, one place of each, of those that are found."""
    wanted = {id(x): x for x in tensors}
    found: list[Place] = []
    seen: set[int] = set()
    following, left = collections.deque([func]), _MOST
    while following and wanted and left:
        owner = following.popleft()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        left -= not isinstance(owner, nn.Module)
        for where, key, value in _list_parts(owner):
            if isinstance(value, Tensor):
                if id(value) in wanted:
                    found.append(Place(where, key, wanted.pop(id(value))))
            elif not isinstance(value, _PLAIN):
                following.append(value)
    return found


def _list_parts(owner: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Return (where, key, where[key]) of what an object refers to."""
    if isinstance(owner, dict):
        yield from ((owner, key, value) for key, value in list(owner.items()))
    elif isinstance(owner, (list, tuple)):
        yield from ((owner, i, value) for i, value in enumerate(owner))
    elif isinstance(owner, types.FunctionType):
        yield from _list_parts_function(owner)
    elif isinstance(owner, types.MethodType):
        yield None, None, owner.__self__
        yield None, None, owner.__func__
    elif isinstance(owner, functools.partial):
        yield None, None, owner.keywords
        yield None, None, owner.args
        yield None, None, owner.func
    else:
        yield from _list_parts_object(owner)


def _list_parts_function(function: types.FunctionType) -> Iterator[tuple[Any, Any, Any]]:
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield function.__globals__, name, function.__globals__[name]
    yield None, None, function.__kwdefaults__
    yield None, None, function.__defaults__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        place = _Cell(cell)
        try:
            yield place, name, place[name]
        except ValueError:  # not bound yet
            continue


def _list_parts_object(owner: Any) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(owner, nn.Module):  # what it has most of comes first
        attributes = owner.__dict__
        yield from ((attributes["_parameters"], key, value) for key, value in attributes["_parameters"].items())
        yield from ((attributes["_buffers"], key, value) for key, value in attributes["_buffers"].items())
        yield from ((attributes["_modules"], key, value) for key, value in attributes["_modules"].items())
        yield from ((attributes, key, attributes[key]) for key in attributes.keys() - _OF_EVERY_MODULE)
        return
    try:
        attributes = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        attributes = {}
    if isinstance(attributes, dict):
        yield from ((attributes, key, value) for key, value in list(attributes.items()))
    slots = _Slots(owner)
    for name in getattr(type(owner), "__slots__", ()):
        value = getattr(owner, name, None)
        if value is not None:
            yield slots, name, value
