"""The operations that can be lowered: one entry per ATen operation, grouped by what becomes of them.

`ELEMENTWISE`: a Julia expression of the operands, joined with its neighbours into one loop. `VIEWS`: another look at
the same memory, no code. `REDUCTIONS`: a loop that collects. `OTHERS`: methods of the `Writer`. `DECOMPOSITIONS` make
these of everything else that neural networks use.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ...torch_internals import aten_operations, get_decompositions
from ..joint_graph import JointGraph, draws_random
from .loops import Lazy, Value, as_boolean, number

aten = torch.ops.aten

# ---- elementwise: {0}, {1} ... are operands, tensors or numbers --------------------------------------------


def _read(table: str) -> dict[Any, str]:
    """Read operations, by name or name.overload, with their Julia expressions."""
    found = {}
    for name, expression in (entry.split(maxsplit=1) for entry in table.split(";")):
        operation, _, overload = name.partition(".")
        found[getattr(getattr(aten, operation), overload or "default")] = expression.strip()
    return found


ELEMENTWISE = _read("""
    abs abs({0});  acos acos_nan({0});  asin asin_nan({0});  atan atan({0});  atan2 atan({0}, {1});  ceil ceil({0});
    cos cos_nan({0});  cosh cosh({0});  div.Scalar ({0} / {1});  div.Tensor ({0} / {1});  erf erf({0});
    exp exp_fast({0});  exp2 exp2({0});  expm1 expm1_fast({0});  floor floor({0});  log log_nan({0});
    log10 log10_nan({0});  log1p log1p_nan({0});  log2 log2_nan({0});  masked_fill.Scalar ifelse({1}, {2}, {0});
    maximum larger({0}, {1});  minimum smaller({0}, {1});  mul.Scalar ({0} * {1});  mul.Tensor ({0} * {1});
    neg (-{0});  pow.Scalar pow_nan({0}, {1});  pow.Tensor_Tensor pow_nan({0}, {1});  reciprocal inv({0});
    relu larger({0}, zero(T));  round round({0});  rsqrt inv(sqrt_nan({0}));  sigmoid logistic({0});  sgn sign({0});
    sign sign({0});  sin sin_nan({0});  sinh sinh({0});  sqrt sqrt_nan({0});  tan tan_nan({0});
    tanh tanh_fast({0});  trunc trunc({0});  where.self ifelse({0}, {1}, {2})
""")

# Of numbers and truth values.
COMPARISONS = _read("""
    eq.Scalar ({0} == {1});  eq.Tensor ({0} == {1});  ge.Scalar ({0} >= {1});  ge.Tensor ({0} >= {1});
    gt.Scalar ({0} > {1});  gt.Tensor ({0} > {1});  isnan isnan({0});  le.Scalar ({0} <= {1});  le.Tensor ({0} <= {1});
    lt.Scalar ({0} < {1});  lt.Tensor ({0} < {1});  ne.Scalar ({0} != {1});  ne.Tensor ({0} != {1})
""")

# What gives truth values of truth values; numbers are made such first.
BOOLEAN = _read("""
    add.Tensor ({0} | {1});  bitwise_and.Tensor ({0} & {1});  bitwise_not (!{0});  bitwise_or.Tensor ({0} | {1});
    logical_and ({0} & {1});  logical_not (!{0});  logical_or ({0} | {1});  mul.Tensor ({0} & {1});
    where.self ifelse({0}, {1}, {2})
