"""What PyTorch has around a solve: torch.compile, inference mode, batched gradients, worker processes, copies."""

import dataclasses
import gc
import multiprocessing
import pickle

import pytest
import torch
from test_shared_tensors import ADJOINTS, D, Field, close, loss, named, reference, states
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, SolveError, UnsupportedError


@pytest.fixture(params=ADJOINTS, ids=named)
def adjoint(request):
    return request.param


@pytest.fixture
def solve(engine, adjoint):
    def at_one(func, y0, **settings):
        settings = {"rtol": 1e-8, "atol": 1e-10, "adjoint": adjoint, "backend": engine, **settings}
        return pyseminorm.solve(func, y0, [0.0, 1.0], **settings).ys[-1]

    return at_one


class Model(nn.Module):
    def __init__(self, solve):
        super().__init__()
        self.field, self._solve = Field(), solve

    def forward(self, y):
        return self._solve(self.field, torch.sin(y)) * 2


@pytest.mark.capture
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # TorchDynamo's own
def test_torch_compile_breaks_its_graph_at_solve(solve):
    torch._dynamo.reset()
    model = Model(solve)
    right = torch.autograd.grad(loss(model(states())), list(model.parameters()))
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        found = torch.autograd.grad(loss(compiled(states())), list(model.parameters()))
        assert all(map(torch.equal, found, right))


@pytest.mark.capture
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_graphs_without_a_break_are_refused_by_name():
    model = Model(lambda field, y0: pyseminorm.solve(field, y0, [0.0, 1.0]).ys)
    refused = pytest.raises(UnsupportedError, match="inside one graph")
    with refused:
        torch.jit.trace(model, states())
    with refused:
        torch.export.export(model, (states(),), strict=False)
    with refused:
        make_fx(model)(states())
    with refused, FakeTensorMode(allow_non_fake_inputs=True):
        model(states())
    with pytest.raises(torch._dynamo.exc.Unsupported, match="inside one graph"):
        torch.compile(model, backend="eager", fullgraph=True)(states())


@pytest.mark.parametrize("flags", [["is_compiling"], ["is_compiling", "is_exporting"]])
def test_what_another_thread_compiles_or_exports_is_no_concern_of_a_solve(flags, solve, monkeypatch):
    field = Field()
    right = torch.autograd.grad(loss(solve(field, states())), list(field.parameters()))
    for flag in flags:  # which all threads see
        monkeypatch.setattr(torch.compiler, flag, lambda: True, raising=False)
    found = torch.autograd.grad(loss(solve(field, states())), list(field.parameters()))
    assert all(map(torch.equal, found, right))


@pytest.mark.capture
def test_a_function_by_torch_compile_is_not_compiled_again(solve):
    torch._dynamo.reset()
    field, compilations = Field(), []

    def backend(module, inputs):
        compilations.append(module)
        return module

    compiled = torch.compile(field.linear, backend=backend)
    with torch.no_grad():
        compiled(states())
    loss(solve(lambda t, y: torch.tanh(compiled(y)), states(), params=list(field.parameters()))).backward()
    before = len(compilations)
    loss(solve(lambda t, y: torch.tanh(compiled(y)), states(), params=list(field.parameters()))).backward()
    assert len(compilations) == before
    (right,) = torch.autograd.grad(loss(reference(field, states())), field.linear.weight)
    assert close(field.linear.weight.grad, 2 * right)


def test_inference_mode_of_a_function_that_calls_autograd(solve):
    class Hamiltonian(nn.Module):
        def __init__(self):
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()

        def forward(self, t, y):
            with torch.enable_grad():
                y = y.clone().requires_grad_()
                (g,) = torch.autograd.grad(self.energy(y).sum(), y, create_graph=True)
            return torch.stack([g[:, 1], -g[:, 0]], 1)

    field, y0 = Hamiltonian(), torch.ones(3, 2, dtype=D)
    with torch.no_grad():
        right = solve(field, y0)
    with torch.inference_mode():
        assert torch.equal(solve(field, y0), right)


def test_backward_inside_inference_mode(engine, adjoint):
    field, y0 = Field(), states().requires_grad_()
    tensors = [y0, *field.parameters()]
    s = pyseminorm.solve(field, y0, [0.0, 1.0], adjoint=adjoint, backend=engine, dense=True)
    total = loss(s.ys[-1]) + loss(s.interpolate(0.4))
    right = torch.autograd.grad(total, tensors, retain_graph=True)
    for _ in range(2):  # gradients of the second pass are added in place
        with torch.inference_mode():
            total.backward(retain_graph=True)
    for x, gradient in zip(tensors, right, strict=True):
        torch.testing.assert_close(x.grad, 2 * gradient, rtol=1e-12, atol=1e-14)


