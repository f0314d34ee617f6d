leaves = 1
params = []
inputs = [(), (4, 3), (4, 3)]
dtypes = ['float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1):
    detach = torch.ops.aten.detach.default(arg0_1);  arg0_1 = None
    detach_1 = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    pow_1 = torch.ops.aten.pow.Tensor_Scalar(detach_1, 2)
    sum_1 = torch.ops.aten.sum.dim_IntList(pow_1, [1], True);  pow_1 = None
    add = torch.ops.aten.add.Tensor(sum_1, 1);  sum_1 = None
    sqrt = torch.ops.aten.sqrt.default(add);  add = None
    detach_2 = torch.ops.aten.detach.default(sqrt)
    div = torch.ops.aten.div.Tensor(detach_1, sqrt)
    exp = torch.ops.aten.exp.default(div)
    log1p = torch.ops.aten.log1p.default(exp);  exp = None
    gt = torch.ops.aten.gt.Scalar(div, 20)
    where = torch.ops.aten.where.self(gt, div, log1p);  gt = log1p = None
    sigmoid = torch.ops.aten.sigmoid.default(div)
    detach_3 = torch.ops.aten.detach.default(sigmoid)
    sub = torch.ops.aten.sub.Tensor(where, sigmoid);  where = sigmoid = None
    mul = torch.ops.aten.mul.Tensor(div, div)
    log1p_1 = torch.ops.aten.log1p.default(mul)
    neg = torch.ops.aten.neg.default(div)
    exp_1 = torch.ops.aten.exp.default(neg);  neg = None
    detach_4 = torch.ops.aten.detach.default(exp_1)
    mul_1 = torch.ops.aten.mul.Tensor(log1p_1, exp_1)
    add_1 = torch.ops.aten.add.Tensor(sub, mul_1);  sub = mul_1 = None
    gt_1 = torch.ops.aten.gt.Scalar(div, 0.1)
    relu = torch.ops.aten.relu.default(div)
    detach_5 = torch.ops.aten.detach.default(relu)
    gt_2 = torch.ops.aten.gt.Scalar(div, 0)
    mul_2 = torch.ops.aten.mul.Tensor(div, 0.01)
    where_1 = torch.ops.aten.where.self(gt_2, div, mul_2);  mul_2 = None
    where_2 = torch.ops.aten.where.self(gt_1, relu, where_1);  relu = where_1 = None
    add_2 = torch.ops.aten.add.Tensor(add_1, where_2);  add_1 = where_2 = None
    sum_2 = torch.ops.aten.sum.dim_IntList(div, [0])
    mul_3 = torch.ops.aten.mul.Tensor(sum_2, 0.25);  sum_2 = None
    maximum = torch.ops.aten.maximum.default(div, mul_3)
    pow_2 = torch.ops.aten.pow.Tensor_Scalar(maximum, 3)
    sub_1 = torch.ops.aten.sub.Tensor(add_2, pow_2);  add_2 = pow_2 = None
    amax = torch.ops.aten.amax.default(div, [1], True)
    detach_6 = torch.ops.aten.detach.default(amax)
    atan = torch.ops.aten.atan.default(div)
    mul_4 = torch.ops.aten.mul.Tensor(amax, atan)
    add_3 = torch.ops.aten.add.Tensor(sub_1, mul_4);  sub_1 = mul_4 = None
    erf = torch.ops.aten.erf.default(div)
    mul_5 = torch.ops.aten.mul.Tensor(detach, erf)
    add_4 = torch.ops.aten.add.Tensor(add_3, mul_5);  add_3 = mul_5 = None
    permute = torch.ops.aten.permute.default(div, [1, 0])
    view = torch.ops.aten.view.default(permute, [3, 4]);  permute = None
    t = torch.ops.aten.t.default(view);  view = None
    sub_2 = torch.ops.aten.sub.Tensor(add_4, t);  add_4 = t = None
    neg_1 = torch.ops.aten.neg.default(arg2_1)
    t_1 = torch.ops.aten.t.default(neg_1)
    view_1 = torch.ops.aten.view.default(t_1, [3, 4]);  t_1 = None
    permute_1 = torch.ops.aten.permute.default(view_1, [1, 0]);  view_1 = None
    mul_6 = torch.ops.aten.mul.Tensor(arg2_1, detach);  detach = None
    mul_7 = torch.ops.aten.mul.Tensor(arg2_1, erf);  erf = None
    sum_3 = torch.ops.aten.sum.default(mul_7);  mul_7 = None
    pow_3 = torch.ops.aten.pow.Tensor_Scalar(div, 2)
    neg_2 = torch.ops.aten.neg.default(pow_3);  pow_3 = None
    exp_2 = torch.ops.aten.exp.default(neg_2);  neg_2 = None
    mul_8 = torch.ops.aten.mul.Scalar(exp_2, 1.1283791670955126);  exp_2 = None
    mul_9 = torch.ops.aten.mul.Tensor(mul_8, mul_6);  mul_8 = mul_6 = None
    add_5 = torch.ops.aten.add.Tensor(permute_1, mul_9);  permute_1 = mul_9 = None
    mul_10 = torch.ops.aten.mul.Tensor(arg2_1, amax);  amax = None
    mul_11 = torch.ops.aten.mul.Tensor(arg2_1, atan);  atan = None
    sum_4 = torch.ops.aten.sum.dim_IntList(mul_11, [1], True);  mul_11 = None
    add_6 = torch.ops.aten.add.Scalar(mul, 1);  mul = None
    div_1 = torch.ops.aten.div.Tensor(mul_10, add_6);  mul_10 = None
    add_7 = torch.ops.aten.add.Tensor(add_5, div_1);  add_5 = div_1 = None
    detach_7 = torch.ops.aten.detach.default(detach_6);  detach_6 = None
    eq = torch.ops.aten.eq.Tensor(detach_7, div);  detach_7 = None
    sum_5 = torch.ops.aten.sum.dim_IntList(eq, [1], True)
    div_2 = torch.ops.aten.div.Tensor(sum_4, sum_5);  sum_4 = sum_5 = None
    mul_13 = torch.ops.aten.mul.Tensor(div_2, eq);  div_2 = eq = None
    add_8 = torch.ops.aten.add.Tensor(add_7, mul_13);  add_7 = mul_13 = None
    pow_4 = torch.ops.aten.pow.Tensor_Scalar(maximum, 2.0);  maximum = None
    mul_14 = torch.ops.aten.mul.Scalar(pow_4, 3.0);  pow_4 = None
    mul_15 = torch.ops.aten.mul.Tensor(neg_1, mul_14);  mul_14 = None
    div_3 = torch.ops.aten.div.Scalar(mul_15, 2)
    eq_1 = torch.ops.aten.eq.Tensor(div, mul_3)
    where_3 = torch.ops.aten.where.self(eq_1, div_3, mul_15);  eq_1 = div_3 = mul_15 = None
    gt_3 = torch.ops.aten.gt.Tensor(div, mul_3)
    masked_fill = torch.ops.aten.masked_fill.Scalar(where_3, gt_3, 0);  gt_3 = None
    lt = torch.ops.aten.lt.Tensor(div, mul_3);  mul_3 = None
    masked_fill_1 = torch.ops.aten.masked_fill.Scalar(where_3, lt, 0);  where_3 = lt = None
    sum_6 = torch.ops.aten.sum.dim_IntList(masked_fill, [0], True);  masked_fill = None
    view_2 = torch.ops.aten.view.default(sum_6, [3]);  sum_6 = None
    add_9 = torch.ops.aten.add.Tensor(add_8, masked_fill_1);  add_8 = masked_fill_1 = None
    unsqueeze = torch.ops.aten.unsqueeze.default(view_2, 0);  view_2 = None
    expand = torch.ops.aten.expand.default(unsqueeze, [4, 3]);  unsqueeze = None
    div_5 = torch.ops.aten.div.Scalar(expand, 4);  expand = None
    add_10 = torch.ops.aten.add.Tensor(add_9, div_5);  add_9 = div_5 = None
    scalar_tensor = torch.ops.aten.scalar_tensor.default(0, dtype = torch.float64, layout = torch.strided, device = device(type='cpu'))
    where_5 = torch.ops.aten.where.self(gt_1, scalar_tensor, arg2_1)
    where_6 = torch.ops.aten.where.self(gt_1, arg2_1, scalar_tensor);  gt_1 = None
    mul_16 = torch.ops.aten.mul.Tensor(where_5, 0.01)
    where_7 = torch.ops.aten.where.self(gt_2, where_5, mul_16);  gt_2 = where_5 = mul_16 = None
    add_11 = torch.ops.aten.add.Tensor(add_10, where_7);  add_10 = where_7 = None
    detach_8 = torch.ops.aten.detach.default(detach_5);  detach_5 = None
    le = torch.ops.aten.le.Scalar(detach_8, 0);  detach_8 = None
    where_8 = torch.ops.aten.where.self(le, scalar_tensor, where_6);  le = scalar_tensor = where_6 = None
    add_12 = torch.ops.aten.add.Tensor(add_11, where_8);  add_11 = where_8 = None
    mul_17 = torch.ops.aten.mul.Tensor(arg2_1, log1p_1);  log1p_1 = None
    mul_18 = torch.ops.aten.mul.Tensor(arg2_1, exp_1);  exp_1 = None
    detach_9 = torch.ops.aten.detach.default(detach_4);  detach_4 = None
    mul_19 = torch.ops.aten.mul.Tensor(mul_17, detach_9);  mul_17 = detach_9 = None
    neg_4 = torch.ops.aten.neg.default(mul_19);  mul_19 = None
    add_13 = torch.ops.aten.add.Tensor(add_12, neg_4);  add_12 = neg_4 = None
    div_6 = torch.ops.aten.div.Tensor(mul_18, add_6);  mul_18 = add_6 = None
    mul_20 = torch.ops.aten.mul.Tensor(div_6, div);  div_6 = None
    add_15 = torch.ops.aten.add.Tensor(add_13, mul_20);  add_13 = None
    add_16 = torch.ops.aten.add.Tensor(add_15, mul_20);  add_15 = mul_20 = None
    detach_10 = torch.ops.aten.detach.default(detach_3);  detach_3 = None
    rsub = torch.ops.aten.rsub.Scalar(detach_10, 1)
    mul_22 = torch.ops.aten.mul.Tensor(detach_10, rsub);  detach_10 = rsub = None
    mul_23 = torch.ops.aten.mul.Tensor(neg_1, mul_22);  neg_1 = mul_22 = None
    add_17 = torch.ops.aten.add.Tensor(add_16, mul_23);  add_16 = mul_23 = None
    mul_24 = torch.ops.aten.mul.Tensor(div, 1)
    exp_3 = torch.ops.aten.exp.default(mul_24)
    gt_5 = torch.ops.aten.gt.Scalar(mul_24, 20);  mul_24 = None
    mul_26 = torch.ops.aten.mul.Tensor(arg2_1, exp_3)
    add_18 = torch.ops.aten.add.Tensor(exp_3, 1.0);  exp_3 = None
    div_7 = torch.ops.aten.div.Tensor(mul_26, add_18);  mul_26 = add_18 = None
    where_9 = torch.ops.aten.where.self(gt_5, arg2_1, div_7);  gt_5 = arg2_1 = div_7 = None
    add_19 = torch.ops.aten.add.Tensor(add_17, where_9);  add_17 = where_9 = None
    div_9 = torch.ops.aten.div.Tensor(div, sqrt);  div = None
    neg_6 = torch.ops.aten.neg.default(add_19)
    mul_27 = torch.ops.aten.mul.Tensor(neg_6, div_9);  neg_6 = div_9 = None
    div_10 = torch.ops.aten.div.Tensor(add_19, sqrt);  add_19 = sqrt = None
    sum_7 = torch.ops.aten.sum.dim_IntList(mul_27, [1], True);  mul_27 = None
    detach_11 = torch.ops.aten.detach.default(detach_2);  detach_2 = None
    mul_28 = torch.ops.aten.mul.Scalar(detach_11, 2);  detach_11 = None
    div_11 = torch.ops.aten.div.Tensor(sum_7, mul_28);  sum_7 = mul_28 = None
    expand_1 = torch.ops.aten.expand.default(div_11, [4, 3]);  div_11 = None
    pow_5 = torch.ops.aten.pow.Tensor_Scalar(detach_1, 1.0);  detach_1 = None
    mul_29 = torch.ops.aten.mul.Scalar(pow_5, 2.0);  pow_5 = None
    mul_30 = torch.ops.aten.mul.Tensor(expand_1, mul_29);  expand_1 = mul_29 = None
    add_20 = torch.ops.aten.add.Tensor(div_10, mul_30);  div_10 = mul_30 = None
    detach_12 = torch.ops.aten.detach.default(sub_2);  sub_2 = None
    return [detach_12, add_20, sum_3]
