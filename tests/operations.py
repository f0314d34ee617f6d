"""One small function for every operation that can be lowered: operation -> f(x) of a (3, 4) tensor within (-1, 1)."""

import torch

aten = torch.ops.aten


def _p(x):
    """A positive tensor."""
    return x * x + 0.3


def _place(x):
    """Which of three pieces every element is in."""
    return aten.bucketize(x, torch.tensor([-0.2, 0.3], dtype=x.dtype))


def _mask(x):
    return aten.where.self(aten.gt.Scalar(x, 0.1), x, x * 2)


def _compare(op, *other):
    return lambda x: torch.where(op(x, *(other or (x.t().reshape(3, 4),))), x, -2 * x)


_SIX = (aten.eq, aten.ge, aten.gt, aten.le, aten.lt, aten.ne)


ELEMENTWISE = {
    aten.abs.default: lambda x: aten.abs(x),
    aten.acos.default: lambda x: aten.acos(x),
    aten.asin.default: lambda x: aten.asin(x),
    aten.atan.default: lambda x: aten.atan(x),
    aten.atan2.default: lambda x: aten.atan2(x, x.t().reshape(3, 4)),
    aten.ceil.default: lambda x: aten.ceil(3 * x) * x,
    aten.cos.default: lambda x: aten.cos(3 * x),
    aten.cosh.default: lambda x: aten.cosh(x),
    aten.div.Scalar: lambda x: aten.div.Scalar(x, 3.0),
    aten.div.Tensor: lambda x: aten.div.Tensor(x, _p(x)),
    aten.erf.default: lambda x: aten.erf(2 * x),
    aten.exp.default: lambda x: aten.exp(5 * x),
    aten.exp2.default: lambda x: aten.exp2(x),
    aten.expm1.default: lambda x: aten.expm1(x),
    aten.floor.default: lambda x: aten.floor(3 * x) * x,
    aten.log.default: lambda x: aten.log(_p(x)),
    aten.log10.default: lambda x: aten.log10(_p(x)),
    aten.log1p.default: lambda x: aten.log1p(x),
    aten.log2.default: lambda x: aten.log2(_p(x)),
    aten.masked_fill.Scalar: lambda x: aten.masked_fill(x, x > 0.2, 0.7),
    aten.maximum.default: lambda x: aten.maximum(x, x.t().reshape(3, 4)),
    aten.minimum.default: lambda x: aten.minimum(x, x.t().reshape(3, 4)),
    aten.mul.Scalar: lambda x: aten.mul.Scalar(x, 3.0),
    aten.mul.Tensor: lambda x: aten.mul.Tensor(x, x[0]),
    aten.neg.default: lambda x: aten.neg(x),
    aten.pow.Scalar: lambda x: aten.pow.Scalar(1.7, x),
    aten.pow.Tensor_Tensor: lambda x: aten.pow.Tensor_Tensor(_p(x), x),
    aten.reciprocal.default: lambda x: aten.reciprocal(_p(x)),
    aten.relu.default: lambda x: aten.relu(x),
    aten.round.default: lambda x: aten.round(3 * x) * x,
    aten.rsqrt.default: lambda x: aten.rsqrt(_p(x)),
    aten.sigmoid.default: lambda x: aten.sigmoid(4 * x),
    aten.sgn.default: lambda x: aten.sgn(x) * x,
    aten.sign.default: lambda x: aten.sign(x) * x,
    aten.sin.default: lambda x: aten.sin(3 * x),
    aten.sinh.default: lambda x: aten.sinh(x),
    aten.sqrt.default: lambda x: aten.sqrt(_p(x)),
    aten.tan.default: lambda x: aten.tan(x),
    aten.tanh.default: lambda x: aten.tanh(3 * x),
    aten.trunc.default: lambda x: aten.trunc(3 * x) * x,
    aten.where.self: _mask,
}

COMPARISONS = {
    aten.bitwise_and.Tensor: lambda x: torch.where(aten.bitwise_and(x > 0, x < 0.5), x, -x),
    aten.bitwise_not.default: lambda x: torch.where(aten.bitwise_not(x > 0), x, 3 * x),
    aten.bitwise_or.Tensor: lambda x: torch.where(aten.bitwise_or(x > 0.5, x < -0.5), x, -x),
    aten.isnan.default: lambda x: torch.where(aten.isnan(x), -x, x),
    aten.logical_and.default: lambda x: torch.where(aten.logical_and(x > 0, x < 0.5), x, -x),
    aten.logical_not.default: lambda x: torch.where(aten.logical_not(x > 0), x, 3 * x),
    aten.logical_or.default: lambda x: torch.where(aten.logical_or(x > 0.5, x < -0.5), x, -x),
    **{
        getattr(aten, name).Scalar: _compare(getattr(aten, name).Scalar, 0.2)
        for name in ("eq", "ge", "gt", "le", "lt", "ne")
    },
    **{
        getattr(aten, name).Tensor: _compare(getattr(aten, name).Tensor)
        for name in ("eq", "ge", "gt", "le", "lt", "ne")
    },
}

