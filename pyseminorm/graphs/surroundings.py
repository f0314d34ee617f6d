"""What a function can read without being given it: tensors and plain values in closures, attributes and globals.

A graph that was captured once is right as long as these stay what they were. Plain values are compared before every
solve; tensors are looked up again, so that a new one in the same place is used by the same graph.
"""

from __future__ import annotations

import functools
import itertools
import keyword
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Path = tuple[tuple[str, Any], ...]

_PLAIN = (bool, int, float, complex, str, type(None))
LEAVES = (*_PLAIN, torch.dtype, torch.device, torch.Size)  # compared by their values
_MOST = 20_000  # objects looked at; what lies beyond is not guarded, and a tensor there refuses the capture
_INTERNALS = set(vars(nn.Module())) - {"_modules", "_parameters", "_buffers", "training"}
_LIBRARIES = ("torch", "numpy", "builtins", "math", "functools", "typing")


def find(*roots: Any) -> Iterator[tuple[Path, Any]]:
    """(path, leaf) of every tensor, array and plain value that can be reached from the roots, shortest paths first."""
    queue: list[tuple[Path, Any]] = [((("root", i),), root) for i, root in enumerate(roots)]
    seen: set[int] = set()
    for path, value in queue:  # grows while it is read
        if isinstance(value, LEAVES):
            yield path, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (Tensor, np.ndarray)):
            yield path, value
            continue
        if len(queue) < _MOST:
            queue.extend(((*path, step), child) for step, child in children(value))


@dataclass(frozen=True)
class At:
    """What lies at a path, where an expression of `Lookups` wants a value."""

    path: Path


class Lookups:
    """Writes a function that finds the objects at some paths again, given the roots; it is made since it runs often.

    The objects that it finds may be others. Where there is none any more it raises LookupError, AttributeError,
    TypeError or ValueError, or returns None.
    """

    def __init__(self) -> None:
        self._names: dict[Path, str] = {(): "roots"}
        self._constants: dict[str, Any] = {}
        self._lines: list[str] = []

    def name(self, path: Path) -> str:
        """The variable that holds what lies at a path."""
        if path not in self._names:
            (kind, key), holder = path[-1], self.name(path[:-1])
            name = self._names[path] = f"x{len(self._names)}"
            if kind == "attr" and key.isidentifier() and not keyword.iskeyword(key):
                step = f"{holder}.{key}"
            else:
                step = _STEPS[kind].format(holder, repr(key) if type(key) in (int, str) else self.constant(key))
            self._lines.append(f"{name} = {step}")
        return self._names[path]

    def require(self, path: Path, expression: str, values: Sequence[Any]) -> None:
        """Return None where an expression is not true; {0} in it is what lies at the path, the others are values."""
        names = [self.name(path), *(self.name(v.path) if isinstance(v, At) else self.constant(v) for v in values)]
        self._lines.append(f"if not ({expression.format(*names)}): return None")

    def function(self, result: str, *, raising: bool = True) -> Callable[[Sequence[Any]], Any]:
        """The function, which returns an expression."""
        lines = [*self._lines, f"return {result}"]
        if not raising:
            lines = ["try:", *(f"    {line}" for line in lines), f"except {self.constant(_LOST)}:", "    return None"]
        space, code = dict(self._constants), "".join(f"    {line}\n" for line in lines)
        exec(f"def find(roots):\n{code}", space)
        found: Callable[[Sequence[Any]], Any] = space["find"]
        return found

    def constant(self, value: Any) -> str:
        """The variable that holds a value."""
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return name


_LOST = (LookupError, AttributeError, TypeError, ValueError)


def resolver(paths: Sequence[Path]) -> Callable[[Sequence[Any]], list[Any]]:
    """What gives the objects at some paths, as a list."""
    write = Lookups()
    return write.function(f"[{', '.join([write.name(path) for path in paths])}]")


def same(a: Any, b: Any) -> bool:
    """Whether two leaves that are no tensors are equal."""
    if a is b and not isinstance(a, np.ndarray):
        return True
    if type(a) is not type(b):
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") if isinstance(a, np.ndarray) else bool(a == b)


def described(path: Path) -> str:
    """A path in words, such as ``func.net.scale``."""
    return "".join(_WORDS[kind].format(key) for kind, key in path)


def children(value: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    if isinstance(value, Mapping):
        yield from ((("item", k), v) for k, v in itertools.islice(value.items(), _MOST) if isinstance(k, (str, int)))
    elif isinstance(value, (list, tuple)):
        yield from ((("item", i), v) for i, v in enumerate(value[:_MOST]))
    elif isinstance(value, functools.partial):
        yield from ((("attr", name), getattr(value, name)) for name in ("func", "args", "keywords"))
    elif isinstance(value, types.MethodType):
        yield ("attr", "__self__"), value.__self__
        yield ("attr", "__func__"), value.__func__
    elif isinstance(value, types.FunctionType):
        yield from _children_of_function(value)
    elif not _of_a_library(type(value)) or isinstance(value, nn.Module):
        yield from _children_of_object(value)


def _children_of_function(function: types.FunctionType) -> Iterator[tuple[tuple[str, Any], Any]]:
    if _of_a_library(function):
        return
    for i, cell in enumerate(function.__closure__ or ()):
        try:
            yield ("cell", i), cell.cell_contents
        except ValueError:  # an empty cell
            continue
    for name in ("__defaults__", "__kwdefaults__"):
        yield ("attr", name), getattr(function, name)
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield ("global", name), function.__globals__[name]


def _names(code: types.CodeType) -> set[str]:
    """Names of globals (and attributes) in a function's code and in functions made inside it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _children_of_object(value: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    if isinstance(value, (types.ModuleType, type)):
        return
    module = isinstance(value, nn.Module)
    for name, child in vars(value).items() if hasattr(value, "__dict__") else ():
        if not module or name not in _INTERNALS:
            yield ("attr", name), child
    for kind in type(value).__mro__:
        if not _of_a_library(kind):
            yield from ((("attr", name), child) for name, child in vars(kind).items() if _is_data(name, child))
    method = "forward" if module else "__call__"
    if not _of_a_library(type(value)) and isinstance(getattr(type(value), method, None), types.FunctionType):
        yield ("method", method), getattr(type(value), method)


def _is_data(name: str, member: Any) -> bool:
    """Whether a member of a class is a value, not a part of the language."""
    return not name.startswith("__") and isinstance(member, (*_PLAIN, Tensor, np.ndarray, list, tuple, dict, nn.Module))


def _of_a_library(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in _LIBRARIES


_STEPS = {
    "root": "{0}[{1}]",
    "attr": "getattr({0}, {1})",
    "item": "{0}[{1}]",
    "cell": "{0}.__closure__[{1}].cell_contents",
    "global": "{0}.__globals__[{1}]",
    "method": "getattr(type({0}), {1})",
}
_WORDS = {
    "root": "[{}]",
    "attr": ".{}",
    "item": "[{!r}]",
    "cell": ".__closure__[{}]",
    "global": "'s global {}",
    "method": ".{}",
}
