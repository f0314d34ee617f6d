"""Whether all that a function's values depend on is in plain sight, so that its graph needs no call of it for proof.

A graph that was captured once is checked before every solve by one call of the function, which takes as long as a small
solve. It can be left out where nothing else can make the values change: the function and what it calls are Python code
that reads only what `find` guards, or code of PyTorch; it writes nothing, reads no number out of a tensor, and is not
random. Whatever is not known to be harmless makes a function open, and the call is made.
"""

from __future__ import annotations

import dis
import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.utils._python_dispatch import TorchDispatchMode

from .surroundings import LEAVES, At, Lookups, Path, children, same

_CONTAINERS = (list, tuple, dict, OrderedDict)
_TENSORS = (Tensor, nn.Parameter, nn.parameter.Buffer) if hasattr(nn.parameter, "Buffer") else (Tensor, nn.Parameter)
_TRUSTED = ("torch", "math", "numpy")  # modules whose functions depend on their arguments, but for _READS below
_MOST = 5_000  # parts; a test of more would take longer than a call
# Operations of Python code by which it keeps something, or brings in what no look at it shows.
# fmt: off
_OPERATIONS = frozenset((
    "STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_SUBSCR", "IMPORT_NAME",
))
# fmt: on
# Names by which code reads a tensor's numbers without PyTorch's dispatcher, the state of a library, or the world, or
# calls what its names do not show.
# fmt: off
_READS = frozenset((
    "item", "tolist", "numpy", "data_ptr", "initial_seed", "get_rng_state", "is_grad_enabled",
    "is_inference_mode_enabled", "get_num_threads", "random", "default_rng", "load", "loadtxt", "genfromtxt",
    "fromfile", "memmap", "open", "input", "print", "id", "hash", "update", "setdefault", "eval", "exec", "compile",
    "globals", "locals", "vars", "getattr", "setattr", "delattr", "super", "__import__", "__dict__",
))
# fmt: on
# fmt: off
_HARMLESS = frozenset((
    "__init__", "__new__", "__repr__", "__str__", "__eq__", "__hash__", "__post_init__", "__getstate__",
    "__setstate__", "__reduce__", "__deepcopy__", "__copy__", "__init_subclass__", "__class_getitem__", "__dir__",
    "__del__", "__call__", "__match_args__", "__replace__",
))
# fmt: on
_OF_A_DECORATOR = {"__wrapped__"}
_ARRAY = "type({0}) is {1} and {0}.shape == {2} and {0}.dtype == {3}"
_TENSOR = _ARRAY + " and {0}.stride() == {4} and {0}.device == {5} and {0}.requires_grad is {6}"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class _OpenError(Exception):
    """The function is open."""


Finder = Callable[[Any], tuple[list[Any], ...] | None]

# Nobody sees all calls of PyTorch: no function mode, no dispatch mode, no hooks of all modules.
_UNWATCHED = " and ".join(
    ["not {1}()", "not {2}()", *(f"not {{3}}._global_{kind}_hooks" for kind in ("forward", "forward_pre", "backward"))]
)


class Proof:
    """The parts that a closed function is made of, and PyTorch's state; it holds no tensor and no module."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts, self._state = parts, state_of_torch()

    def finder(self, guards: Mapping[Path, Any] | None = None, *wanted: Sequence[Path | Tensor]) -> Finder:
        """What gives, for every one of ``wanted``, a list of what lies at its paths, or of tensors in their places.

        None where the roots that it is given are not made of the same parts, or where what lies at a path of ``guards``
        does not have its value.
        """
        write, torch_c = Lookups(), torch._C
        stacks: Any = torch_c._len_torch_function_stack, torch_c._len_torch_dispatch_stack
        write.require((), _UNWATCHED, (*stacks, nn_module))
        if len(self._state) == 1:  # without autocast, and without a call of Python, since this runs in every solve
            state = torch.get_default_dtype, *self._state, torch_c._is_any_autocast_enabled
            write.require((), "{1}() is {2} and not {3}()", state)
        else:
            write.require((), "{1}() == {2}", (state_of_torch, self._state))
        for path, expression, values in self._parts:
            write.require(path, expression, values)
        for path, value in (guards or {}).items():
            write.require(path, "{0} is {1} or {2}({0}, {1})", (value, same))
        lists = ([write.name(x) if isinstance(x, tuple) else write.constant(x) for x in each] for each in wanted)
        return write.function("(" + "".join([f"[{', '.join(names)}], " for names in lists]) + ")", raising=False)


def proof(*roots: Any) -> Proof | None:
    """Of a closed function and its arguments; None of an open one."""
    if not hasattr(torch._C, "_is_any_autocast_enabled"):  # PyTorch before 2.4 does not tell all of its state
        return None
    try:
        return Proof(list(_parts(roots)))
    except _OpenError:
        return None


def plain(call: Callable[[], Any]) -> bool:
    """Whether no operation of a call is random or reads numbers out of a tensor."""
    seen = _Observed()
    try:
        with seen:
            call()
    except Exception:  # an operation that cannot be looked at
        return False
    return seen.plain


class _Observed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plain = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags or func in _READERS:
            self.plain = False
        return func(*args, **(kwargs or {}))


_READERS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)


def state_of_torch() -> tuple[Any, ...]:
    """What PyTorch's own functions depend on besides their arguments."""
    default = torch.get_default_dtype()
    if not torch._C._is_any_autocast_enabled():
        return (default,)
    cpu, cuda = (torch.get_autocast_dtype(x) if torch.is_autocast_enabled(x) else None for x in ("cpu", "cuda"))
    return default, cpu, cuda


