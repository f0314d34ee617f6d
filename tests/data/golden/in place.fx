leaves = 1
params = [(2,)]
inputs = [(), (4, 3), (4, 3), (2,)]
dtypes = ['float64', 'float64', 'float64', 'float64']

def forward(self, arg0_1, arg1_1, arg2_1, arg3_1):
    detach = torch.ops.aten.detach.default(arg1_1);  arg1_1 = None
    detach_1 = torch.ops.aten.detach.default(arg3_1);  arg3_1 = None
    zeros_like = torch.ops.aten.zeros_like.default(detach, pin_memory = False)
    select = torch.ops.aten.select.int(detach_1, 0, 0)
    select_1 = torch.ops.aten.select.int(detach, 1, 1)
    mul = torch.ops.aten.mul.Tensor(select, select_1)
    select_2 = torch.ops.aten.select.int(zeros_like, 1, 0)
    copy = torch.ops.aten.copy.default(select_2, mul);  select_2 = mul = None
    select_scatter = torch.ops.aten.select_scatter.default(zeros_like, copy, 1, 0);  zeros_like = copy = None
    select_3 = torch.ops.aten.select.int(detach_1, 0, 1);  detach_1 = None
    neg = torch.ops.aten.neg.default(select_3);  select_3 = None
    slice_1 = torch.ops.aten.slice.Tensor(detach, 1, 0, 2);  detach = None
    pow_1 = torch.ops.aten.pow.Tensor_Scalar(slice_1, 2)
    mul_1 = torch.ops.aten.mul.Tensor(neg, pow_1)
    slice_2 = torch.ops.aten.slice.Tensor(select_scatter, 1, 1, 9223372036854775807)
    copy_1 = torch.ops.aten.copy.default(slice_2, mul_1);  slice_2 = mul_1 = None
    slice_scatter = torch.ops.aten.slice_scatter.default(select_scatter, copy_1, 1, 1, 9223372036854775807);  select_scatter = copy_1 = None
    new_empty_strided = torch.ops.aten.new_empty_strided.default(arg2_1, [4, 3], [3, 1])
    copy_2 = torch.ops.aten.copy.default(new_empty_strided, arg2_1);  new_empty_strided = arg2_1 = None
    as_strided = torch.ops.aten.as_strided.default(copy_2, [4, 2], [3, 1], 1)
    clone = torch.ops.aten.clone.default(as_strided, memory_format = torch.contiguous_format)
    zeros_like_1 = torch.ops.aten.zeros_like.default(clone, memory_format = torch.contiguous_format)
    copy_3 = torch.ops.aten.copy.default(as_strided, zeros_like_1);  as_strided = zeros_like_1 = None
    as_strided_scatter = torch.ops.aten.as_strided_scatter.default(copy_2, copy_3, [4, 2], [3, 1], 1);  copy_2 = copy_3 = None
    mul_2 = torch.ops.aten.mul.Tensor(clone, neg);  neg = None
    mul_3 = torch.ops.aten.mul.Tensor(clone, pow_1);  clone = pow_1 = None
    sum_1 = torch.ops.aten.sum.default(mul_3);  mul_3 = None
    pow_2 = torch.ops.aten.pow.Tensor_Scalar(slice_1, 1.0);  slice_1 = None
    mul_4 = torch.ops.aten.mul.Scalar(pow_2, 2.0);  pow_2 = None
    mul_5 = torch.ops.aten.mul.Tensor(mul_2, mul_4);  mul_2 = mul_4 = None
    slice_backward = torch.ops.aten.slice_backward.default(mul_5, [4, 3], 1, 0, 2, 1);  mul_5 = None
    neg_1 = torch.ops.aten.neg.default(sum_1);  sum_1 = None
    select_backward = torch.ops.aten.select_backward.default(neg_1, [2], 0, 1);  neg_1 = None
    new_empty_strided_1 = torch.ops.aten.new_empty_strided.default(as_strided_scatter, [4, 3], [3, 1])
    copy_4 = torch.ops.aten.copy.default(new_empty_strided_1, as_strided_scatter);  new_empty_strided_1 = as_strided_scatter = None
    as_strided_1 = torch.ops.aten.as_strided.default(copy_4, [4], [3], 0);  copy_4 = None
    clone_1 = torch.ops.aten.clone.default(as_strided_1, memory_format = torch.contiguous_format);  as_strided_1 = None
    mul_6 = torch.ops.aten.mul.Tensor(clone_1, select);  select = None
    mul_7 = torch.ops.aten.mul.Tensor(clone_1, select_1);  clone_1 = select_1 = None
    sum_2 = torch.ops.aten.sum.default(mul_7);  mul_7 = None
    select_backward_1 = torch.ops.aten.select_backward.default(mul_6, [4, 3], 1, 1);  mul_6 = None
    add = torch.ops.aten.add.Tensor(slice_backward, select_backward_1);  slice_backward = select_backward_1 = None
    select_backward_2 = torch.ops.aten.select_backward.default(sum_2, [2], 0, 0);  sum_2 = None
    add_1 = torch.ops.aten.add.Tensor(select_backward, select_backward_2);  select_backward = select_backward_2 = None
    detach_2 = torch.ops.aten.detach.default(slice_scatter);  slice_scatter = None
    return [detach_2, add, add_1, None]