""")

CONDITIONS = {aten.where.self: 0, aten.masked_fill.Scalar: 1}  # which operand is one


def _scale(sign: str) -> Callable[..., Lazy]:
    def make(a: Value, b: Value, alpha: float = 1) -> Lazy:
        return Lazy.of(f"({{0}} {sign} {{1}})" if alpha == 1 else f"({{0}} {sign} {number(alpha)} * {{1}})", a, b)

    return make


def _power(x: Value, exponent: float) -> Lazy:
    simple = {0: "one(T)", 0.5: "sqrt_nan({0})", 1: "{0}", -1: "inv({0})", -0.5: "inv(sqrt_nan({0}))"}
    if exponent in simple:
        return Lazy.of(simple[exponent], x)
    if exponent in (2, 3, 4):
        return Lazy.of("(" + " * ".join(["{0}"] * int(exponent)) + ")", x)
    return Lazy.of(f"pow_nan({{0}}, {number(exponent)})", x)


def _clamp(x: Value, low: Any = None, high: Any = None) -> Lazy:
    result = Lazy.of("{0}", x)
    if low is not None:
        result = Lazy.of("larger({0}, {1})", result, low)
    return result if high is None else Lazy.of("smaller({0}, {1})", result, high)


# Elementwise operations whose arguments shape the expression.
FORMED: dict[Any, Callable[..., Lazy]] = {
    aten.add.Scalar: _scale("+"),
    aten.add.Tensor: _scale("+"),
    aten.clamp.Tensor: _clamp,
    aten.clamp.default: _clamp,
    aten.clamp_max.default: lambda x, high: _clamp(x, None, high),
    aten.clamp_min.default: _clamp,
    aten.pow.Tensor_Scalar: _power,
    aten.sub.Scalar: _scale("-"),
    aten.sub.Tensor: _scale("-"),
}

# ---- views, or several of one tensor: torch says how they lie, or that strides cannot say it ---------------

VIEWS = aten_operations(
    default="_unsafe_view as_strided diagonal expand permute split_with_sizes squeeze t unsqueeze view",
    int="select transpose unbind",
    Tensor="slice split unsafe_split",
    dim="squeeze",
    dims="squeeze",
)

# The value itself: graphs are functional, and gradients are in them already.
SAME = aten_operations(default="alias clone detach lift_fresh_copy")

# ---- reductions: the function that collects ----------------------------------------------------------------

REDUCTIONS: dict[Any, str] = {
    aten.amax.default: "max!",
    aten.amin.default: "min!",
    aten.sum.default: "add!",
    aten.sum.dim_IntList: "add!",
}

# ---- others: methods of the writer -------------------------------------------------------------------------

OTHERS: dict[Any, Callable[..., Value]] = {
    aten._to_copy.default: lambda w, x, dtype=None, **_: as_boolean(x) if dtype == torch.bool else w.convert(x),
    aten.addmm.default: lambda w, c, a, b, beta=1, alpha=1: w.add(w.product(a, b), c, alpha, beta),
    aten.baddbmm.default: lambda w, c, a, b, beta=1, alpha=1: w.add(w.product(a, b), c, alpha, beta),
    aten.bmm.default: lambda w, a, b: w.product(a, b),
    aten.bucketize.Tensor: lambda w, x, edges, out_int32=False, right=False: w.count_below(x, edges, right),
    aten.cat.default: lambda w, parts, dim=0: w.join(parts, dim),
    aten.copy.default: lambda w, to, x, *_: w.broadcast_to(x, to.shape),
    aten.index_add.default: lambda w, x, dim, index, rows: w.add_rows(x, dim, index, rows),
    aten.index_select.default: lambda w, x, dim, index: w.select_rows(x, dim, index),
    aten.mm.default: lambda w, a, b: w.product(a, b),
    aten.diagonal_backward.default: lambda w, g, shape, *how: w.embed(g, shape, aten.diagonal.default, *how),
    aten.diagonal_scatter.default: lambda w, x, part, *how: w.scatter(x, part, aten.diagonal.default, *how),
    aten.select_backward.default: lambda w, g, shape, dim, i: w.embed(g, shape, aten.select.int, dim, i),
    aten.select_scatter.default: lambda w, x, part, *how: w.scatter(x, part, aten.select.int, *how),
    aten.slice_backward.default: lambda w, g, shape, *how: w.embed(g, shape, aten.slice.Tensor, *how),
    aten.slice_scatter.default: lambda w, x, part, *how, **more: w.scatter(x, part, aten.slice.Tensor, *how, **more),
    aten.as_strided_scatter.default: lambda w, x, part, *how: w.scatter(x, part, aten.as_strided.default, *how),
    aten.constant_pad_nd.default: lambda w, x, pad, value=0: w.pad(x, pad, value),
}

# Tensors full of one number, which fuse into whatever reads them: where the number stands among the arguments.
FILLED: dict[Any, Callable[..., float]] = {
    aten.full.default: lambda shape, value, **_: value,
    aten.full_like.default: lambda x, value, **_: value,
    aten.new_full.default: lambda x, shape, value, **_: value,
    aten.scalar_tensor.default: lambda value, **_: value,
    **dict.fromkeys(aten_operations(default="ones ones_like"), lambda *_, **__: 1.0),
    **dict.fromkeys(
        aten_operations(
            default="new_zeros zero zeros zeros_like empty_like empty_strided new_empty new_empty_strided",
            memory_format="empty",  # nobody may read what these hold
        ),
        lambda *_, **__: 0.0,
    ),
}

# ---- decompositions ----------------------------------------------------------------------------------------


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    mean = _mean(x, dims, True)
    centred = x - mean
    rstd = torch.rsqrt(_mean(centred * centred, dims, True) + eps)
    y = centred * rstd
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), mean, rstd


def _mean(x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    dims = list(range(x.dim())) if not dims else list(dims)
    return x.sum(dims, keepdim) * (1.0 / math.prod(x.shape[d] for d in dims))


def _var(
    x: Tensor, dims: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    dims = list(range(x.dim())) if not dims else list(dims)
    n = math.prod(x.shape[d] for d in dims)
    centred = x - _mean(x, dims, True)
    return (centred * centred).sum(dims, keepdim) * (1.0 / (n - (1 if correction is None else correction)))


def _var_mean(x: Tensor, dims: Sequence[int] | None = None, **how: Any) -> tuple[Tensor, Tensor]:
    return _var(x, dims, **how), _mean(x, dims, how.get("keepdim", False))


def _trilinear(
    a: Tensor, b: Tensor, c: Tensor, new_a: list[int], new_b: list[int], new_c: list[int], summed: list[int], _: int = 1
) -> Tensor:
    """Return the product of three tensors with new dimensions, summed over some: bilinear layers."""
    for dims, i in ((new_a, 0), (new_b, 1), (new_c, 2)):
        for d in sorted(dims):
            a, b, c = (x.unsqueeze(d) if j == i else x for j, x in enumerate((a, b, c)))
    product = a * b * c
    return product.sum(summed) if summed else product


# What torch itself writes by smaller operations.
_BY_TORCH = """
    _log_softmax _log_softmax_backward_data _softmax _softmax_backward_data addcdiv addcmul celu dot elu elu_backward
    fill gelu gelu_backward glu glu_backward hardsigmoid hardsigmoid_backward hardswish hardswish_backward hardtanh
    hardtanh_backward leaky_relu leaky_relu_backward linalg_vector_norm linear_backward logit logsumexp mish
    mish_backward native_layer_norm_backward repeat rsub selu sigmoid_backward silu silu_backward softplus
    softplus_backward square stack tanh_backward threshold threshold_backward tril triu xlogy
"""

DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    **get_decompositions([getattr(aten, name) for name in _BY_TORCH.split()]),
    aten._reshape_alias.default: lambda x, shape, strides: x.view(shape),
    aten._trilinear.default: _trilinear,
    aten.mv.default: lambda a, x: (a @ x.unsqueeze(1)).squeeze(1),
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.native_layer_norm.default: _layer_norm,
    aten.var.correction: _var,
    aten.var_mean.correction: _var_mean,
}


def simplify(graph: JointGraph, sources: list[Tensor]) -> JointGraph:
    """Write the same graph by the operations that the table has, and what is computed twice, once."""
    examples = [*graph.examples, *(x.detach() for x in sources)]
    with torch.no_grad():
        module: fx.GraphModule = make_fx(graph.module, decomposition_table=DECOMPOSITIONS)(*examples)
    _merge_equal(module.graph)
    module.graph.eliminate_dead_code()
    return dataclasses.replace(graph, module=module)


def _merge_equal(graph: fx.Graph) -> None:
    """Leave one node for all that compute the same."""
    known: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or draws_random(node):
            continue
        key = (node.target, repr(node.args), repr(node.kwargs))
        same = known.setdefault(key, node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
