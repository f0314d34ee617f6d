leaves = 1
params = [(8, 3), (8,), (8,), (8,), (8, 8), (8,), (3, 8), (3,)]
inputs = [(), (4, 3), (4, 3), (8, 3), (8,), (8,), (8,), (8, 8), (8,), (3, 8), (3,)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1, arg5_1, arg6_1, arg7_1, arg8_1, arg9_1, arg10_1):
    detach = torch.ops.aten.detach.default(arg0_1);  arg0_1 = None
    detach_1 = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_2 = torch.ops.aten.detach.default(arg3_1);  arg3_1 = None
    detach_3 = torch.ops.aten.detach.default(arg4_1);  arg4_1 = None
    detach_4 = torch.ops.aten.detach.default(arg5_1);  arg5_1 = None
    detach_5 = torch.ops.aten.detach.default(arg6_1);  arg6_1 = None
    detach_6 = torch.ops.aten.detach.default(arg7_1);  arg7_1 = None
    detach_7 = torch.ops.aten.detach.default(arg8_1);  arg8_1 = None
    detach_8 = torch.ops.aten.detach.default(arg9_1);  arg9_1 = None
    detach_9 = torch.ops.aten.detach.default(arg10_1);  arg10_1 = None
    t = torch.ops.aten.t.default(detach_2);  detach_2 = None
    addmm = torch.ops.aten.addmm.default(detach_3, detach_1, t);  detach_3 = None
    sum_1 = torch.ops.aten.sum.dim_IntList(addmm, [1], True)
    mul = torch.ops.aten.mul.Tensor(sum_1, 0.125);  sum_1 = None
    sub = torch.ops.aten.sub.Tensor(addmm, mul);  addmm = mul = None
    mul_1 = torch.ops.aten.mul.Tensor(sub, sub)
    sum_2 = torch.ops.aten.sum.dim_IntList(mul_1, [1], True);  mul_1 = None
    mul_2 = torch.ops.aten.mul.Tensor(sum_2, 0.125);  sum_2 = None
    add = torch.ops.aten.add.Tensor(mul_2, 1e-05);  mul_2 = None
    rsqrt = torch.ops.aten.rsqrt.default(add);  add = None
    mul_3 = torch.ops.aten.mul.Tensor(sub, rsqrt);  sub = None
    mul_4 = torch.ops.aten.mul.Tensor(mul_3, detach_4)
    add_1 = torch.ops.aten.add.Tensor(mul_4, detach_5);  mul_4 = detach_5 = None
    mul_5 = torch.ops.aten.mul.Tensor(add_1, 0.5)
    mul_6 = torch.ops.aten.mul.Tensor(add_1, 0.7071067811865476)
    erf = torch.ops.aten.erf.default(mul_6);  mul_6 = None
    add_2 = torch.ops.aten.add.Tensor(erf, 1);  erf = None
    mul_7 = torch.ops.aten.mul.Tensor(mul_5, add_2);  mul_5 = None
    t_1 = torch.ops.aten.t.default(detach_6);  detach_6 = None
    addmm_1 = torch.ops.aten.addmm.default(detach_7, mul_7, t_1);  detach_7 = None
    gt = torch.ops.aten.gt.Scalar(addmm_1, 0)
    mul_8 = torch.ops.aten.mul.Tensor(addmm_1, 1.0)
    expm1 = torch.ops.aten.expm1.default(mul_8)
    mul_10 = torch.ops.aten.mul.Tensor(expm1, 1.0);  expm1 = None
    where = torch.ops.aten.where.self(gt, mul_8, mul_10);  gt = mul_8 = mul_10 = None
    t_2 = torch.ops.aten.t.default(detach_8);  detach_8 = None
    addmm_2 = torch.ops.aten.addmm.default(detach_9, where, t_2);  detach_9 = None
    cos = torch.ops.aten.cos.default(detach)
    mul_11 = torch.ops.aten.mul.Tensor(addmm_2, cos)
    mul_12 = torch.ops.aten.mul.Tensor(arg2_1, addmm_2);  addmm_2 = None
    mul_13 = torch.ops.aten.mul.Tensor(arg2_1, cos);  arg2_1 = cos = None
    sum_3 = torch.ops.aten.sum.default(mul_12);  mul_12 = None
    sin = torch.ops.aten.sin.default(detach);  detach = None
    neg = torch.ops.aten.neg.default(sin);  sin = None
    mul_14 = torch.ops.aten.mul.Tensor(sum_3, neg);  sum_3 = neg = None
    t_3 = torch.ops.aten.t.default(t_2);  t_2 = None
    mm = torch.ops.aten.mm.default(mul_13, t_3);  t_3 = None
    t_4 = torch.ops.aten.t.default(mul_13)
    mm_1 = torch.ops.aten.mm.default(t_4, where);  t_4 = where = None
    t_5 = torch.ops.aten.t.default(mm_1);  mm_1 = None
    sum_4 = torch.ops.aten.sum.dim_IntList(mul_13, [0], True);  mul_13 = None
    view = torch.ops.aten.view.default(sum_4, [3]);  sum_4 = None
    t_6 = torch.ops.aten.t.default(t_5);  t_5 = None
    le = torch.ops.aten.le.Scalar(addmm_1, 0)
    mul_15 = torch.ops.aten.mul.Tensor(mm, 1);  mm = None
    mul_16 = torch.ops.aten.mul.Tensor(mul_15, 1.0)
    mul_17 = torch.ops.aten.mul.Tensor(addmm_1, 1);  addmm_1 = None
    exp = torch.ops.aten.exp.default(mul_17);  mul_17 = None
    mul_18 = torch.ops.aten.mul.Tensor(mul_16, exp);  mul_16 = exp = None
    where_1 = torch.ops.aten.where.self(le, mul_18, mul_15);  le = mul_18 = mul_15 = None
    t_7 = torch.ops.aten.t.default(t_1);  t_1 = None
    mm_2 = torch.ops.aten.mm.default(where_1, t_7);  t_7 = None
    t_8 = torch.ops.aten.t.default(where_1)
    mm_3 = torch.ops.aten.mm.default(t_8, mul_7);  t_8 = mul_7 = None
    t_9 = torch.ops.aten.t.default(mm_3);  mm_3 = None
    sum_5 = torch.ops.aten.sum.dim_IntList(where_1, [0], True);  where_1 = None
    view_1 = torch.ops.aten.view.default(sum_5, [8]);  sum_5 = None
    t_10 = torch.ops.aten.t.default(t_9);  t_9 = None
    mul_21 = torch.ops.aten.mul.Tensor(add_2, 0.5);  add_2 = None
    mul_22 = torch.ops.aten.mul.Tensor(add_1, add_1)
    mul_23 = torch.ops.aten.mul.Tensor(mul_22, -0.5);  mul_22 = None
    exp_1 = torch.ops.aten.exp.default(mul_23);  mul_23 = None
    mul_24 = torch.ops.aten.mul.Tensor(exp_1, 0.3989422804014327);  exp_1 = None
    mul_25 = torch.ops.aten.mul.Tensor(add_1, mul_24);  add_1 = mul_24 = None
    add_4 = torch.ops.aten.add.Tensor(mul_21, mul_25);  mul_21 = mul_25 = None
    mul_26 = torch.ops.aten.mul.Tensor(mm_2, add_4);  mm_2 = add_4 = None
    mul_28 = torch.ops.aten.mul.Tensor(mul_26, detach_4);  detach_4 = None
    mul_29 = torch.ops.aten.mul.Tensor(mul_28, 8)
    sum_6 = torch.ops.aten.sum.dim_IntList(mul_28, [1], True)
    mul_30 = torch.ops.aten.mul.Tensor(mul_28, mul_3);  mul_28 = None
    sum_7 = torch.ops.aten.sum.dim_IntList(mul_30, [1], True);  mul_30 = None
    mul_31 = torch.ops.aten.mul.Tensor(mul_3, sum_7);  sum_7 = None
    sub_2 = torch.ops.aten.sub.Tensor(mul_29, sum_6);  mul_29 = sum_6 = None
    sub_3 = torch.ops.aten.sub.Tensor(sub_2, mul_31);  sub_2 = mul_31 = None
    div = torch.ops.aten.div.Tensor(rsqrt, 8);  rsqrt = None
    mul_32 = torch.ops.aten.mul.Tensor(div, sub_3);  div = sub_3 = None
    mul_33 = torch.ops.aten.mul.Tensor(mul_26, mul_3);  mul_3 = None
    sum_8 = torch.ops.aten.sum.dim_IntList(mul_33, [0]);  mul_33 = None
    sum_9 = torch.ops.aten.sum.dim_IntList(mul_26, [0]);  mul_26 = None
    t_11 = torch.ops.aten.t.default(t);  t = None
    mm_4 = torch.ops.aten.mm.default(mul_32, t_11);  t_11 = None
    t_12 = torch.ops.aten.t.default(mul_32)
    mm_5 = torch.ops.aten.mm.default(t_12, detach_1);  t_12 = detach_1 = None
    t_13 = torch.ops.aten.t.default(mm_5);  mm_5 = None
    sum_10 = torch.ops.aten.sum.dim_IntList(mul_32, [0], True);  mul_32 = None
    view_2 = torch.ops.aten.view.default(sum_10, [8]);  sum_10 = None
    t_14 = torch.ops.aten.t.default(t_13);  t_13 = None
    detach_10 = torch.ops.aten.detach.default(mul_11);  mul_11 = None
    return [detach_10, mm_4, t_14, view_2, sum_8, sum_9, t_10, view_1, t_6, view, mul_14]
