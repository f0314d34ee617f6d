leaves = 1
params = [(8, 7), (8,), (3, 8), (3,)]
inputs = [(), (4, 3), (4, 3), (2,), (8, 7), (8,), (3, 8), (3,)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1, arg5_1, arg6_1, arg7_1):
    detach = torch.ops.aten.detach.default(arg0_1);  arg0_1 = None
    detach_1 = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_2 = torch.ops.aten.detach.default(arg3_1);  arg3_1 = None
    detach_3 = torch.ops.aten.detach.default(arg4_1);  arg4_1 = None
    detach_4 = torch.ops.aten.detach.default(arg5_1);  arg5_1 = None
    detach_5 = torch.ops.aten.detach.default(arg6_1);  arg6_1 = None
    detach_6 = torch.ops.aten.detach.default(arg7_1);  arg7_1 = None
    mul = torch.ops.aten.mul.Tensor(detach_2, detach);  detach = None
    sin = torch.ops.aten.sin.default(mul)
    cos = torch.ops.aten.cos.default(mul);  mul = None
    cat = torch.ops.aten.cat.default([sin, cos])
    expand = torch.ops.aten.expand.default(cat, [4, 4]);  cat = None
    cat_1 = torch.ops.aten.cat.default([detach_1, expand], 1);  detach_1 = expand = None
    t = torch.ops.aten.t.default(detach_3);  detach_3 = None
    addmm = torch.ops.aten.addmm.default(detach_4, cat_1, t);  detach_4 = None
    sigmoid = torch.ops.aten.sigmoid.default(addmm)
    mul_1 = torch.ops.aten.mul.Tensor(addmm, sigmoid)
    t_1 = torch.ops.aten.t.default(detach_5);  detach_5 = None
    addmm_1 = torch.ops.aten.addmm.default(detach_6, mul_1, t_1);  detach_6 = None
    t_2 = torch.ops.aten.t.default(t_1);  t_1 = None
    mm = torch.ops.aten.mm.default(arg2_1, t_2);  t_2 = None
    t_3 = torch.ops.aten.t.default(arg2_1)
    mm_1 = torch.ops.aten.mm.default(t_3, mul_1);  t_3 = mul_1 = None
    t_4 = torch.ops.aten.t.default(mm_1);  mm_1 = None
    sum_1 = torch.ops.aten.sum.dim_IntList(arg2_1, [0], True);  arg2_1 = None
    view = torch.ops.aten.view.default(sum_1, [3]);  sum_1 = None
    t_5 = torch.ops.aten.t.default(t_4);  t_4 = None
    mul_2 = torch.ops.aten.mul.Tensor(mm, sigmoid);  mm = None
    rsub = torch.ops.aten.rsub.Scalar(sigmoid, 1);  sigmoid = None
    mul_3 = torch.ops.aten.mul.Tensor(addmm, rsub);  addmm = rsub = None
    add = torch.ops.aten.add.Tensor(mul_3, 1);  mul_3 = None
    mul_4 = torch.ops.aten.mul.Tensor(mul_2, add);  mul_2 = add = None
    t_6 = torch.ops.aten.t.default(t);  t = None
    mm_2 = torch.ops.aten.mm.default(mul_4, t_6);  t_6 = None
    t_7 = torch.ops.aten.t.default(mul_4)
    mm_3 = torch.ops.aten.mm.default(t_7, cat_1);  t_7 = cat_1 = None
    t_8 = torch.ops.aten.t.default(mm_3);  mm_3 = None
    sum_2 = torch.ops.aten.sum.dim_IntList(mul_4, [0], True);  mul_4 = None
    view_1 = torch.ops.aten.view.default(sum_2, [8]);  sum_2 = None
    t_9 = torch.ops.aten.t.default(t_8);  t_8 = None
    slice_1 = torch.ops.aten.slice.Tensor(mm_2, 1, 0, 3)
    slice_2 = torch.ops.aten.slice.Tensor(mm_2, 1, 3, 7);  mm_2 = None
    sum_3 = torch.ops.aten.sum.dim_IntList(slice_2, [0], True);  slice_2 = None
    view_2 = torch.ops.aten.view.default(sum_3, [4]);  sum_3 = None
    slice_3 = torch.ops.aten.slice.Tensor(view_2, 0, 0, 2)
    slice_4 = torch.ops.aten.slice.Tensor(view_2, 0, 2, 4);  view_2 = None
    neg = torch.ops.aten.neg.default(sin);  sin = None
    mul_5 = torch.ops.aten.mul.Tensor(slice_4, neg);  slice_4 = neg = None
    mul_6 = torch.ops.aten.mul.Tensor(slice_3, cos);  slice_3 = cos = None
    add_1 = torch.ops.aten.add.Tensor(mul_5, mul_6);  mul_5 = mul_6 = None
    mul_7 = torch.ops.aten.mul.Tensor(add_1, detach_2);  add_1 = detach_2 = None
    sum_4 = torch.ops.aten.sum.default(mul_7);  mul_7 = None
    detach_7 = torch.ops.aten.detach.default(addmm_1);  addmm_1 = None
    return [detach_7, slice_1, t_9, view_1, t_5, view, sum_4]
