"""Where func finds the tensors that it reads: attributes, parameters, buffers, closures, globals, lists and dicts."""

from __future__ import annotations

import collections
import contextlib
import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from .parameters import attributes_of

_MOST = 1_000  # objects that are looked into, modules apart
_OF_EVERY_MODULE = frozenset(nn.Module().__dict__)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType)


class Place(NamedTuple):
    """A place that held ``tensor``: ``where[key]``, the contents of a cell, or the slot ``key`` of an object."""

    where: Any
    key: Any
    tensor: Tensor

    def now(self) -> Any:
        """Return what is there now; None where there is nothing."""
        where = self.where
        try:
            if isinstance(where, (dict, list, tuple)):
                return where[self.key]
            return where.cell_contents if isinstance(where, types.CellType) else getattr(where, self.key)
        except (LookupError, AttributeError, ValueError):
            return None


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
        if isinstance(owner, nn.Module):
            following.extend(_find_in_modules(owner, wanted, found, seen))
            continue
        seen.add(id(owner))
        left -= 1
        for where, key, value in _list_parts(owner):
            if isinstance(value, Tensor):
                if id(value) in wanted:
                    found.append(Place(where, key, wanted.pop(id(value))))
            elif not isinstance(value, _PLAIN):
                following.append(value)
    return found


def _find_in_modules(
    root: nn.Module, wanted: dict[int, Tensor], found: list[Place], seen: set[int]
) -> list[dict[str, Any]]:
    """Find parameters and buffers of a module and of those in it; return what else they hold.

    Nearly all that functions read is here, and this runs in every solve.
    """
    following, rest = [root], []
    while following and wanted:
        module = following.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        attributes = attributes_of(module)
        for where in (attributes["_parameters"], attributes["_buffers"]):
            for key, value in where.items():
                if id(value) in wanted:
                    found.append(Place(where, key, wanted.pop(id(value))))
        following += [child for child in attributes["_modules"].values() if child is not None]
        if attributes.keys() - _OF_EVERY_MODULE:
            rest.append(attributes)
    return rest


def _list_parts(owner: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Return (where, key, where[key]) of what an object refers to."""
    if isinstance(owner, dict):  # it may be the attributes of a module, whose own kinds have been looked at
        yield from ((owner, key, value) for key, value in list(owner.items()) if key not in _OF_EVERY_MODULE)
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
        with contextlib.suppress(ValueError):  # not bound yet
            yield cell, name, cell.cell_contents


def _list_parts_object(owner: Any) -> Iterator[tuple[Any, Any, Any]]:
    try:
        attributes = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        attributes = {}
    if isinstance(attributes, dict):
        yield from ((attributes, key, value) for key, value in list(attributes.items()))
    for name in getattr(type(owner), "__slots__", ()):
        value = getattr(owner, name, None)
        if value is not None:
            yield owner, name, value
