"""What a solve gets in any layout that torch has gives what the same numbers give one after the other in memory."""

import pytest
import torch
from adjoints import ADJOINTS
from layouts import LAYOUTS, LAYOUTS_OF_ONE_SHAPE, numbers, plain
from torch import nn

import pyseminorm
from pyseminorm import BacksolveAdjoint, DirectAdjoint, DiscreteAdjoint

D = torch.float64
T = torch.tensor([0.0, 0.3, 0.7], dtype=D)
SHAPE = (4, 2)
EAGER_AND_COMPILED = [
    pytest.param("torch", None, id="torch-eager"),
    pytest.param("torch", "trace", id="torch-trace"),
    pytest.param("julia", None, id="julia-eager", marks=pytest.mark.julia),
    pytest.param("julia", "trace", id="julia-trace", marks=pytest.mark.julia),
    pytest.param("julia", "julia", id="julia-julia", marks=pytest.mark.julia),
]


class Field(nn.Module):
    """Reads a parameter, a plain attribute and a tensor in args, each of the shape of the state."""

    def __init__(self, weight, rate):
        super().__init__()
        self.weight, self.rate = nn.Parameter(weight), rate

    def forward(self, t, y, drive):
        return torch.tanh(self.weight * y) * self.rate + torch.cos(t) * drive * y


def inputs(shape=SHAPE):
    return {"y0": numbers(shape), "weight": numbers(shape) + 0.3, "rate": numbers(shape) - 0.5, "drive": numbers(shape)}


def outcome(given, adjoint, backend, compile, t=T, cotangents=None):
    """Outputs and all gradients of a solve."""
    y0, drive = given["y0"].detach().requires_grad_(), given["drive"].detach().requires_grad_()
    field, t = Field(given["weight"], given["rate"]), t.detach().requires_grad_()
    settings = {"rtol": 1e-4, "atol": 1e-6, "backend": backend, "compile": compile, "adjoint": adjoint}
    ys = pyseminorm.solve(field, y0, t, args=(drive,), **settings).ys
    cotangents = numbers(ys.shape) if cotangents is None else cotangents
    return ys.detach(), *torch.autograd.grad(ys, [y0, t, drive, field.weight], cotangents)


