leaves = 1
params = [(64, 2), (64,), (64, 64), (64,), (2, 64), (2,)]
inputs = [(), (16, 2), (16, 2), (64, 2), (64,), (64, 64), (64,), (2, 64), (2,)]
dtypes = ['float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1, arg4_1, arg5_1, arg6_1, arg7_1, arg8_1):
    detach = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_1 = torch.ops.aten.detach.default(arg3_1);  arg3_1 = None
    detach_2 = torch.ops.aten.detach.default(arg4_1);  arg4_1 = None
    detach_3 = torch.ops.aten.detach.default(arg5_1);  arg5_1 = None
    detach_4 = torch.ops.aten.detach.default(arg6_1);  arg6_1 = None
    detach_5 = torch.ops.aten.detach.default(arg7_1);  arg7_1 = None
    detach_6 = torch.ops.aten.detach.default(arg8_1);  arg8_1 = None
    t = torch.ops.aten.t.default(detach_1);  detach_1 = None
    addmm = torch.ops.aten.addmm.default(detach_2, detach, t);  detach_2 = None
    tanh = torch.ops.aten.tanh.default(addmm);  addmm = None
    detach_7 = torch.ops.aten.detach.default(tanh)
    t_1 = torch.ops.aten.t.default(detach_3);  detach_3 = None
    addmm_1 = torch.ops.aten.addmm.default(detach_4, tanh, t_1);  detach_4 = None
    tanh_1 = torch.ops.aten.tanh.default(addmm_1);  addmm_1 = None
    detach_8 = torch.ops.aten.detach.default(tanh_1)
    t_2 = torch.ops.aten.t.default(detach_5);  detach_5 = None
    addmm_2 = torch.ops.aten.addmm.default(detach_6, tanh_1, t_2);  detach_6 = None
    t_3 = torch.ops.aten.t.default(t_2);  t_2 = None
    mm = torch.ops.aten.mm.default(arg2_1, t_3);  t_3 = None
    t_4 = torch.ops.aten.t.default(arg2_1)
    mm_1 = torch.ops.aten.mm.default(t_4, tanh_1);  t_4 = tanh_1 = None
    t_5 = torch.ops.aten.t.default(mm_1);  mm_1 = None
    sum_1 = torch.ops.aten.sum.dim_IntList(arg2_1, [0], True);  arg2_1 = None
    view = torch.ops.aten.view.default(sum_1, [2]);  sum_1 = None
    t_6 = torch.ops.aten.t.default(t_5);  t_5 = None
    detach_9 = torch.ops.aten.detach.default(detach_8);  detach_8 = None
    mul = torch.ops.aten.mul.Tensor(detach_9, detach_9);  detach_9 = None
    rsub = torch.ops.aten.rsub.Scalar(mul, 1);  mul = None
    mul_1 = torch.ops.aten.mul.Tensor(mm, rsub);  mm = rsub = None
    t_7 = torch.ops.aten.t.default(t_1);  t_1 = None
    mm_2 = torch.ops.aten.mm.default(mul_1, t_7);  t_7 = None
    t_8 = torch.ops.aten.t.default(mul_1)
    mm_3 = torch.ops.aten.mm.default(t_8, tanh);  t_8 = tanh = None
    t_9 = torch.ops.aten.t.default(mm_3);  mm_3 = None
    sum_2 = torch.ops.aten.sum.dim_IntList(mul_1, [0], True);  mul_1 = None
    view_1 = torch.ops.aten.view.default(sum_2, [64]);  sum_2 = None
    t_10 = torch.ops.aten.t.default(t_9);  t_9 = None
    detach_10 = torch.ops.aten.detach.default(detach_7);  detach_7 = None
    mul_2 = torch.ops.aten.mul.Tensor(detach_10, detach_10);  detach_10 = None
    rsub_1 = torch.ops.aten.rsub.Scalar(mul_2, 1);  mul_2 = None
    mul_3 = torch.ops.aten.mul.Tensor(mm_2, rsub_1);  mm_2 = rsub_1 = None
    t_11 = torch.ops.aten.t.default(t);  t = None
    mm_4 = torch.ops.aten.mm.default(mul_3, t_11);  t_11 = None
    t_12 = torch.ops.aten.t.default(mul_3)
    mm_5 = torch.ops.aten.mm.default(t_12, detach);  t_12 = detach = None
    t_13 = torch.ops.aten.t.default(mm_5);  mm_5 = None
    sum_3 = torch.ops.aten.sum.dim_IntList(mul_3, [0], True);  mul_3 = None
    view_2 = torch.ops.aten.view.default(sum_3, [64]);  sum_3 = None
    t_14 = torch.ops.aten.t.default(t_13);  t_13 = None
    detach_11 = torch.ops.aten.detach.default(addmm_2);  addmm_2 = None
    return [detach_11, mm_4, t_14, view_2, t_10, view_1, t_6, view, None]
