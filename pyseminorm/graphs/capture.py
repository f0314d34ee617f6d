"""Capturing a function and its vector-Jacobian product as one ATen graph, free of autograd and of the user's Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ..problem.vector_field import EagerVectorField
from .surroundings import Path, described, find, resolver

aten = torch.ops.aten


class CaptureError(Exception):
    """Why a function has no graph; the message is for the log line of the fallback."""


class Source:
    """Where a tensor that the graph reads comes from.

    Attributes:
        target: the index of a target of the field, or None.
        path: where it was found from (func, args), or None.
        literal: a tensor that func makes anew at every call, such as ``torch.tensor(0.5)``, or None.
    """

    def __init__(self, target: int | None, path: Path | None, literal: Tensor | None, like: Tensor) -> None:
        self.target, self.path, self.literal = target, path, literal
        self._form = _form(like)

    def tensor(self, field: EagerVectorField, found: Any = None) -> Tensor:
        """The tensor as it is now; ``found`` is what lies at `path`.

        Raises:
            LookupError: there is none any more, or another kind of tensor, or one that is not the target's.
        """
        if self.literal is not None:
            return self.literal
        known = None if self.target is None else field.targets[self.target]
        if self.path is None:
            found = known
        if not isinstance(found, Tensor) or _form(found) != self._form or (known is not None and found is not known):
            raise LookupError(described(self.path or ()))
        return found


class SourceTensors:
    """Finds the tensors of sources again, all at once, with the plain objects at other ``paths``."""

    def __init__(self, sources: Sequence[Source], paths: Sequence[Path] = ()) -> None:
        self._sources, self._others = sources, len(paths)
        self._resolve = resolver([*paths, *(source.path for source in sources if source.path is not None)])

    def found(self, field: EagerVectorField) -> tuple[list[Any], list[Any]]:
        """What lies at the other paths, and at those of the sources."""
        now = self._resolve((field.func, field.args))
        return now[: self._others], now[self._others :]

    def tensors(self, field: EagerVectorField, found: list[Any]) -> list[Tensor]:
        """The tensors of all sources, for what lies at their paths."""
        at = iter(found)
        return [s.tensor(field) if s.path is None else s.tensor(field, next(at)) for s in self._sources]

    def __call__(self, field: EagerVectorField) -> list[Tensor]:
        return self.tensors(field, self.found(field)[1])


def _form(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


@dataclass
class Graph:
    """The joint graph of f and its product.

    Its placeholders are t, the leaves of y, the leaves of the adjoint, then one tensor for every source. It returns
    the leaves of f, of adj df/dy, then adj df/dtheta_i (None where f does not depend on it), then adj df/dt (or None).

    Attributes:
        leaves: how many leaves y has.
        param_shapes: of the targets.
        examples: what it was captured with: t, y, adjoint (leaf by leaf).
    """

    module: fx.GraphModule
    sources: list[Source]
    leaves: int
    param_shapes: list[tuple[int, ...]]
    examples: list[Tensor]

    @property
    def inputs(self) -> list[fx.Node]:
        return [node for node in self.module.graph.nodes if node.op == "placeholder"]

    @property
    def outputs(self) -> Outputs:
        (node,) = (node for node in self.module.graph.nodes if node.op == "output")
        values: Sequence[Any] = node.args[0]
        n = self.leaves
        return Outputs(list(values[:n]), list(values[n : 2 * n]), list(values[2 * n : -1]), values[-1])


@dataclass(frozen=True)
class Outputs:
    """The graph's results as nodes; None for a zero."""

    value: list[fx.Node]
    state: list[fx.Node | None]
    params: list[fx.Node | None]
    time: fx.Node | None


