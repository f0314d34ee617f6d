"""Small buffers of what inductor compiles, made once instead of at every call.

Its code makes each buffer by a call of Python, some hundred in a step of a small model, which takes longer than the
kernel. Buffers that it gives out are still made at every call.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

Call = Callable[[list[Tensor]], Sequence[Tensor]]


def keep_buffers(call: Any) -> Call:
    """Return the method ``call(list of tensors)`` of inductor's code, with its small buffers on the CPU made once.

    Calls at the same time, in several threads, have buffers each.
    """
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(call))).body
    assert isinstance(function, ast.FunctionDef)
    kept = _find_kept(function)
    if not kept or any("self" in _names(x) for x in function.body):
        return call  # type: ignore[no-any-return]
    made = [x for x in function.body if _target(x) in kept]
    function.body = [rest for x in function.body if (rest := _leave_out(x, kept)) is not None]
    function.args.args, function.decorator_list = function.args.args[1:], []
    outer = ast.parse(f"def make():\n    return {function.name}")
    outer.body[0].body[:0] = [*made, function]  # type: ignore[attr-defined]
    space = dict(call.__globals__)
    exec(compile(ast.fix_missing_locations(outer), "<workspace>", "exec"), space)
    make: Callable[[], Call] = space["make"]
    idle = [make()]

    def run(arguments: list[Tensor]) -> Sequence[Tensor]:
        own = idle.pop() if idle else make()
        try:
            return own(arguments)
        finally:
            idle.append(own)

    return run


def _find_kept(function: ast.FunctionDef) -> set[str]:
    """Return the names of small buffers, and of views of them, that no result can be a part of."""
    roots: dict[str, set[str]] = {}  # the buffers that what a name stands for may be a part of
    large, kept = set[str](), set[str]()
    for statement in function.body:
        if not isinstance(statement, ast.Assign):
            continue
        read, size = _names(statement.value), _bytes(statement.value)
        for name in set().union(*map(_names, statement.targets)):
            if name in roots:
                return set()
            roots[name] = {name} if size is not None else set().union(*(roots.get(x, ()) for x in read))
            if size is not None and size > MOST_BYTES:
                large.add(name)
            if size is not None or _viewed(statement.value) in kept:
                kept.add(name)
    results = [x for x in function.body if isinstance(x, ast.Return)]
    given = set().union(*(roots.get(x, ()) for result in results for x in _names(result)))
    return {name for name in kept if not roots[name] & (given | large)} if len(results) == 1 else set()


def _target(statement: ast.stmt) -> str | None:
    """Return the name that a statement gives a value."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def _leave_out(statement: ast.stmt, names: set[str]) -> ast.stmt | None:
    """Return a statement without what it does to names, if anything remains."""
    if not isinstance(statement, ast.Delete):
        return None if _target(statement) in names else statement
    targets = [x for x in statement.targets if not (_names(x) & names)]
    return ast.Delete(targets) if targets else None


def _names(node: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}


def _bytes(value: ast.expr) -> int | None:
    """Return the size of the buffer that an expression makes; None where it makes none on the CPU."""
    if not (isinstance(value, ast.Call) and _names(value.func) == {"empty_strided_cpu"}):
        return None
    shape: tuple[int, ...] = ast.literal_eval(value.args[0])
    return 16 * math.prod(shape)  # of the widest dtype


def _viewed(value: ast.expr) -> str | None:
    """Return the name of what an expression is another name, or a view, of."""
    if isinstance(value, ast.Call) and _names(value.func) == {"reinterpret_tensor"}:
        value = value.args[0]
    return value.id if isinstance(value, ast.Name) else None


MOST_BYTES = 2**14
