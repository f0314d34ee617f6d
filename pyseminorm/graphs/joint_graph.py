"""The joint graph of a captured function and its vector-Jacobian product: ATen operations, free of autograd."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ..errors import first_line
from ..torch_internals import leaving_transforms
from .capture import Captured, CaptureError, capturing, without_saved_tensors_hooks

aten = torch.ops.aten


@dataclass
class JointGraph:
    """The joint graph of f and its product, captured with ``examples``: t, y, adjoint (leaf by leaf, ``leaves`` each).

    Its placeholders are t, the leaves of y, the leaves of the adjoint, then one tensor for every source. It returns
    the leaves of f, of adj df/dy, then adj df/dtheta_i (None where f does not depend on it), of ``param_shapes``, then
    adj df/dt (or None). ``sources``: of every tensor that it reads, its place among those that func reads; or, of one
    that func makes anew at every call, such as ``torch.tensor(0.5)``, the tensor.
    """

    module: fx.GraphModule
    sources: list[int | Tensor]
    leaves: int
    param_shapes: list[tuple[int, ...]]
    examples: list[Tensor]

    def __post_init__(self) -> None:
        self._made = [source for source in self.sources if isinstance(source, Tensor)]
        made = itertools.count(-len(self._made))
        self._places = [source if isinstance(source, int) else next(made) for source in self.sources]

    def tensors(self, read: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors in the places of `sources`, for those that func reads."""
        return list(map([*read, *self._made].__getitem__, self._places))

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


def joint_graph(
    captured: Captured, read: Sequence[Tensor], targets: Sequence[Tensor], t: float, y: Tensor
) -> JointGraph:
    """Trace a captured function and its product at (t, y), with ``y`` (size,).

    Args:
        read: the tensors that func reads.
        targets: what gradients are wanted for, among them or not.

    Raises:
        CaptureError: what func reads is no plain tensor, func changes it, or make_fx cannot trace an operation.
    """
    for x in read:
        _check_plain(x)
    leaves = [leaf.detach().clone() for leaf in captured.spec.split(y)]
    examples = [y.new_full((), t), *leaves, *(torch.zeros_like(leaf) for leaf in leaves)]
    n, places = len(leaves), {id(x): i for i, x in enumerate(read)}
    wanted = [places.get(id(x)) for x in targets]

    def joint(t: Tensor, *rest: Tensor) -> list[Tensor | None]:
        with torch.enable_grad():
            when = t.detach().requires_grad_()
            leaves = [leaf.detach().requires_grad_() for leaf in rest[:n]]
            tensors = [x.detach().requires_grad_(i in wanted) for i, x in enumerate(rest[2 * n :])]
            outputs = captured.call(when, leaves, tensors)
            inputs = [*leaves, *(tensors[i] for i in wanted if i is not None), when]
            pairs = [(o, a) for o, a in zip(outputs, rest[n : 2 * n], strict=True) if o.requires_grad]
            found: list[Tensor | None] = [None] * len(inputs)
            if pairs:
                grads = torch.autograd.grad([o for o, _ in pairs], inputs, [a for _, a in pairs], allow_unused=True)
                found = list(grads)
        products = iter(found[n:])
        params = [None if i is None else next(products) for i in wanted]
        return [*(o.detach() for o in outputs), *found[:n], *params, next(products)]

    with capturing(), without_saved_tensors_hooks(), leaving_transforms():
        tensors = [x.detach() if i in wanted else _copy(x) for i, x in enumerate(read)]
        module = _trace(joint, [*examples, *tensors])
        if any(_mutates(node) for node in module.graph.nodes):
            module = _trace(torch.func.functionalize(module, remove="mutations"), [*examples, *tensors])
    nodes = list(module.graph.nodes)
    if any(_mutates(node) for node in nodes):
        raise CaptureError("it changes a tensor that it did not make, such as BatchNorm's running statistics")
    if any(draws_random(node) for node in nodes):
        raise CaptureError("it draws random numbers")
    return JointGraph(module, _sources(module, len(examples)), n, [tuple(x.shape) for x in targets], examples)


def _copy(x: Tensor) -> Tensor:
    """Return a tensor of the same layout and values, which a trace may write into."""
    if any(stride == 0 and n > 1 for n, stride in zip(x.shape, x.stride(), strict=True)):
        return x.detach()  # which PyTorch refuses to write into
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x.detach())


def _check_plain(x: Any) -> None:
    if not isinstance(x, Tensor):
        raise CaptureError(f"it reads a {type(x).__name__} that changes")
    if type(x) not in _PLAIN or x.layout != torch.strided or x.is_conj() or x.is_neg() or x.is_inference():
        raise CaptureError(f"it reads a tensor that is not a plain one ({type(x).__name__}, {x.layout})")


_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)


def _trace(function: Callable[..., Any], examples: Sequence[Tensor]) -> fx.GraphModule:
    try:
        return make_fx(function)(*examples)
    except Exception as error:
        if "data-dependent" in str(error) or "tracing tensor" in str(error):
            raise CaptureError("its control flow (or a number that it takes) depends on values") from error
        raise CaptureError(first_line(error)) from error


def _sources(module: fx.GraphModule, examples: int) -> list[int | Tensor]:
    """Make placeholders of the tensors that func makes anew, leave out what is not read, and list what is."""
    graph = module.graph
    graph.eliminate_dead_code()
    sources: list[int | Tensor] = []
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    after = inputs[examples - 1]
    for i, node in enumerate(inputs[examples:]):
        if node.users:
            sources.append(i)
            after = node
        else:
            graph.erase_node(node)
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor: Tensor = getattr(module, str(node.target))
        sources.append(tensor.detach().clone())
        with graph.inserting_after(after):
            after = graph.placeholder(f"constant_{len(sources)}")
        after.meta["val"] = tensor
        node.replace_all_uses_with(after)
        graph.erase_node(node)
    module.recompile()
    return sources


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def draws_random(node: fx.Node) -> bool:
    """Return whether a node draws random numbers; attention without dropout is marked as if it did."""
    if not any(str(tag).endswith("nondeterministic_seeded") for tag in getattr(node.target, "tags", ())):
        return False
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    return "dropout_p" not in names or bool((*node.args, *[0.0] * len(names))[names.index("dropout_p")])