def test_training_from_a_state_of_inference_mode(solve):
    field = Field()
    with torch.inference_mode():
        y0 = states()
    right = torch.autograd.grad(loss(reference(field, states())), list(field.parameters()))
    found = torch.autograd.grad(loss(solve(field, y0)), list(field.parameters()))
    assert all(map(close, found, right))


def test_batched_gradients(solve):
    field, y0 = Field(), states().requires_grad_()
    y = solve(field, y0)
    cotangents = torch.randn(3, *y.shape, dtype=D)
    found = torch.autograd.grad(y, [y0, field.linear.weight], cotangents, is_grads_batched=True, retain_graph=True)
    rows = [torch.autograd.grad(y, [y0, field.linear.weight], c, retain_graph=True) for c in cotangents]
    for parts, right in zip(found, zip(*rows, strict=True), strict=True):
        assert close(parts, torch.stack(right))


def test_vectorized_jacobian(solve):
    y0 = torch.tensor([0.3, -0.2], dtype=D)
    jacobian = torch.autograd.functional.jacobian
    found = jacobian(lambda y: solve(lambda t, y: -(y**3), y), y0, vectorize=True)
    assert close(found, jacobian(lambda y: reference(lambda t, y: -(y**3), y), y0))


@pytest.mark.parametrize("with_params", [True, False])
def test_the_gradient_of_a_gradient_is_refused_by_name(solve, with_params):
    field, y0 = Field(), states().requires_grad_()
    if not with_params:
        field.requires_grad_(False)
    y = solve(field, y0)
    (gradient,) = torch.autograd.grad(loss(y), y0, create_graph=True)
    with pytest.raises(UnsupportedError, match="double backward"):
        torch.autograd.grad(loss(y) + loss(gradient), y0)


def test_a_hessian_is_refused_by_name(solve):
    with pytest.raises(UnsupportedError, match="double backward"):
        torch.autograd.functional.hessian(lambda y: solve(lambda t, y: -(y**3), y).sum(), states())


NORMS = ["seminorm", "seminorm_joint", "rms", "torchdiffeq", lambda state: state.adjoint.abs().max()]


@pytest.mark.parametrize("kind", [BacksolveAdjoint, InterpolatingAdjoint])
@pytest.mark.parametrize("norm", NORMS, ids=[*NORMS[:-1], "callable"])
def test_complex_parameters_of_a_real_state(engine, kind, norm):
    w = torch.tensor([1.0 + 0.5j, 0.3 - 0.7j], dtype=torch.complex128, requires_grad=True)
    b = torch.tensor([0.2, 0.3], dtype=D, requires_grad=True)  # before and after it, so that pairs begin anywhere
    c = torch.tensor(0.1, dtype=D, requires_grad=True)

    def func(t, y):
        return c * b - y * (w * w).real

    y0, params = torch.ones(2, dtype=D), [c, w, b]
    s = pyseminorm.solve(
        func, y0, [0.0, 1.0], params=params, adjoint=kind(norm=norm), backend=engine, rtol=1e-8, atol=1e-10
    )
    found = torch.autograd.grad(s.ys[-1].sum(), params)
    right = torch.autograd.grad(reference(func, y0).sum(), params)
    assert all(map(close, found, right))


def test_complex_parameters_by_every_adjoint(solve):
    w = torch.tensor([1.0 + 0.5j, 0.3 - 0.7j], dtype=torch.complex128, requires_grad=True)
    y0 = torch.ones(2, dtype=D)

    def func(t, y):
        return -y * (w * w).real

    (right,) = torch.autograd.grad(reference(func, y0).sum(), w)
    for y in (solve(func, y0, params=[w]), solve(lambda t, y, w: -y * (w * w).real, y0, args=(w,))):
        assert close(torch.autograd.grad(y.sum(), w)[0], right)


@dataclasses.dataclass
class NoHash:
    w: torch.Tensor

    def __call__(self, t, y):
        return -self.w * y

    def method(self, t, y):
        return self(t, y)


class Slots:
    __slots__ = ("w",)

    def __init__(self, w):
        self.w = w

    def __call__(self, t, y):
        return -self.w * y if float(t) >= 0 else y  # vmap cannot batch it