def check(given, adjoint, backend, compile, **others):
    """The outcome of a solve is that of plain copies of what it is given."""
    expected = outcome({role: plain(x) for role, x in given.items()}, adjoint, backend, compile, **others)
    torch.testing.assert_close(outcome(given, adjoint, backend, compile, **others), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
def test_states_parameters_attributes_and_arguments(backend, compile, adjoint):
    for name in LAYOUTS_OF_ONE_SHAPE:
        check({role: LAYOUTS[name](*SHAPE) for role in inputs()}, adjoint, backend, compile)


@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
@pytest.mark.parametrize("role", inputs())
def test_one_of_them_at_a_time(role, backend, compile):
    for name, shape, given in (("column", (3,), (3,)), ("negative", (3,), (3,)), ("expanded", (3,), (3,)),
                               ("0-d", (), (2,)), ("channels last", (2, 3, 2, 2), (2, 3))):  # fmt: skip
        check({**inputs(shape), role: LAYOUTS[name](*given)}, BacksolveAdjoint(), backend, compile)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
def test_cotangents(backend, compile, adjoint):
    for name in LAYOUTS_OF_ONE_SHAPE:
        given = LAYOUTS[name](len(T), *SHAPE)
        found = outcome(inputs(), adjoint, backend, compile, cotangents=given)
        expected = outcome(inputs(), adjoint, backend, compile, cotangents=plain(given))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layout", ["column", "every second", "offset", "diagonal", "overlapping", "negative"])
@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
def test_times(layout, backend, compile):
    t = LAYOUTS[layout](3).sort().values
    strange = LAYOUTS["every second"](3) if layout == "overlapping" else LAYOUTS[layout](3)
    if layout == "negative":
        strange = torch.complex(-t, -t).conj().imag
    else:
        strange.copy_(t)
    assert torch.equal(strange, t)
    check(inputs(), DiscreteAdjoint(), backend, compile, t=strange)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
def test_tensors_without_elements(backend, compile, adjoint):
    """A leaf of the state, a parameter and an argument that hold nothing."""
    leaves = [numbers((3,)).requires_grad_(), torch.empty(0, 2, dtype=D, requires_grad=True)]
    nothing, w = (nn.Parameter(x) for x in (torch.empty(0, dtype=D), numbers((3,))))

    def func(t, state, more):
        y, empty = state
        return -w * y + nothing.sum() + more.sum(), 2 * empty

    ys, empties = pyseminorm.solve(
        func, tuple(leaves), T, args=(torch.empty(2, 0, dtype=D),), params=[nothing, w], backend=backend,
        compile=compile, adjoint=adjoint, rtol=1e-9, atol=1e-11,
    ).ys  # fmt: skip
    assert empties.shape == (3, 0, 2)
    grads = torch.autograd.grad(ys[-1].sum(), [*leaves, nothing, w])
    exact = torch.exp(-w * 0.7)
    torch.testing.assert_close(ys[-1], leaves[0] * exact, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(grads[0], exact.detach(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(grads[3], (-0.7 * leaves[0] * exact).detach(), rtol=1e-6, atol=1e-8)
    assert grads[1].shape == (0, 2) and grads[2].shape == (0,)


@pytest.mark.parametrize("compile", [None, "trace"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_complex_states(compile, adjoint):
    values = torch.complex(numbers((3,)), numbers((3,)) - 0.4)

    def gradient(y0):
        y0 = y0.detach().requires_grad_()
        s = pyseminorm.solve(lambda t, y: 1j * y, y0, T, backend="torch", compile=compile, adjoint=adjoint)
        (grad,) = torch.autograd.grad(torch.view_as_real(s.ys).pow(3).sum(), y0)
        return s.ys.detach().resolve_conj(), grad.resolve_conj()

    expected = gradient(values.clone())
    for strange in (values.conj_physical().conj(), torch.stack([values, values], 1)[:, 1]):
        torch.testing.assert_close(gradient(strange), expected)


def test_states_in_any_layout_that_autograd_records():
    for name, shape in (*((name, SHAPE) for name in LAYOUTS_OF_ONE_SHAPE), ("channels last", (2, 3))):
        y0 = LAYOUTS[name](*shape)
        given = inputs(y0.shape) | {"y0": y0}
        check(given, DirectAdjoint(), "torch", None)


@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_dense_output_of_a_state_with_gaps(backend, compile, adjoint):
    y0 = LAYOUTS["column"](*SHAPE)
    s, expected = (
        pyseminorm.solve(lambda t, y: -y, x, T, backend=backend, compile=compile, adjoint=adjoint, dense=True)
        for x in (y0, plain(y0))
    )
    torch.testing.assert_close(s.interpolate(0.4), expected.interpolate(0.4), rtol=1e-12, atol=1e-13)


@pytest.mark.capture
@pytest.mark.parametrize(("backend", "compile"), EAGER_AND_COMPILED)
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_memory_that_a_parameter_gives_up_between_the_passes(backend, compile, adjoint):
    """The backward pass is that of what the forward pass read."""

    def gradient(*, swap):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)).to(D)
        y0, shift = numbers((64,)).requires_grad_(), numbers((64,))
        ys = pyseminorm.solve(lambda t, y: net(y + shift), y0, T, params=list(net.parameters()), backend=backend,
                              compile=compile, adjoint=adjoint).ys  # fmt: skip
        if swap:
            for p in (*net.parameters(), shift):
                p.data = torch.full_like(p, 1e-3)
            junk = [torch.full((64, 64), 1e200, dtype=D) for _ in range(20)]
            assert len(junk) == 20
        return torch.autograd.grad(ys[-1].sum(), [y0, *net.parameters()])

    torch.testing.assert_close(gradient(swap=True), gradient(swap=False))


@pytest.mark.capture
@pytest.mark.parametrize(("backend", "compile"), [p for p in EAGER_AND_COMPILED if p.values[1]])
def test_two_solves_of_parameters_that_lie_elsewhere_in_between(backend, compile):
    """Each backward pass is that of its own forward pass, in any order."""
    w, y0 = nn.Parameter(numbers((3,))), numbers((3,)).requires_grad_()
    field = pyseminorm.compile(lambda t, y: -w * y, mode=compile, backend=backend)
    solves, exact = [], []
    for shift in (0.0, 1.0, 2.0):
        w.data = numbers((3,)) + shift
        ys = pyseminorm.solve(
            field, y0, T, params=[w], backend=backend, adjoint=DiscreteAdjoint(), rtol=1e-9, atol=1e-11
        ).ys
        solves.append(ys[-1].sum())
        exact.append(torch.exp(-0.7 * w.detach()))
    w.data = torch.full((3,), 1e200, dtype=D)
    for i in (1, 0, 2, 1):
        by_y0, by_w = torch.autograd.grad(solves[i], [y0, w], retain_graph=True)
        torch.testing.assert_close(by_y0, exact[i], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(by_w, -0.7 * y0.detach() * exact[i], rtol=1e-6, atol=1e-8)


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=lambda a: type(a).__name__)
def test_a_julia_function_reads_the_parameters_of_its_forward_pass_in_any_layout(adjoint):
    source = "(du, u, p, t) -> (du .= .-p .* u; nothing)"
    product = "(dλ, dp, λ, u, p, t) -> (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)"
    for layout in LAYOUTS_OF_ONE_SHAPE:
        field = pyseminorm.JuliaFunction(source, LAYOUTS[layout](3), vjp=product)
        w, y0 = field.params, LAYOUTS[layout](3).detach().requires_grad_()
        value, start = plain(w.detach()), plain(y0.detach())
        ys = pyseminorm.solve(field, y0, T, backend="julia", adjoint=adjoint, rtol=1e-9, atol=1e-11).ys
        w.data = torch.full_like(w, 1e3)
        by_y0, by_w = torch.autograd.grad(ys[-1].sum(), [y0, w])
        torch.testing.assert_close(by_y0, torch.exp(-0.7 * value), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(by_w, -0.7 * start * torch.exp(-0.7 * value), rtol=1e-6, atol=1e-8)
