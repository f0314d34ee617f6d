"""States, times and parameters of every kind, beside the installed torchdiffeq: values and gradients."""

import collections

import pytest
import torch
from problems import MLP, batch
from torch import nn

import pyseminorm.torchdiffeq as ours

theirs = pytest.importorskip("torchdiffeq")
pytestmark = pytest.mark.peer("torchdiffeq")
D = torch.float64
T = torch.linspace(0, 1, 4, dtype=D)
INTERFACES = pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])


class Field(nn.Module):
    """y' = w y cos(t), of one tensor or of each of a tuple's."""

    def __init__(self, dtype=D):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=dtype))
        self.unused = nn.Linear(2, 3)

    def forward(self, t, y):
        if isinstance(y, tuple):
            return tuple(self.weight * x * torch.cos(t) for x in y)
        return self.weight * y * torch.cos(t)


def _run(module, interface, y0, t, **settings):
    """The values, and gradients by y0, t and the parameter."""
    field = Field(y0[0].real.dtype if isinstance(y0, tuple) else y0.real.dtype)
    leaves = [x.detach().clone().requires_grad_() for x in (y0 if isinstance(y0, tuple) else (y0,))]
    t = t.detach().clone().requires_grad_()
    ys = getattr(module, interface)(field, tuple(leaves) if isinstance(y0, tuple) else leaves[0], t, **settings)
    parts = ys if isinstance(ys, tuple) else (ys,)
    loss = sum((x.abs().square() * (1 + i)).sum() for i, x in enumerate(parts))
    return [*parts, *torch.autograd.grad(loss, [*leaves, t, field.weight])]


@INTERFACES
@pytest.mark.parametrize("method", [None, "rk4"])
@pytest.mark.parametrize(
    ("y0", "t"),
    [
        (torch.tensor(1.5, dtype=D), T),
        (torch.ones(2, 3), T.float()),
        (torch.ones(2), T),  # times of another dtype
        (torch.ones(2, dtype=D), T.float()),
        (torch.ones(2, dtype=D), T.flip(0)),
        (torch.tensor([1.0 + 2.0j, -1.0j]), T),
        ((torch.ones(2, dtype=D), torch.tensor(0.5, dtype=D)), T.flip(0)),
        (torch.ones(2, dtype=D), torch.tensor([-2.0, 0.5, 0.75], dtype=D)),
    ],
    ids=["0-dim", "float32", "float64 times", "float32 times", "reversed", "complex", "tuple", "uneven"],
)
def test_states_and_times(interface, method, y0, t):
    settings = {"method": method, "options": {"step_size": 0.01} if method else None}
    found = _run(ours, interface, y0, t, **settings)
    # By the adjoint method theirs fails for complex states. Of fixed steps, dL/dt is zero there at a grid's points.
    if not isinstance(y0, tuple) and y0.is_complex():
        interface = "odeint"
    expected = _run(theirs, interface, y0, t, **settings)
    if method and interface == "odeint":
        found, expected = ([*x[:-2], x[-1]] for x in (found, expected))
    single = torch.float32 in (t.dtype, found[0].real.dtype)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=2e-3 if single else 1e-4, atol=1e-4 if single else 1e-6)


@INTERFACES
def test_a_named_tuple_is_a_plain_one(interface):
    named, found = collections.namedtuple("State", ["x", "v"]), []
    for module in (ours, theirs):
        y0 = named(torch.ones(2, dtype=D), torch.tensor(0.5, dtype=D))
        found.append(getattr(module, interface)(Field(), y0, T))
        assert type(found[-1]) is tuple
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-8)


def test_parts_of_a_tuple_may_be_changed_in_place():
    def run(module):
        y0, logp = torch.ones(2, 3, dtype=D, requires_grad=True), torch.zeros(2, dtype=D, requires_grad=True)
        ys, logps = module.odeint(lambda t, s: (torch.sin(s[0]), s[0].sum(1)), (y0, logp), T)
        ys[-1].clamp_(max=1.5)
        logps.mul_(2.0).add_(1.0)
        return [ys, logps, *torch.autograd.grad(ys.sum() + logps[-1].square().sum(), [y0, logp])]

    torch.testing.assert_close(run(ours), run(theirs), rtol=1e-6, atol=1e-8)


def test_parameters_that_nobody_reads_get_zeros_by_the_adjoint_method():
    for module in (ours, theirs):
        field = Field()
        module.odeint_adjoint(field, torch.ones(2, dtype=D), T).sum().backward()
        assert field.unused.weight.grad.abs().max() == 0


def test_no_parameters_and_a_plain_function():
    y0 = torch.ones(2, dtype=D, requires_grad=True)
    found = [
        torch.autograd.grad(module.odeint_adjoint(lambda t, y: -y, y0, T, adjoint_params=()).sum(), y0)[0]
        for module in (ours, theirs)
    ]
    torch.testing.assert_close(*found)