@pytest.mark.parametrize("kind", [NoHash, Slots, lambda w: NoHash(w).method], ids=["dataclass", "slots", "method"])
@pytest.mark.parametrize("automatic", [True, False])
def test_functions_without_hash_or_weak_references(solve, kind, automatic):
    w = torch.tensor([0.5, 1.0, 2.0], dtype=D, requires_grad=True)
    y = solve(kind(w), states(), params=[w], **({"adjoint": "auto"} if automatic else {}))
    (right,) = torch.autograd.grad(loss(states() * torch.exp(-w)), w)
    assert close(torch.autograd.grad(loss(y), w)[0], right)


def test_a_lazy_module_gets_its_shapes_first(solve):
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.LazyLinear(3, dtype=D)

        def forward(self, t, y):
            return torch.tanh(self.linear(y))

    field = Lazy()
    found = torch.autograd.grad(loss(solve(field, states())), list(field.parameters()))
    right = torch.autograd.grad(loss(reference(field, states())), list(field.parameters()))
    assert all(map(close, found, right))


def test_a_list_for_a_tuple_state_and_a_wider_dtype(engine, adjoint):
    w = torch.tensor(1.5, dtype=D, requires_grad=True)  # of float64, where the state is of float32

    def func(t, state):
        return [w * state[1].double(), -w * state[0].double()]

    y0 = (torch.ones(2), torch.zeros(2))
    ys = pyseminorm.solve(func, y0, [0.0, 1.0], params=[w], adjoint=adjoint, backend=engine, rtol=1e-5).ys
    assert ys[0].dtype == torch.float32 and torch.allclose(ys[0][-1].double(), torch.cos(w), atol=1e-4)
    (found,) = torch.autograd.grad(ys[0][-1].sum(), w)
    assert torch.allclose(found, -2 * torch.sin(w.detach()), atol=1e-3)


def _blow_up(engine):
    pyseminorm.solve(lambda t, y: y**2, torch.ones(1, dtype=D), [0.0, 2.0], backend=engine)


def test_errors_arrive_whole_from_another_process():
    with pytest.raises(SolveError) as caught:
        _blow_up("torch")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is SolveError and str(again) == str(caught.value)
    assert again.retcode is caught.value.retcode
    good, right = again.last_good_state, caught.value.last_good_state
    assert good.t == right.t and torch.equal(good.y, right.y) and good.stats == right.stats
    for error in (UnsupportedError("a"), pyseminorm.InvalidInputError("b"), pyseminorm.JuliaFunctionError("c")):
        error.last_good_state = right
        copied = pickle.loads(pickle.dumps(error))
        assert type(copied) is type(error) and str(copied) == str(error) and copied.last_good_state.t == right.t


@pytest.mark.slow
def test_a_pool_of_processes_gets_the_error():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.map_async(_blow_up, ["torch"])
        with pytest.raises(SolveError, match="last good state"):
            result.get(timeout=120)


@pytest.mark.parametrize("compile", [None, pytest.param("trace", marks=pytest.mark.capture)])
@pytest.mark.parametrize("kind", ["module", "lambda", "args", "tuple"])
def test_a_step_leaves_no_reference_cycles(engine, adjoint, kind, compile):
    field, u = Field(), torch.ones(3, dtype=D, requires_grad=True)
    settings = {"adjoint": adjoint, "backend": engine, "compile": compile}

    def step():
        if kind == "module":
            ys = pyseminorm.solve(field, states(), [0.0, 1.0], **settings).ys
        elif kind == "lambda":
            ys = pyseminorm.solve(lambda t, y: torch.tanh(y) * u, states(), [0.0, 1.0], params=[u], **settings).ys
        elif kind == "args":
            ys = pyseminorm.solve(_scaled, states(), [0.0, 1.0], args=(u,), **settings).ys
        else:
            ys = pyseminorm.solve(_pair, (states(), states()), [0.0, 1.0], params=[u], **settings).ys[0]
        ys[-1].sum().backward()

    for _ in range(3):
        step()
    gc.disable()
    gc.collect()
    gc.freeze()  # what is there already is not looked at again
    try:
        assert min(_garbage_of(step) for _ in range(3)) == 0  # other tests' garbage may come in between
    finally:
        gc.unfreeze()
        gc.enable()


def _garbage_of(step):
    step()
    return gc.collect()


def _scaled(t, y, u):
    return -u * y


def _pair(t, state):
    return torch.tanh(state[1]), -torch.tanh(state[0])


def test_gauss_adjoint_batches_its_nodes_without_torch_func(engine):
    calls, field = [], Field()
    field.register_forward_pre_hook(lambda *_: calls.append(1))
    s = pyseminorm.solve(field, states(), [0.0, 1.0], adjoint=GaussAdjoint(), backend=engine)
    calls.clear()
    s.ys[-1].sum().backward()
    assert len(calls) < s.stats.backward.nvjp_state + s.stats.backward.nvjp_param
