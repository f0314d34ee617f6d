leaves = 1
params = [(3, 4), (3, 4)]
inputs = [(), (2, 5, 3), (2, 5, 3), (3, 4), (3, 4)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1):
    detach = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_1 = torch.ops.aten.detach.default(arg3_1);  arg3_1 = None
    detach_2 = torch.ops.aten.detach.default(arg4_1);  arg4_1 = None
    view = torch.ops.aten.view.default(detach, [10, 3])
    mm = torch.ops.aten.mm.default(view, detach_1)
    _unsafe_view = torch.ops.aten._unsafe_view.default(mm, [2, 5, 4]);  mm = None
    mm_1 = torch.ops.aten.mm.default(view, detach_2)
    _unsafe_view_1 = torch.ops.aten._unsafe_view.default(mm_1, [2, 5, 4]);  mm_1 = None
    unsqueeze = torch.ops.aten.unsqueeze.default(_unsafe_view, 3);  _unsafe_view = None
    permute = torch.ops.aten.permute.default(unsqueeze, [0, 1, 3, 2]);  unsqueeze = None
    unsqueeze_1 = torch.ops.aten.unsqueeze.default(_unsafe_view_1, 3);  _unsafe_view_1 = None
    permute_1 = torch.ops.aten.permute.default(unsqueeze_1, [0, 3, 1, 2]);  unsqueeze_1 = None
    permute_2 = torch.ops.aten.permute.default(permute, [0, 1, 3, 2]);  permute = None
    view_2 = torch.ops.aten.view.default(permute_2, [2, 5, 4]);  permute_2 = None
    permute_3 = torch.ops.aten.permute.default(permute_1, [0, 3, 2, 1]);  permute_1 = None
    view_3 = torch.ops.aten.view.default(permute_3, [2, 4, 5]);  permute_3 = None
    bmm = torch.ops.aten.bmm.default(view_2, view_3)
    view_4 = torch.ops.aten.view.default(bmm, [2, 5, 1, 5]);  bmm = None
    permute_4 = torch.ops.aten.permute.default(view_4, [0, 1, 3, 2]);  view_4 = None
    view_5 = torch.ops.aten.view.default(permute_4, [2, 5, 5]);  permute_4 = None
    amax = torch.ops.aten.amax.default(view_5, [-1], True)
    sub = torch.ops.aten.sub.Tensor(view_5, amax);  view_5 = amax = None
    exp = torch.ops.aten.exp.default(sub);  sub = None
    sum_1 = torch.ops.aten.sum.dim_IntList(exp, [-1], True)
    div = torch.ops.aten.div.Tensor(exp, sum_1);  exp = sum_1 = None
    detach_3 = torch.ops.aten.detach.default(div)
    expand = torch.ops.aten.expand.default(div, [2, 5, 5]);  div = None
    view_6 = torch.ops.aten.view.default(expand, [2, 5, 5]);  expand = None
    expand_1 = torch.ops.aten.expand.default(detach, [2, 5, 3])
    view_7 = torch.ops.aten.view.default(expand_1, [2, 5, 3]);  expand_1 = None
    bmm_1 = torch.ops.aten.bmm.default(view_6, view_7)
    _unsafe_view_2 = torch.ops.aten._unsafe_view.default(bmm_1, [2, 5, 3]);  bmm_1 = None
    sub_1 = torch.ops.aten.sub.Tensor(_unsafe_view_2, detach);  _unsafe_view_2 = detach = None
    neg = torch.ops.aten.neg.default(arg2_1)
    view_8 = torch.ops.aten.view.default(arg2_1, [2, 5, 3]);  arg2_1 = None
    transpose = torch.ops.aten.transpose.int(view_6, 1, 2);  view_6 = None
    bmm_2 = torch.ops.aten.bmm.default(transpose, view_8);  transpose = None
    transpose_1 = torch.ops.aten.transpose.int(view_7, 1, 2);  view_7 = None
    bmm_3 = torch.ops.aten.bmm.default(view_8, transpose_1);  view_8 = transpose_1 = None
    view_9 = torch.ops.aten.view.default(bmm_2, [2, 5, 3]);  bmm_2 = None
    add = torch.ops.aten.add.Tensor(neg, view_9);  neg = view_9 = None
    view_10 = torch.ops.aten.view.default(bmm_3, [2, 5, 5]);  bmm_3 = None
    detach_4 = torch.ops.aten.detach.default(detach_3);  detach_3 = None
    mul = torch.ops.aten.mul.Tensor(view_10, detach_4);  view_10 = None
    sum_2 = torch.ops.aten.sum.dim_IntList(mul, [-1], True)
    mul_1 = torch.ops.aten.mul.Tensor(detach_4, sum_2);  detach_4 = sum_2 = None
    sub_2 = torch.ops.aten.sub.Tensor(mul, mul_1);  mul = mul_1 = None
    view_11 = torch.ops.aten.view.default(sub_2, [2, 5, 5, 1]);  sub_2 = None
    permute_5 = torch.ops.aten.permute.default(view_11, [0, 1, 3, 2]);  view_11 = None
    view_12 = torch.ops.aten.view.default(permute_5, [2, 5, 5]);  permute_5 = None
    transpose_2 = torch.ops.aten.transpose.int(view_2, 1, 2);  view_2 = None
    bmm_4 = torch.ops.aten.bmm.default(transpose_2, view_12);  transpose_2 = None
    transpose_3 = torch.ops.aten.transpose.int(view_3, 1, 2);  view_3 = None
    bmm_5 = torch.ops.aten.bmm.default(view_12, transpose_3);  view_12 = transpose_3 = None
    view_13 = torch.ops.aten.view.default(bmm_4, [2, 4, 5, 1]);  bmm_4 = None
    permute_6 = torch.ops.aten.permute.default(view_13, [0, 3, 2, 1]);  view_13 = None
    view_14 = torch.ops.aten.view.default(bmm_5, [2, 5, 4, 1]);  bmm_5 = None
    permute_7 = torch.ops.aten.permute.default(view_14, [0, 1, 3, 2]);  view_14 = None
    permute_8 = torch.ops.aten.permute.default(permute_6, [0, 2, 3, 1]);  permute_6 = None
    squeeze = torch.ops.aten.squeeze.dim(permute_8, 3);  permute_8 = None
    permute_9 = torch.ops.aten.permute.default(permute_7, [0, 1, 3, 2]);  permute_7 = None
    squeeze_1 = torch.ops.aten.squeeze.dim(permute_9, 3);  permute_9 = None
    clone = torch.ops.aten.clone.default(squeeze, memory_format = torch.contiguous_format);  squeeze = None
    _unsafe_view_3 = torch.ops.aten._unsafe_view.default(clone, [10, 4]);  clone = None
    t = torch.ops.aten.t.default(view);  view = None
    mm_2 = torch.ops.aten.mm.default(t, _unsafe_view_3)
    t_1 = torch.ops.aten.t.default(detach_2);  detach_2 = None
    mm_3 = torch.ops.aten.mm.default(_unsafe_view_3, t_1);  _unsafe_view_3 = t_1 = None
    view_15 = torch.ops.aten.view.default(mm_3, [2, 5, 3]);  mm_3 = None
    add_1 = torch.ops.aten.add.Tensor(add, view_15);  add = view_15 = None
    view_16 = torch.ops.aten.view.default(squeeze_1, [10, 4]);  squeeze_1 = None
    mm_4 = torch.ops.aten.mm.default(t, view_16);  t = None
    t_3 = torch.ops.aten.t.default(detach_1);  detach_1 = None
    mm_5 = torch.ops.aten.mm.default(view_16, t_3);  view_16 = t_3 = None
    view_17 = torch.ops.aten.view.default(mm_5, [2, 5, 3]);  mm_5 = None
    add_2 = torch.ops.aten.add.Tensor(add_1, view_17);  add_1 = view_17 = None
    detach_5 = torch.ops.aten.detach.default(sub_1);  sub_1 = None
    return [detach_5, add_2, mm_4, mm_2, None]
