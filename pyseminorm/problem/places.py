"""Where func finds the tensors that it reads: attributes, parameters, buffers, closures, globals, lists and dicts."""

from __future__ import annotations

import collections
import contextlib
import dis
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
    """A place that held ``value``: ``where[key]``, the contents of a cell, or the slot ``key`` of an object."""

    where: Any
    key: Any
    value: Any

    def now(self) -> Any:
        """Return what is there now; None where there is nothing."""
        where = self.where
        try:
            if isinstance(where, dict):
                return where.get(self.key)
            if isinstance(where, (list, tuple)):
                return where[self.key]
            return where.cell_contents if isinstance(where, types.CellType) else getattr(where, self.key)
        except (LookupError, AttributeError, ValueError):
            return None

    def put(self, value: Any) -> None:
        """Let something be there."""
        if isinstance(self.where, (dict, list)):
            self.where[self.key] = value
        elif isinstance(self.where, types.CellType):
            self.where.cell_contents = value
        else:
            setattr(self.where, self.key, value)

    @property
    def is_changeable(self) -> bool:
        return self.where is not None and not isinstance(self.where, tuple)


class Way(NamedTuple):
    """The way to an object: the place that holds it, and the way to the holder of that; None: func itself."""

    last: Place
    before: Way | None


def find_places(func: Any, tensors: Iterable[Tensor]) -> tuple[list[Place], list[Place]]:
    """Find where func holds ``tensors``, one place of each, of those that are found; and the places of the objects on
    the way there, such as the layers that hold weights.
    """
    wanted = {id(x): x for x in tensors}
    found: list[Place] = []
    ways: dict[int, Way] = {}
    seen: set[int] = set()
    following: collections.deque[tuple[Any, Way | None]] = collections.deque([(func, None)])
    left = _MOST
    while following and wanted and left:
        owner, way = following.popleft()
        if id(owner) in seen:
            continue
        if isinstance(owner, nn.Module):
            following.extend(_find_in_modules(owner, way, wanted, found, ways, seen))
            continue
        seen.add(id(owner))
        left -= 1
        for where, key, value in _list_parts(owner):
            if isinstance(value, Tensor):
                if id(value) in wanted:
                    found.append(Place(where, key, wanted.pop(id(value))))
                    _note(way, ways)
            elif not isinstance(value, _PLAIN):
                place = Place(where, key, value)
                following.append((value, Way(place, way) if place.is_changeable else way))
    return found, [way.last for way in ways.values()]


def _find_in_modules(
    root: nn.Module,
    way: Way | None,
    wanted: dict[int, Tensor],
    found: list[Place],
    ways: dict[int, Way],
    seen: set[int],
) -> list[tuple[Any, Way | None]]:
    """Find parameters and buffers of a module and of those in it; return what else they hold, with the ways there.

    Nearly all that functions read is here, and this runs in every solve.
    """
    following, rest = [(root, way)], list[tuple[Any, Way | None]]()
    while following and wanted:
        module, way = following.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        attributes = attributes_of(module)
        for where in (attributes["_parameters"], attributes["_buffers"]):
            for key, value in where.items():
                if id(value) in wanted:
                    found.append(Place(where, key, wanted.pop(id(value))))
                    _note(way, ways)
        modules = attributes["_modules"]
        following += [(x, Way(Place(modules, key, x), way)) for key, x in modules.items() if x is not None]
        if attributes.keys() - _OF_EVERY_MODULE:
            rest.append((attributes, way))
        if not type(module).__module__.startswith("torch."):
            rest.append((type(module).forward, way))
    return rest


def _note(way: Way | None, ways: dict[int, Way]) -> None:
    """Take up the places on a way, each once."""
    while way is not None and id(way) not in ways:
        ways[id(way)] = way
        way = way.before


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
    for name in _list_globals(function.__code__):
        if name in function.__globals__:
            yield function.__globals__, name, function.__globals__[name]
    yield None, None, function.__kwdefaults__
    yield None, None, function.__defaults__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            yield cell, name, cell.cell_contents


@functools.lru_cache(maxsize=1024)
def _list_globals(code: types.CodeType) -> tuple[str, ...]:
    """Return the names of globals that code reads; ``co_names`` has those of attributes, too."""
    return tuple(
        dict.fromkeys(x.argval for x in dis.get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    )


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
    called = next((vars(kind)["__call__"] for kind in type(owner).__mro__ if "__call__" in vars(kind)), None)
    if isinstance(called, types.FunctionType):
        yield None, None, called