def capture(field: EagerVectorField, t: float, y: Tensor) -> Graph:
    """The joint graph of a field at (t, y), with ``y`` (size,).

    Raises:
        CaptureError: control flow that depends on data, a tensor that cannot be found again, or what make_fx cannot.
        Exception: what func itself raises.
    """
    spec = field.spec
    if spec.is_complex:
        raise CaptureError("the state is complex")
    leaves = [leaf.detach().clone() for leaf in spec.split(y)]
    examples = [field.time(t), *leaves, *(torch.zeros_like(leaf) for leaf in leaves)]

    def joint(t: Tensor, *rest: Tensor) -> list[Tensor | None]:
        return _joint(field, t, list(rest[: len(leaves)]), list(rest[len(leaves) :]))

    module = _trace(joint, examples)
    sources = _lift_constants(module, field)
    if any(_mutates(node) for node in module.graph.nodes):
        plain = torch.func.functionalize(module, remove="mutations")
        tensors = SourceTensors(sources)(field)
        module = _trace(plain, [*examples, *(x.detach().clone() for x in tensors)])
        if any(_mutates(node) for node in module.graph.nodes):
            raise CaptureError("it changes a tensor that it did not make, such as BatchNorm's running statistics")
    module.graph.eliminate_dead_code()
    return Graph(module, sources, len(leaves), [tuple(x.shape) for x in field.targets], examples)


def _joint(field: EagerVectorField, t: Tensor, y: list[Tensor], adjoint: list[Tensor]) -> list[Tensor | None]:
    with torch.enable_grad():
        when = t.detach().requires_grad_()
        leaves = [leaf.detach().requires_grad_() for leaf in y]
        outputs = pytree.tree_leaves(field.func(when, field.spec.build(leaves), *field.args))
        wanted = [*leaves, *field.targets, when]
        pairs = [(o, a) for o, a in zip(outputs, adjoint, strict=True) if o.requires_grad]
        grads: Sequence[Tensor | None] = (None,) * len(wanted)
        if pairs:
            grads = torch.autograd.grad([o for o, _ in pairs], wanted, [a for _, a in pairs], allow_unused=True)
    return [*(o.detach() for o in outputs), *grads]


def _trace(function: Callable[..., Any], examples: Sequence[Tensor], **options: Any) -> fx.GraphModule:
    try:
        return make_fx(function, **options)(*examples)
    except RuntimeError as error:
        if "data-dependent" in str(error) or "tracing tensor" in str(error):
            raise CaptureError(
                "its control flow (or a number that it takes) depends on the values of y or t"
            ) from error
        raise CaptureError(_first_line(error)) from error
    except NotImplementedError as error:
        raise CaptureError(_first_line(error)) from error


def _lift_constants(module: fx.GraphModule, field: EagerVectorField) -> list[Source]:
    """Make placeholders of the tensors that the graph holds, and say where each comes from."""
    graph = module.graph
    held: dict[int, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            held.setdefault(id(getattr(module, str(node.target))), []).append(node)
    if not held:
        return []
    targets = {id(target): i for i, target in enumerate(field.targets)}
    reachable: dict[int, Path] = {}
    for path, leaf in find(field.func, field.args):
        if isinstance(leaf, Tensor):
            reachable.setdefault(id(leaf), path)
    sources = []
    after = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for identity, nodes in held.items():
        tensor: Tensor = getattr(module, str(nodes[0].target))
        sources.append(_source(tensor, nodes, targets.get(identity), reachable.get(identity)))
        with graph.inserting_after(after):
            after = graph.placeholder(f"constant_{len(sources)}")
        after.meta["val"] = tensor
        for node in nodes:
            node.replace_all_uses_with(after)
            graph.erase_node(node)
    for name in {str(nodes[0].target) for nodes in held.values()}:
        delattr(module, name)  # the graph outlives the model
    module.recompile()
    return sources


def _source(tensor: Tensor, nodes: list[fx.Node], target: int | None, path: Path | None) -> Source:
    if target is not None or path is not None:
        return Source(target, path, None, tensor)
    # torch.tensor(0.5) in func: a literal, made anew by every call.
    if all(user.target is aten.lift_fresh_copy.default for node in nodes for user in node.users):
        return Source(None, None, tensor.detach().clone(), tensor)
    raise CaptureError(
        f"it uses a tensor of shape {tuple(tensor.shape)} that cannot be found from func and args: pass it in args"
    )


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
