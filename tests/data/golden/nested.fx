leaves = 2
params = []
inputs = [(), (4, 2), (4, 2), (4, 2), (4, 2)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1):
    detach = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_1 = torch.ops.aten.detach.default(arg2_1);  arg2_1 = None
    sin = torch.ops.aten.sin.default(detach)
    neg = torch.ops.aten.neg.default(sin);  sin = None
    mul = torch.ops.aten.mul.Tensor(detach_1, 0.1)
    mul_1 = torch.ops.aten.mul.Tensor(detach, detach)
    sum_1 = torch.ops.aten.sum.dim_IntList(mul_1, [0, 1]);  mul_1 = None
    sqrt = torch.ops.aten.sqrt.default(sum_1);  sum_1 = None
    detach_2 = torch.ops.aten.detach.default(sqrt)
    mul_2 = torch.ops.aten.mul.Tensor(mul, sqrt)
    sub = torch.ops.aten.sub.Tensor(neg, mul_2);  neg = mul_2 = None
    neg_1 = torch.ops.aten.neg.default(arg4_1);  arg4_1 = None
    mul_3 = torch.ops.aten.mul.Tensor(neg_1, mul);  mul = None
    mul_4 = torch.ops.aten.mul.Tensor(neg_1, sqrt);  sqrt = None
    sum_2 = torch.ops.aten.sum.default(mul_3);  mul_3 = None
    detach_3 = torch.ops.aten.detach.default(detach_2);  detach_2 = None
    div = torch.ops.aten.div.Tensor(detach, detach_3)
    eq = torch.ops.aten.eq.Scalar(detach_3, 0);  detach_3 = None
    masked_fill = torch.ops.aten.masked_fill.Scalar(div, eq, 0);  div = eq = None
    mul_5 = torch.ops.aten.mul.Tensor(sum_2, masked_fill);  sum_2 = masked_fill = None
    mul_6 = torch.ops.aten.mul.Tensor(mul_4, 0.1);  mul_4 = None
    add = torch.ops.aten.add.Tensor(arg3_1, mul_6);  arg3_1 = mul_6 = None
    cos = torch.ops.aten.cos.default(detach);  detach = None
    mul_7 = torch.ops.aten.mul.Tensor(neg_1, cos);  neg_1 = cos = None
    add_1 = torch.ops.aten.add.Tensor(mul_5, mul_7);  mul_5 = mul_7 = None
    detach_4 = torch.ops.aten.detach.default(detach_1);  detach_1 = None
    detach_5 = torch.ops.aten.detach.default(sub);  sub = None
    return [detach_4, detach_5, add_1, add, None]
