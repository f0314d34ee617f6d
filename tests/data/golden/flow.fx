leaves = 2
params = [(8, 3), (8,), (2, 8), (2,)]
inputs = [(), (4, 2), (4,), (4, 2), (4,), (8, 3), (8,), (2, 8), (2,)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1, arg5_1, arg6_1, arg7_1, arg8_1):
    detach = torch.ops.aten.detach.default(arg0_1);  arg0_1 = None
    detach_1 = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_2 = torch.ops.aten.detach.default(arg5_1);  arg5_1 = None
    detach_3 = torch.ops.aten.detach.default(arg6_1);  arg6_1 = None
    detach_4 = torch.ops.aten.detach.default(arg7_1);  arg7_1 = None
    detach_5 = torch.ops.aten.detach.default(arg8_1);  arg8_1 = None
    expand = torch.ops.aten.expand.default(detach, [4, 1]);  detach = None
    cat = torch.ops.aten.cat.default([detach_1, expand], -1);  detach_1 = expand = None
    t = torch.ops.aten.t.default(detach_2);  detach_2 = None
    addmm = torch.ops.aten.addmm.default(detach_3, cat, t);  detach_3 = None
    tanh = torch.ops.aten.tanh.default(addmm);  addmm = None
    detach_6 = torch.ops.aten.detach.default(tanh)
    t_1 = torch.ops.aten.t.default(detach_4);  detach_4 = None
    addmm_1 = torch.ops.aten.addmm.default(detach_5, tanh, t_1);  detach_5 = None
    select = torch.ops.aten.select.int(addmm_1, 1, 0)
    sum_1 = torch.ops.aten.sum.default(select);  select = None
    ones_like = torch.ops.aten.ones_like.default(sum_1, pin_memory = False, memory_format = torch.preserve_format);  sum_1 = None
    expand_1 = torch.ops.aten.expand.default(ones_like, [4]);  ones_like = None
    select_backward = torch.ops.aten.select_backward.default(expand_1, [4, 2], 1, 0);  expand_1 = None
    t_2 = torch.ops.aten.t.default(t_1);  t_1 = None
    mm = torch.ops.aten.mm.default(select_backward, t_2)
    detach_7 = torch.ops.aten.detach.default(detach_6);  detach_6 = None
    mul = torch.ops.aten.mul.Tensor(detach_7, detach_7)
    rsub = torch.ops.aten.rsub.Scalar(mul, 1);  mul = None
    mul_1 = torch.ops.aten.mul.Tensor(mm, rsub)
    t_3 = torch.ops.aten.t.default(t);  t = None
    mm_1 = torch.ops.aten.mm.default(mul_1, t_3)
    slice_1 = torch.ops.aten.slice.Tensor(mm_1, 1, 0, 2);  mm_1 = None
    select_1 = torch.ops.aten.select.int(slice_1, 1, 0);  slice_1 = None
    add = torch.ops.aten.add.Tensor(select_1, 0);  select_1 = None
    select_2 = torch.ops.aten.select.int(addmm_1, 1, 1)
    sum_2 = torch.ops.aten.sum.default(select_2);  select_2 = None
    ones_like_1 = torch.ops.aten.ones_like.default(sum_2, pin_memory = False, memory_format = torch.preserve_format);  sum_2 = None
    expand_2 = torch.ops.aten.expand.default(ones_like_1, [4]);  ones_like_1 = None
    select_backward_1 = torch.ops.aten.select_backward.default(expand_2, [4, 2], 1, 1);  expand_2 = None
    mm_2 = torch.ops.aten.mm.default(select_backward_1, t_2)
    mul_3 = torch.ops.aten.mul.Tensor(mm_2, rsub)
    mm_3 = torch.ops.aten.mm.default(mul_3, t_3)
    slice_2 = torch.ops.aten.slice.Tensor(mm_3, 1, 0, 2);  mm_3 = None
    select_3 = torch.ops.aten.select.int(slice_2, 1, 1);  slice_2 = None
    add_1 = torch.ops.aten.add.Tensor(add, select_3);  add = select_3 = None
    neg = torch.ops.aten.neg.default(add_1);  add_1 = None
    neg_1 = torch.ops.aten.neg.default(arg4_1);  arg4_1 = None
    select_backward_2 = torch.ops.aten.select_backward.default(neg_1, [4, 2], 1, 1)
    slice_backward = torch.ops.aten.slice_backward.default(select_backward_2, [4, 3], 1, 0, 2, 1);  select_backward_2 = None
    t_6 = torch.ops.aten.t.default(mul_3);  mul_3 = None
    mm_4 = torch.ops.aten.mm.default(t_6, slice_backward);  t_6 = None
    t_7 = torch.ops.aten.t.default(t_3)
    mm_5 = torch.ops.aten.mm.default(slice_backward, t_7);  slice_backward = None
    t_8 = torch.ops.aten.t.default(mm_4);  mm_4 = None
    mul_5 = torch.ops.aten.mul.Tensor(mm_5, rsub)
    mul_6 = torch.ops.aten.mul.Scalar(detach_7, -2);  detach_7 = None
    mul_7 = torch.ops.aten.mul.Tensor(mul_6, mm_2);  mm_2 = None
    mul_8 = torch.ops.aten.mul.Tensor(mm_5, mul_7);  mm_5 = mul_7 = None
    t_9 = torch.ops.aten.t.default(select_backward_1);  select_backward_1 = None
    mm_6 = torch.ops.aten.mm.default(t_9, mul_5);  t_9 = mul_5 = None
    t_10 = torch.ops.aten.t.default(mm_6);  mm_6 = None
    select_backward_3 = torch.ops.aten.select_backward.default(neg_1, [4, 2], 1, 0);  neg_1 = None
    slice_backward_1 = torch.ops.aten.slice_backward.default(select_backward_3, [4, 3], 1, 0, 2, 1);  select_backward_3 = None
    t_11 = torch.ops.aten.t.default(mul_1);  mul_1 = None
    mm_7 = torch.ops.aten.mm.default(t_11, slice_backward_1);  t_11 = None
    mm_8 = torch.ops.aten.mm.default(slice_backward_1, t_7);  slice_backward_1 = t_7 = None
    t_13 = torch.ops.aten.t.default(mm_7);  mm_7 = None
    add_2 = torch.ops.aten.add.Tensor(t_8, t_13);  t_8 = t_13 = None
    mul_10 = torch.ops.aten.mul.Tensor(mm_8, rsub)
    mul_12 = torch.ops.aten.mul.Tensor(mul_6, mm);  mul_6 = mm = None
    mul_13 = torch.ops.aten.mul.Tensor(mm_8, mul_12);  mm_8 = mul_12 = None
    add_3 = torch.ops.aten.add.Tensor(mul_8, mul_13);  mul_8 = mul_13 = None
    t_14 = torch.ops.aten.t.default(select_backward);  select_backward = None
    mm_9 = torch.ops.aten.mm.default(t_14, mul_10);  t_14 = mul_10 = None
    t_15 = torch.ops.aten.t.default(mm_9);  mm_9 = None
    add_4 = torch.ops.aten.add.Tensor(t_10, t_15);  t_10 = t_15 = None
    mm_10 = torch.ops.aten.mm.default(arg3_1, t_2);  t_2 = None
    t_17 = torch.ops.aten.t.default(arg3_1)
    mm_11 = torch.ops.aten.mm.default(t_17, tanh);  t_17 = tanh = None
    t_18 = torch.ops.aten.t.default(mm_11);  mm_11 = None
    sum_3 = torch.ops.aten.sum.dim_IntList(arg3_1, [0], True);  arg3_1 = None
    view = torch.ops.aten.view.default(sum_3, [2]);  sum_3 = None
    add_5 = torch.ops.aten.add.Tensor(add_3, mm_10);  add_3 = mm_10 = None
    add_6 = torch.ops.aten.add.Tensor(add_4, t_18);  add_4 = t_18 = None
    t_19 = torch.ops.aten.t.default(add_6);  add_6 = None
    mul_15 = torch.ops.aten.mul.Tensor(add_5, rsub);  add_5 = rsub = None
    mm_12 = torch.ops.aten.mm.default(mul_15, t_3);  t_3 = None
    t_21 = torch.ops.aten.t.default(mul_15)
    mm_13 = torch.ops.aten.mm.default(t_21, cat);  t_21 = cat = None
    t_22 = torch.ops.aten.t.default(mm_13);  mm_13 = None
    sum_4 = torch.ops.aten.sum.dim_IntList(mul_15, [0], True);  mul_15 = None
    view_1 = torch.ops.aten.view.default(sum_4, [8]);  sum_4 = None
    add_7 = torch.ops.aten.add.Tensor(add_2, t_22);  add_2 = t_22 = None
    t_23 = torch.ops.aten.t.default(add_7);  add_7 = None
    slice_3 = torch.ops.aten.slice.Tensor(mm_12, 1, 0, 2)
    slice_4 = torch.ops.aten.slice.Tensor(mm_12, 1, 2, 3);  mm_12 = None
    sum_5 = torch.ops.aten.sum.default(slice_4);  slice_4 = None
    detach_10 = torch.ops.aten.detach.default(addmm_1);  addmm_1 = None
    detach_11 = torch.ops.aten.detach.default(neg);  neg = None
    return [detach_10, detach_11, slice_3, None, t_23, view_1, t_19, view, sum_5]
