"""Every tensor of a solve is one input of autograd, once: given twice, computed from another, hooked, or replaced.

The right gradient is always that of backpropagation through a tight solve of `reference` (a plain Runge-Kutta method).
"""

import functools
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint, UnsupportedError

ADJOINTS = [
    BacksolveAdjoint(),
    BacksolveAdjoint(norm="rms"),
    InterpolatingAdjoint(),
    GaussAdjoint(),
    DiscreteAdjoint(),
    DiscreteAdjoint(keep="stages"),
    DiscreteAdjoint(keep="checkpoints"),
]
D = torch.float64


def named(adjoint):
    return f"{type(adjoint).__name__}-{adjoint.keep if isinstance(adjoint, DiscreteAdjoint) else adjoint.norm}"


@pytest.fixture(params=ADJOINTS, ids=named)
def adjoint(request):
    return request.param


@pytest.fixture(params=[None, "trace"], ids=["eager", "trace"])
def solve(request, engine, adjoint):
    """The state at t = 1, tightly, by every engine and adjoint, eager and compiled."""

    def at_one(func, y0, **settings):
        settings = {"rtol": 1e-8, "atol": 1e-10, "adjoint": adjoint, "backend": engine, **settings}
        settings["compile"] = at_one.compile
        return pyseminorm.solve(func, y0, [0.0, 1.0], **settings).ys[-1]

    at_one.compile = request.param
    return at_one


def reference(func, y0, steps=40, args=()):
    """The state at t = 1 by the classical Runge-Kutta method, differentiable by backpropagation."""
    y, h = y0, 1.0 / steps
    for n in range(steps):
        t = torch.tensor(n * h, dtype=D)
        k1 = func(t, y, *args)
        k2 = func(t + h / 2, y + h / 2 * k1, *args)
        k3 = func(t + h / 2, y + h / 2 * k2, *args)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + func(t + h, y + h * k3, *args))
    return y


def loss(y):
    return y.pow(2).sum()


def close(a, b):
    return torch.allclose(a, b, rtol=1e-5, atol=1e-8)


def states(n=3):
    return torch.linspace(0.2, 0.8, 2 * n, dtype=D).view(2, n)


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3).double()
        self.scale = None

    def forward(self, t, y):
        value = torch.tanh(self.linear(y))
        return value if self.scale is None else value * self.scale


def test_a_tensor_twice_in_args(solve):
    u = torch.tensor([0.5, 1.0, 2.0], dtype=D, requires_grad=True)
    y = solve(lambda t, y, a, b: -a * y + b * t, states(), args=(u, {"again": u}["again"]))
    (found,) = torch.autograd.grad(loss(y), u)
    (right,) = torch.autograd.grad(loss(reference(lambda t, y: -u * y + u * t, states())), u)
    assert close(found, right)


def test_a_tensor_in_args_and_in_params_and_as_y0(solve):
    u = torch.tensor([0.5, 1.0, 2.0], dtype=D, requires_grad=True)
    y = solve(lambda t, y, a: -a * y + u * t, u, args=(u,), params=[u, u])
    (found,) = torch.autograd.grad(loss(y), u)
    (right,) = torch.autograd.grad(loss(reference(lambda t, y: -u * y + u * t, u)), u)
    assert close(found, right)


@pytest.mark.parametrize("where", ["args", "params", "both"])
def test_a_view_and_its_base(solve, where):
    leaf = torch.tensor([[0.5, -0.2, 0.1], [0.3, 0.7, -0.4]], dtype=D, requires_grad=True)
    whole = leaf * 1.0
    part = whole[0]

    def func(t, y, *args):
        a, b = (whole, part) if where == "params" else (whole, *args) if where == "both" else args
        return torch.tanh(y * a) - b * t

    given = {"args": (whole, part), "params": (), "both": (part,)}[where]
    y = solve(func, states(), args=given, params=[] if where == "args" else [whole, part])
    (found,) = torch.autograd.grad(loss(y), leaf, retain_graph=True)
    (right,) = torch.autograd.grad(loss(reference(lambda t, y: torch.tanh(y * whole) - part * t, states())), leaf)
    assert close(found, right)