FORMED = {
    aten.add.Scalar: lambda x: aten.add.Scalar(x, 1.5, 2.0),
    aten.add.Tensor: lambda x: aten.add.Tensor(x, x * x, alpha=0.5),
    aten.clamp.Tensor: lambda x: aten.clamp.Tensor(x, x[0] - 0.1, x[1] + 1),
    aten.clamp.default: lambda x: aten.clamp(x, -0.3, 0.4),
    aten.clamp_max.default: lambda x: aten.clamp_max(x, 0.4),
    aten.clamp_min.default: lambda x: aten.clamp_min(x, -0.3),
    aten.pow.Tensor_Scalar: lambda x: (
        aten.pow.Tensor_Scalar(x, 3)
        + aten.pow.Tensor_Scalar(_p(x), -0.5)
        + aten.pow.Tensor_Scalar(_p(x), 1.7)
        + aten.pow.Tensor_Scalar(_p(x), 0.5)
        - aten.pow.Tensor_Scalar(_p(x), -1)
        + aten.pow.Tensor_Scalar(x, 2)
    ),
    aten.sub.Scalar: lambda x: aten.sub.Scalar(x, 1.5),
    aten.sub.Tensor: lambda x: aten.sub.Tensor(x, x[:, :1]),
}

VIEWS = {
    aten._unsafe_view.default: lambda x: aten._unsafe_view(x * 2, [4, 3]).t() * x,
    aten.as_strided.default: lambda x: aten.as_strided(x * 2, [3, 4], [1, 3]) * x,
    aten.diagonal.default: lambda x: x[:, :3] @ x + aten.diagonal(x * 2, 1).sum(),
    aten.expand.default: lambda x: x * aten.expand(x.sum(0, keepdim=True), [3, -1]),
    aten.permute.default: lambda x: aten.permute(x * 2, [1, 0]).reshape(3, 4) * x,
    aten.select.int: lambda x: x * aten.select(x * 2, 1, -1)[:, None] + aten.select(x, 0, 1),
    aten.slice.Tensor: lambda x: x + aten.slice(x * 2, 1, 1, 2) + aten.slice(x.repeat(1, 2), 1, 1, 8, 2),
    aten.squeeze.default: lambda x: x * aten.squeeze(x.sum(0, keepdim=True)),
    aten.squeeze.dim: lambda x: x * aten.squeeze.dim(x.sum(0, keepdim=True), 0),
    aten.squeeze.dims: lambda x: x * aten.squeeze.dims(x.sum(0, keepdim=True), [0]),
    aten.t.default: lambda x: aten.t(x * 2).reshape(3, 4) * x,
    aten.transpose.int: lambda x: aten.transpose(x * 2, 0, 1).reshape(3, 4) * x,
    aten.unsqueeze.default: lambda x: (aten.unsqueeze(x * 2, 1) * aten.unsqueeze(x, 0)).sum(1),
    aten.view.default: lambda x: aten.view(x * 2, [4, 3]).t() * x,
    aten.split.Tensor: lambda x: torch.cat(aten.split.Tensor(x * 2, 3, 1)[::-1], 1),
    aten.split_with_sizes.default: lambda x: torch.cat(aten.split_with_sizes(x * 2, [1, 3], 1)[::-1], 1),
    aten.unsafe_split.Tensor: lambda x: torch.cat(aten.unsafe_split.Tensor(x * 2, 3, 1)[::-1], 1),
    aten.unbind.int: lambda x: torch.stack(aten.unbind(x * 2, 1)[::-1], 1),
}

REDUCTIONS = {
    aten.amax.default: lambda x: x * aten.amax(x, [1], True) + aten.amax(x, [0]),
    aten.amin.default: lambda x: x * aten.amin(x, [0, 1], True),
    aten.sum.default: lambda x: x * aten.sum(x * x),
    aten.sum.dim_IntList: lambda x: x * aten.sum(x, [1], True) + aten.sum(x, [0]) + aten.sum(x, [0, 1]),
}