# A part: where it is, and an expression that is true of it as it is now, with what the expression's {1}, {2} ... are.
_Part = tuple[Path, str, tuple[Any, ...]]


def _parts(roots: tuple[Any, ...]) -> Iterator[_Part]:
    queue: list[tuple[Path, Any]] = [((("root", i),), root) for i, root in enumerate(roots)]
    seen: dict[int, Path] = {}
    names: set[str] = set()
    members: list[tuple[Path, str, Any]] = []  # of the user's classes, which code may call by name
    while queue:
        for path, value in queue:  # grows while it is read
            if len(seen) > _MOST:
                raise _OpenError
            if isinstance(value, LEAVES):
                continue
            if id(value) in seen:
                yield path, "{0} is {1}", (At(seen[id(value)]),)  # what is shared must stay so
                continue
            seen[id(value)] = path
            yield (path, *_test(value))
            if isinstance(value, types.FunctionType):
                names |= _names(value.__code__)
            elif not isinstance(value, (types.MethodType, functools.partial, *_CONTAINERS)):
                members.extend((path, *member) for member in _members(type(value)))
            queue.extend(((*path, step), child) for step, child in children(value))
        queue = [((*path, ("method", name)), m) for path, name, m in members if name in names and id(m) not in seen]


def _test(value: Any) -> tuple[str, tuple[Any, ...]]:
    """What is true of a part as long as it is the same."""
    kind = type(value)
    if kind in _TENSORS:  # numbers are looked up again, or compared by the guards
        form = (value.shape, value.dtype, value.stride(), value.device, value.requires_grad)
        return _TENSOR, (kind, *form)
    if kind is np.ndarray:
        return _ARRAY, (kind, value.shape, value.dtype)
    if isinstance(value, (Tensor, np.ndarray)):
        raise _OpenError
    if kind in _CONTAINERS:
        return "type({0}) is {1} and len({0}) == {2}", (kind, len(value))
    if isinstance(value, types.FunctionType):
        if _trusted(value):
            return "{0} is {1}", (value,)
        if not vars(value).keys() <= _OF_A_DECORATOR:
            raise _OpenError
        return "{0}.__code__ is {1} and {0}.__dict__.keys() <= {2}", (value.__code__, _OF_A_DECORATOR)
    if isinstance(value, (types.MethodType, functools.partial)):
        return "type({0}) is {1}", (kind,)
    if isinstance(value, types.ModuleType):
        if value.__name__.partition(".")[0] in _TRUSTED:
            return "{0} is {1}", (value,)
        raise _OpenError
    if isinstance(value, (type, types.BuiltinFunctionType)):
        if _trusted(value) or getattr(value, "__module__", "") == "builtins":
            return "{0} is {1}", (value,)
        raise _OpenError
    return _test_of_object(value)


def _test_of_object(value: Any) -> tuple[str, tuple[Any, ...]]:
    kind = type(value)
    own = [k for k in kind.__mro__ if not (_trusted(k) or k is object)]
    if any("__slots__" in vars(k) for k in own) or not hasattr(value, "__dict__"):
        raise _OpenError
    special = {name for k in own for name in vars(k) if name.startswith("__") and callable(getattr(k, name, None))}
    if special - _HARMLESS:
        raise _OpenError
    size = "type({0}) is {1} and len({0}.__dict__) == {2}", (kind, len(vars(value)))
    if not isinstance(value, nn.Module):
        if not own:
            raise _OpenError
        return size
    if "__call__" in special or (not own and not kind.__module__.startswith("torch.nn.")):
        raise _OpenError
    hooks = [name for name in _HOOKS if name in vars(value)]
    if any(vars(value)[name] for name in hooks):
        raise _OpenError
    return size[0] + "".join(f" and not {{0}}.{name}" for name in hooks), size[1]


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Functions of the user's own classes by name, those that the class has from the first of them."""
    found: dict[str, Any] = {}
    for k in kind.__mro__:
        if _trusted(k) or k is object:
            break  # what follows can be overridden no more
        for name, member in vars(k).items():
            if not name.startswith("__"):
                found.setdefault(name, member)
    for name, member in found.items():
        if isinstance(member, types.FunctionType):
            yield name, member
        elif isinstance(member, (property, staticmethod, classmethod)) or hasattr(type(member), "__get__"):
            yield name, _OPAQUE  # open if it is called


_OPAQUE = type("Opaque", (), {"__slots__": ()})()


def _names(code: types.CodeType) -> set[str]:
    """Names in a function's code and in that of functions made inside it, all harmless."""
    if _OPERATIONS & {step.opname for step in dis.get_instructions(code)} or "__class__" in code.co_freevars:
        raise _OpenError
    names = set(code.co_names)
    if names & _READS:
        raise _OpenError
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _trusted(thing: Any) -> bool:
    module = str(getattr(thing, "__module__", ""))
    opaque = ("torch._dynamo", "torch.jit", "torch.fx", "torch.utils.checkpoint", "torch.export")
    return module.partition(".")[0] in _TRUSTED and not module.startswith(opaque)