def test_params_of_which_one_is_computed_from_the_other(solve):
    a = torch.tensor([0.5, 1.0, 2.0], dtype=D, requires_grad=True)
    b = (2 * a).exp() / 5

    def func(t, y):
        return -a * y + b * t

    (found,) = torch.autograd.grad(loss(solve(func, states(), params=[a, b])), a, retain_graph=True)
    (right,) = torch.autograd.grad(loss(reference(func, states())), a)
    assert close(found, right)


def test_a_flat_vector_and_its_slices(solve):
    flat = torch.linspace(-0.5, 0.5, 12, dtype=D).requires_grad_()
    weight, bias = flat[:9].view(3, 3), flat[9:]

    def func(t, y):
        return torch.tanh(y @ weight + bias)

    (right,) = torch.autograd.grad(loss(reference(func, states())), flat, retain_graph=True)
    for params in ([flat, weight, bias], [flat], None):
        (found,) = torch.autograd.grad(loss(solve(func, states(), params=params)), flat, retain_graph=True)
        assert close(found, right)


@pytest.mark.parametrize("given", ["leaves", "nothing", "weight"])
def test_weights_made_by_another_network_before_the_solve(solve, given):
    hyper = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 9)).double()
    weight = hyper(torch.ones(2, dtype=D)).view(3, 3)

    def func(t, y):
        return torch.tanh(y @ weight)

    right = torch.autograd.grad(loss(reference(func, states())), list(hyper.parameters()), retain_graph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is hidden: the leaves get their gradients
        y = solve(func, states(), params={"leaves": hyper.parameters(), "nothing": None, "weight": [weight]}[given])
    found = torch.autograd.grad(loss(y), list(hyper.parameters()))
    assert all(map(close, found, right))


def test_weights_that_func_makes_once_and_keeps(solve):
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-0.3, 0.3, 9, dtype=D).view(3, 3))
            self.kept = None

        def forward(self, t, y):
            if self.kept is None:
                self.kept = torch.linalg.matrix_exp(self.weight)
            return torch.tanh(y @ self.kept)

    module, other = Lazy(), Lazy()
    (found,) = torch.autograd.grad(loss(solve(module, states())), module.weight)
    (right,) = torch.autograd.grad(loss(reference(other, states())), other.weight)
    assert close(found, right)


@pytest.mark.parametrize("backward_inside", [True, False])
def test_weights_kept_by_parametrize_cached(solve, backward_inside):
    net = parametrizations.weight_norm(nn.Linear(3, 3).double())
    params = list(net.parameters())

    def func(t, y):
        return torch.tanh(net(y))

    right = torch.autograd.grad(loss(reference(func, states())), params)
    with parametrize.cached():
        total = loss(solve(func, states(), params=params))
        if backward_inside:
            found = torch.autograd.grad(total, params)
    if not backward_inside:
        found = torch.autograd.grad(total, params)
    assert all(map(close, found, right))


def test_a_hook_on_a_parameter_acts_once_on_the_whole_gradient(solve):
    field, calls = Field(), []
    right = torch.autograd.grad(loss(reference(field, states())), list(field.parameters()))
    for p in field.parameters():
        p.register_hook(lambda g: (calls.append(1), 0.5 * g)[1])
    loss(solve(field, states())).backward()
    assert len(calls) == 2
    assert all(close(p.grad, 0.5 * g) for p, g in zip(field.parameters(), right, strict=True))


def test_a_hook_registered_between_the_passes_acts_once(solve):
    field = Field()
    right = torch.autograd.grad(loss(reference(field, states())), field.linear.weight)[0]
    total = loss(solve(field, states()))
    field.linear.weight.register_hook(lambda g: g.clamp(-0.01, 0.01))
    total.backward()
    assert close(field.linear.weight.grad, right.clamp(-0.01, 0.01))


def test_retain_grad_of_a_computed_parameter_keeps_the_gradient_once(solve):
    leaf = torch.linspace(-0.5, 0.5, 9, dtype=D).view(3, 3).requires_grad_()
    weight = leaf * 1.0
    weight.retain_grad()

    def func(t, y):
        return torch.tanh(y @ weight)

    (right,) = torch.autograd.grad(loss(reference(lambda t, y: torch.tanh(y @ leaf), states())), leaf)
    loss(solve(func, states(), params=[weight])).backward()
    assert close(weight.grad, right) and close(leaf.grad, right)