OTHERS = {
    aten._to_copy.default: lambda x: x * (x > 0.2).to(x.dtype),
    aten.addmm.default: lambda x: aten.addmm(x[0], x @ x.t(), x, beta=0.5, alpha=2),
    aten.as_strided_scatter.default: lambda x: aten.as_strided_scatter(x * 2, x[0] * 3, [4], [2], 1),
    aten.baddbmm.default: lambda x: aten.baddbmm(x[None], x[None] @ x.t()[None], x[None])[0],
    aten.bmm.default: lambda x: aten.bmm(x.reshape(2, 2, 3), x.reshape(2, 3, 2)).reshape(8).sum() * x,
    aten.bucketize.Tensor: lambda x: x * _place(x) + x * aten.bucketize(x, x[0, :1], right=True),
    aten.cat.default: lambda x: aten.cat([x[:, :1], x[:, 2:], 2 * x[:, 1:2]], 1),
    aten.constant_pad_nd.default: lambda x: aten.constant_pad_nd(x[1:, 1:], [1, 0, 0, 1], 0.5),
    aten.copy.default: lambda x: x * (x * 2).copy_(x[0] * 3),
    aten.diagonal_backward.default: lambda x: aten.diagonal_backward(x[0, :3] * 2, [3, 4], 1, 0, 1),
    aten.diagonal_scatter.default: lambda x: aten.diagonal_scatter(x * 2, x[:, 0], 1),
    aten.index_add.default: lambda x: aten.index_add(
        aten.index_add(x * 2, 0, _place(x[:, 1]), x * 3), 1, _place(x[0]), x.t().reshape(3, 4)
    ),
    aten.index_select.default: lambda x: (
        aten.index_select(x, 0, _place(x[:, 1])) + aten.index_select(x * 2, 1, _place(x[0]))
    ),
    aten.mm.default: lambda x: aten.mm(aten.mm(x, x.t()), x),
    aten.select_backward.default: lambda x: aten.select_backward(x[0] * 2, [3, 4], 0, 1),
    aten.select_scatter.default: lambda x: aten.select_scatter(x * 2, x[:, 1], 1, 3),
    aten.slice_backward.default: lambda x: aten.slice_backward(x[:, 1:3] * 2, [3, 4], 1, 1, 3, 1),
    aten.slice_scatter.default: lambda x: aten.slice_scatter(x * 2, x[:, 1:3], 1, 0, 4, 2),
}

FILLED = {
    aten.empty.memory_format: lambda x: x + 0 * aten.empty([4], dtype=x.dtype).fill_(2.0),
    aten.empty_like.default: lambda x: x + aten.empty_like(x).fill_(2.0),
    aten.empty_strided.default: lambda x: x + aten.empty_strided([3, 4], [4, 1], dtype=x.dtype).fill_(2.0),
    aten.full.default: lambda x: x * aten.full([4], 3.0, dtype=x.dtype),
    aten.full_like.default: lambda x: x * aten.full_like(x, 3.0),
    aten.new_empty.default: lambda x: x + aten.new_empty(x, [4]).fill_(2.0),
    aten.new_empty_strided.default: lambda x: x + aten.new_empty_strided(x, [3, 4], [4, 1]).fill_(2.0),
    aten.new_full.default: lambda x: x * aten.new_full(x, [4], 3.0),
    aten.new_zeros.default: lambda x: x + aten.new_zeros(x, [4]),
    aten.ones.default: lambda x: x * aten.ones([4], dtype=x.dtype),
    aten.ones_like.default: lambda x: x * aten.ones_like(x),
    aten.scalar_tensor.default: lambda x: x * aten.scalar_tensor(2.0, dtype=x.dtype),
    aten.zero.default: lambda x: x + (x * 2).zero_(),
    aten.zeros.default: lambda x: x + aten.zeros([4], dtype=x.dtype),
    aten.zeros_like.default: lambda x: x + aten.zeros_like(x),
}

SAME = {
    aten.alias.default: lambda x: aten.alias(x * 2),
    aten.clone.default: lambda x: aten.clone(x * 2),
    aten.detach.default: lambda x: aten.detach(x) * x,
    aten.lift_fresh_copy.default: lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=x.dtype),
}

OPERATIONS = {
    **ELEMENTWISE, **COMPARISONS, **FORMED, **VIEWS, **REDUCTIONS, **OTHERS, **FILLED, **SAME,
}  # fmt: skip

WRITTEN_BY_OTHERS = {
    aten._reshape_alias.default: lambda x: x * aten._reshape_alias(x.sum(0), [1, 4], [4, 1]),
    aten.addcdiv.default: lambda x: aten.addcdiv(x, x, _p(x), value=0.3),
    aten.addcmul.default: lambda x: aten.addcmul(x, x, _p(x), value=0.3),
    aten.fill.Scalar: lambda x: x * (x * 2).fill_(3.0),
    aten.repeat.default: lambda x: aten.repeat(x[:, :2] * 2, [1, 2]) * x,
    aten.rsub.Scalar: lambda x: aten.rsub.Scalar(x, 1.5, 2),
    aten.rsub.Tensor: lambda x: aten.rsub.Tensor(x, x * x, alpha=2),
}