@INTERFACES
def test_parameters_that_change_between_solves(interface):
    curves = []
    for module in (ours, theirs):
        field, y0 = MLP(width=8), batch(3)
        optimiser, curve = torch.optim.SGD(field.parameters(), lr=0.1), []
        for _ in range(3):
            optimiser.zero_grad()
            loss = getattr(module, interface)(field, y0, T)[-1].square().mean()
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], rel=1e-6) and curves[0][0] > curves[0][2]


def test_all_that_a_closure_reads_gets_its_gradient_from_odeint():
    gradients = []
    for module in (ours, theirs):
        leaf, encoder = torch.tensor(0.3, dtype=D, requires_grad=True), nn.Linear(2, 2, dtype=D)
        torch.nn.init.constant_(encoder.weight, 0.2)
        torch.nn.init.constant_(encoder.bias, 0.1)
        code = encoder(torch.ones(2, dtype=D))
        ys = module.odeint(lambda t, y, leaf=leaf, code=code: leaf * y + code, torch.ones(2, dtype=D), T)
        gradients.append(torch.autograd.grad(ys.square().sum(), [leaf, *encoder.parameters()], create_graph=True))
        again = torch.autograd.grad(sum(g.square().sum() for g in gradients[-1]), leaf)
        gradients[-1] += again
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


@INTERFACES
def test_there_and_back_by_reversed_times(interface):
    field, y0 = Field(), torch.ones(3, dtype=D)
    odeint = getattr(ours, interface)
    back = odeint(field, odeint(field, y0, T)[-1], T.flip(0))[-1]
    torch.testing.assert_close(back, y0, rtol=1e-6, atol=1e-8)


SHAPES = [(), (1,), (3, 1), (1, 2), (2,), (1, 3, 2), (6,), (2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@INTERFACES
def test_a_result_of_another_shape_is_taken_or_refused_as_there(interface, method, shape):
    """Fixed steps broadcast it; adaptive ones refuse it, as swapped arguments or a last layer too narrow must be."""
    found = []
    for module in (ours, theirs):

        def func(t, y):
            return torch.full(shape, -0.5, dtype=D) * (1 + t)

        keywords = {"adjoint_params": ()} if interface == "odeint_adjoint" else {}
        try:
            found.append(getattr(module, interface)(func, torch.ones(3, 2, dtype=D), T, method=method, **keywords))
        except (RuntimeError, ValueError):
            found.append(None)
    assert (found[0] is None) == (found[1] is None)
    if found[0] is not None:
        torch.testing.assert_close(*found)


@pytest.mark.parametrize("what", ["y0", "func"])
@INTERFACES
def test_what_is_not_finite_at_the_first_time_is_an_assertion_error(interface, what):
    y0 = torch.ones(2) * (float("nan") if what == "y0" else 1.0)
    keywords = {"adjoint_params": ()} if interface == "odeint_adjoint" else {}
    for module in (ours, theirs):
        with pytest.raises(AssertionError):
            getattr(module, interface)(lambda t, y: y * float("nan"), y0, torch.tensor([0.0, 1.0]), **keywords)


BAD = {
    "options that are no dict": ({"options": [1]}, ValueError, "options is a list: expected a dict"),
    "an rtol that is None": ({"rtol": None}, TypeError, "rtol=None: expected a number"),
    "an atol as text": ({"atol": "1e-3"}, TypeError, "atol='1e-3': expected a number"),
}


@pytest.mark.parametrize("case", BAD)
@INTERFACES
def test_bad_input_is_named(interface, case):
    arguments, kind, message = BAD[case]
    keywords = {"adjoint_params": ()} if interface == "odeint_adjoint" else {}
    with pytest.raises(kind, match=message):
        getattr(ours, interface)(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]), **keywords, **arguments)


def test_a_module_is_not_its_parameters():
    with pytest.raises(TypeError, match=r"adjoint_params=tuple\(net.parameters\(\)\)"):
        ours.odeint_adjoint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]), adjoint_params=nn.Linear(1, 1))


def test_an_event_that_does_not_happen_and_a_first_time_that_is_no_tensor_are_named():
    def unmet(t, y):
        return y[0] + 1.0

    with pytest.raises(AssertionError, match="event_fn was not zero until then") as caught:
        ours.odeint_event(
            lambda t, y: -y, torch.ones(2), torch.tensor(0.0), event_fn=unmet, options={"max_num_steps": 30}
        )
    assert caught.value.last_good_state.t > 0.0
    with pytest.raises(AssertionError, match=r"t0 must be a torch.Tensor of one element, not a float"):
        ours.odeint_event(lambda t, y: -y, torch.ones(2), 0.0, event_fn=unmet)