def test_a_post_accumulate_hook_runs_once(solve):
    field, calls = Field(), []
    field.linear.weight.register_post_accumulate_grad_hook(lambda p: calls.append(p.grad.clone()))
    loss(solve(field, states())).backward()
    assert len(calls) == 1 and torch.equal(calls[0], field.linear.weight.grad)


def test_parameters_frozen_between_the_passes(solve):
    field, y0 = Field(), states().requires_grad_()
    (right,) = torch.autograd.grad(loss(reference(field, y0)), y0)
    total = loss(solve(field, y0))
    field.requires_grad_(False)
    total.backward()
    assert close(y0.grad, right) and field.linear.weight.grad is None


@pytest.mark.parametrize("nested", [False, True])
def test_functional_call_of_a_model_that_solves(solve, nested):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.field = Field()

        def forward(self, y):
            if nested:
                return solve(lambda t, y: self.field(t, y), y, params=list(self.field.parameters()))
            return solve(self.field, y)

    model = Model()
    fast = {name: (1.5 * p.detach()).requires_grad_() for name, p in model.named_parameters()}
    total = loss(torch.func.functional_call(model, fast, (states(),)))
    found = torch.autograd.grad(total, list(fast.values()))
    weight, bias = fast["field.linear.weight"], fast["field.linear.bias"]
    right = torch.autograd.grad(loss(reference(lambda t, y: torch.tanh(y @ weight.T + bias), states())), [weight, bias])
    assert all(map(close, found, right))


def test_an_attribute_changed_between_two_solves_and_one_backward(solve):
    def total_gradient(at_once):
        field.zero_grad()
        losses = []
        for value in (0.5, 2.0):
            field.scale = torch.full((3,), value, dtype=D)
            losses.append(loss(solve(field, states())))
            if not at_once:
                losses.pop().backward()
        if at_once:
            sum(losses).backward()
        return field.linear.weight.grad.clone()

    field = Field()
    assert close(total_gradient(at_once=True), total_gradient(at_once=False))


def test_an_attribute_that_is_gone_at_backward(solve):
    field = Field()
    field.scale = torch.full((3,), 0.5, dtype=D)
    total = loss(solve(field, states()))
    (right,) = torch.autograd.grad(loss(reference(field, states())), field.linear.weight)
    field.scale = None
    try:
        (found,) = torch.autograd.grad(total, field.linear.weight)
    except UnsupportedError as error:
        assert "'scale'" in str(error)
    else:
        assert close(found, right)


