"""What func returns at a later call than the first: named, with its time, its pass and the last good state."""

import pytest
import torch

import pyseminorm
from pyseminorm import (
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
)
from pyseminorm.adjoints import KEEPS

D = torch.float64
Y0 = torch.tensor([1.0, 2.0], dtype=D)
T = [0.0, 0.5, 1.0]
ADJOINTS = [
    BacksolveAdjoint(),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    GaussAdjoint(interpolate=False),
    *(DiscreteAdjoint(keep=keep) for keep in KEEPS),
]
WRONG = {
    "nothing": (lambda dy: None, "returned None"),
    "a tuple": (lambda dy: (dy,), "returned a tuple of 1"),
    "a number": (lambda dy: 1.0, "returned a float"),
    "one element": (lambda dy: dy[:1], r"returned shape \(1,\)"),
    "a column": (lambda dy: dy[:, None], r"returned shape \(2, 1\)"),
    "a number of torch's": (lambda dy: dy.sum(), r"returned shape \(\)"),
    "whole numbers": (lambda dy: dy.long(), "returned dtype torch.int64"),
    "another device": (lambda dy: dy.to("meta"), "returned a tensor on meta"),
}


class Wrong:
    """y' = -w y, but for the k-th call."""

    def __init__(self, wrong, k, nested=False):
        self.wrong, self.k, self.calls, self.nested = wrong, k, 0, nested

    def __call__(self, t, y, w):
        self.calls += 1
        dy = -w * (y["a"] if self.nested else y)
        dy = self.wrong(dy) if self.calls == self.k else dy
        return {"a": dy} if self.nested and self.calls != self.k else dy


def refused(func, message, where, engine, **settings):
    with pytest.raises(InvalidInputError, match=rf"{message} at t = [-0-9.e]+ in the {where}") as info:
        y0 = {"a": Y0.clone().requires_grad_()} if func.nested else Y0.clone().requires_grad_()
        w = torch.ones(2, dtype=D, requires_grad=True)
        s = pyseminorm.solve(func, y0, T, args=(w,), backend=engine, **settings)
        assert where == "backward pass"
        if func.k is None:
            func.k = func.calls + 1
        ys = s.ys["a"] if func.nested else s.ys
        ys[-1].sum().backward()
    state = info.value.last_good_state
    assert 0.0 <= state.t <= 1.0
    value = state.y["a"] if func.nested else state.y
    assert value.shape == (2,) and torch.isfinite(value).all()


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), DiscreteAdjoint(keep="stages")], ids=repr)
def test_a_later_call_of_the_forward_pass(engine, case, adjoint):
    wrong, message = WRONG[case]
    for k in (3, 4, 9):
        refused(Wrong(wrong, k), message, "forward pass", engine, adjoint=adjoint)


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("adjoint", [a for a in ADJOINTS if getattr(a, "keep", None) != "stages"], ids=repr)
def test_the_backward_pass(engine, case, adjoint):
    wrong, message = WRONG[case]
    refused(Wrong(wrong, None), message, "backward pass", engine, adjoint=adjoint)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint()], ids=repr)
def test_another_structure_than_that_of_y0(engine, adjoint):
    message = "returned a Tensor"
    refused(Wrong(lambda dy: dy, 4, nested=True), message, "forward pass", engine, adjoint=adjoint)
    refused(Wrong(lambda dy: dy, None, nested=True), message, "backward pass", engine, adjoint=adjoint)


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint(), *(DiscreteAdjoint(keep=k) for k in KEEPS), DirectAdjoint()])
@pytest.mark.parametrize("nested", [False, True])
def test_a_state_that_a_later_call_changes_in_place(engine, adjoint, nested):
    if isinstance(adjoint, DirectAdjoint) and engine == "julia":
        pytest.skip("DirectAdjoint is the embedded engine's")

    def clipped(t, y):
        x = y["a"] if nested else y
        if t > 0.5:
            x.clamp_(max=0.1)
        return {"a": -x} if nested else -x

    for y0 in (Y0, Y0.clone().requires_grad_()):
        with pytest.raises(InvalidInputError, match="changes in place"):
            pyseminorm.solve(clipped, {"a": y0} if nested else y0, T, adjoint=adjoint, backend=engine)


@pytest.mark.parametrize("batched_time", [False, True])
def test_at_quadrature_nodes(engine, batched_time):
    nodes = []
    y0, w = torch.ones(3, 2, dtype=D, requires_grad=True), torch.ones(2, dtype=D, requires_grad=True)

    def only_nodes(t, y, w):
        stacked = y.shape[0] > 3 if batched_time else torch._C._functorch.is_batchedtensor(y)
        looped = bool(nodes)
        if stacked:
            nodes.append(1)
        return -(w * y)[:1] if stacked or looped else -(w * y)

    s = pyseminorm.solve(only_nodes, y0, T, args=(w,), backend=engine, adjoint=GaussAdjoint(batched_time=batched_time))
    with pytest.raises(InvalidInputError, match=r"func returned shape \(1, 2\)"):
        s.ys[-1].sum().backward()


@pytest.mark.parametrize("func", [lambda y: -y, lambda t, y, w: -y, lambda t: t, lambda *, t, y: y])
def test_a_signature_that_does_not_fit_is_named(engine, func):
    with pytest.raises(InvalidInputError, match=r"func\(.*cannot be called as func\(t, y\)"):
        pyseminorm.solve(func, Y0, T, backend=engine)


def test_a_module_whose_forward_does_not_fit_is_named(engine):
    with pytest.raises(InvalidInputError, match=r"func\(input.*cannot be called as func\(t, y, args\[0\]\)"):
        pyseminorm.solve(torch.nn.Linear(2, 2).double(), Y0, T, args=(1.0,), backend=engine)


def test_a_type_error_of_funcs_own_stays_one(engine):
    def func(t, y):
        return y + None

    with pytest.raises(TypeError, match="NoneType"):
        pyseminorm.solve(func, Y0, T, backend=engine)


def test_more_digits_are_rounded_to_the_states(engine):
    y0 = torch.ones(2, requires_grad=True)
    s = pyseminorm.solve(lambda t, y: -y.double(), y0, T, backend=engine)
    s.ys[-1].sum().backward()
    assert s.ys.dtype == torch.float32 and y0.grad.tolist() == pytest.approx([0.3679] * 2, rel=1e-3)