def test_replicas_of_data_parallel(solve):
    def replicate(module):  # as torch.nn.parallel.replicate does it
        replica = module._replicate_for_data_parallel()
        replica._former_parameters = {}
        for name, child in module._modules.items():
            replica._modules[name] = replicate(child)
        for name, p in module._parameters.items():
            setattr(replica, name, p * 1.0)
            replica._former_parameters[name] = getattr(replica, name)
        return replica

    field = Field()
    right = torch.autograd.grad(loss(reference(field, states())), list(field.parameters()))
    found = torch.autograd.grad(loss(solve(replicate(field), states())), list(field.parameters()))
    assert all(map(close, found, right))


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    ("make", "held"), [("trace", "itself"), ("trace", "in a closure"), ("trace", "in a module"), ("script", "itself")]
)
def test_a_module_of_torch_jit(solve, make, held):
    class Around(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.scale = inner, nn.Parameter(torch.tensor(0.5, dtype=D))

        def forward(self, t, y):
            return self.scale * self.inner(t, y)

    field, y0 = Field(), states()
    made = torch.jit.script(field) if make == "script" else torch.jit.trace(field, (torch.tensor(0.0, dtype=D), y0))
    func = {"itself": made, "in a closure": lambda t, y: made(t, y), "in a module": Around(made)}[held]
    params = list(func.parameters() if isinstance(func, nn.Module) else made.parameters())
    found = torch.autograd.grad(loss(solve(func, y0, params=params if held == "in a closure" else None)), params)
    assert all(map(close, found, torch.autograd.grad(loss(reference(func, y0)), params)))


def test_a_tensor_that_no_twin_can_be_given_for_is_refused_by_name(solve):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    a = torch.ones(3, dtype=D, requires_grad=True)
    b = 3 * a

    def func(t, y):
        return -Double.apply(b) * y

    try:
        found = torch.autograd.grad(loss(solve(func, states(), params=[a, b])), [a, b], retain_graph=True)
    except UnsupportedError as refused:
        assert "custom autograd function" in str(refused)
    else:  # TorchDynamo has captured what is in it, since torch 2.14
        assert solve.compile == "trace"
        assert all(map(close, found, torch.autograd.grad(loss(reference(func, states())), [a, b])))


def test_sparse_gradient_of_an_embedding(solve):
    table = nn.Embedding(4, 3, sparse=True).double()
    index = torch.tensor([1, 3])

    def func(t, y):
        return torch.tanh(y + table(index) * t)

    right = torch.autograd.grad(loss(reference(func, states())), table.weight)[0].to_dense()
    (found,) = torch.autograd.grad(loss(solve(func, states(), params=table.parameters())), table.weight)
    assert close(found.to_dense(), right)


class Holder:
    """Something that holds a tensor, and a function that reads it there."""

    __slots__ = ("tensor",)

    def __init__(self, tensor):
        self.tensor = tensor

    def __call__(self, t, y):
        return -self.tensor * y


def in_a_closure(tensor):
    def replace(new):
        nonlocal tensor
        tensor = new

    return lambda t, y: -tensor * y, replace


def in_a_list(tensor):
    held = [tensor]
    return lambda t, y: -held[0] * y, lambda new: held.__setitem__(0, new)


def in_a_nested_dict(tensor):
    held = {"a": {"b": tensor}}
    return lambda t, y: -held["a"]["b"] * y, lambda new: held["a"].__setitem__("b", new)


def in_slots(tensor):
    holder = Holder(tensor)
    return holder, lambda new: setattr(holder, "tensor", new)


def in_an_object_of_a_partial(tensor):
    holder = Holder(tensor)
    return functools.partial(lambda t, y, h: h(t, y), h=holder), lambda new: setattr(holder, "tensor", new)


def in_a_global(tensor):
    globals()["HELD"] = tensor
    return lambda t, y: -HELD * y, lambda new: globals().__setitem__("HELD", new)  # noqa: F821


def in_a_buffer_of_a_submodule(tensor):
    outer = nn.Module()
    outer.inner = nn.Module()
    outer.inner.register_buffer("rate", tensor)
    return lambda t, y: -outer.inner.rate * y, lambda new: setattr(outer.inner, "rate", new)


PLACES = [in_a_closure, in_a_list, in_a_nested_dict, in_slots, in_an_object_of_a_partial, in_a_global]


@pytest.mark.parametrize("place", [*PLACES, in_a_buffer_of_a_submodule])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_tensor_exchanged_between_the_passes_wherever_it_is_held(engine, place, requires_grad):
    rate = torch.full((3,), 0.5, dtype=D).requires_grad_(requires_grad)
    func, replace = place(rate)
    y0, settings = states().requires_grad_(), {"params": [rate], "rtol": 1e-8, "atol": 1e-10, "backend": engine}
    total = loss(pyseminorm.solve(func, y0, [0.0, 1.0], **settings).ys[-1])
    replace(torch.full((3,), 7.0, dtype=D))
    inputs = [y0, rate] if requires_grad else [y0]
    found = torch.autograd.grad(total, inputs)
    right = torch.autograd.grad(loss(y0 * torch.exp(-rate)), inputs)
    assert all(map(close, found, right))


def test_two_tensors_that_change_places_are_refused_by_name(engine):
    held = [torch.full((3,), 0.5, dtype=D), torch.full((3,), 2.0, dtype=D)]
    y0 = states().requires_grad_()
    total = loss(pyseminorm.solve(lambda t, y: -held[0] * y + held[1], y0, [0.0, 1.0], backend=engine).ys[-1])
    held.reverse()
    with pytest.raises(UnsupportedError, match="another one"):
        total.backward()
