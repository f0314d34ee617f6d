"""torchdiffeq's functions beside those of the installed package: names, defaults, values, gradients, errors."""

import inspect
import warnings

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
import pyseminorm.torchdiffeq
from pyseminorm import InvalidInputError

torchdiffeq = pytest.importorskip("torchdiffeq")
pytestmark = pytest.mark.peer("torchdiffeq")
T = torch.linspace(0, 1, 4, dtype=torch.float64)


@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint", "odeint_dense"])
def test_the_signatures_are_torchdiffeqs(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (pyseminorm, torchdiffeq))
    assert list(ours) == list(theirs)
    for parameter in ours.values():
        there = theirs[parameter.name]
        assert (there.default, there.kind) == (parameter.default, parameter.kind), parameter.name


def _gradients(odeint, **settings):
    field, y0 = MLP(width=16), batch(4).requires_grad_()
    ys = odeint(field, y0, T, **settings)
    (ys * cotangents(4, 4, 2)).sum().backward()
    return ys.detach(), y0.grad, torch.cat([p.grad.reshape(-1) for p in field.parameters()])


@pytest.mark.parametrize("method", [None, "bosh3", "midpoint"])
def test_values_and_gradients_agree(method):
    settings = {"method": method}
    if method == "midpoint":
        settings["options"] = {"step_size": 0.01}
    ours = _gradients(pyseminorm.odeint_adjoint, **settings)
    theirs = _gradients(torchdiffeq.odeint_adjoint, **settings)
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a, b) < {None: 1e-6, "bosh3": 5e-5, "midpoint": 1e-3}[method]


def test_a_callable_adjoint_norm_gets_torchdiffeqs_tuple():
    seen = []

    def norm(state):
        t, y, adj_y, *params = state
        seen.append((t.shape, y.shape, adj_y.shape, len(params)))
        return max(y.pow(2).mean().sqrt(), adj_y.pow(2).mean().sqrt())

    for odeint in (pyseminorm.odeint_adjoint, torchdiffeq.odeint_adjoint):
        _gradients(odeint, adjoint_options={"norm": norm})
        assert seen[0] == (torch.Size([]), torch.Size([4, 2]), torch.Size([4, 2]), 6)
        seen.clear()


def test_the_default_adjoint_norm_is_the_seminorm():
    default = _gradients(pyseminorm.odeint_adjoint)
    named = _gradients(pyseminorm.odeint_adjoint, adjoint_options={"norm": "seminorm"})
    assert all(torch.equal(a, b) for a, b in zip(default, named, strict=True))


def test_gradients_flow_to_all_that_func_captures():
    """Results of earlier operations, and what is first read later than at the first time; also twice."""
    weight = torch.tensor([0.4, -0.3], dtype=torch.float64, requires_grad=True)
    control = weight.sin()

    def func(t, y):
        return control * y if t > 0.5 else -y

    y0, t = torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    y1 = pyseminorm.odeint(func, y0, t, options={"jump_t": torch.tensor([0.5])})[-1]
    exact = y0 * (0.5 * weight.sin() - 0.5).exp()
    found, right = (torch.autograd.grad(y.sum(), weight, create_graph=True)[0] for y in (y1, exact))
    assert torch.allclose(found, right, rtol=1e-5)
    found, right = (torch.autograd.grad(g.sum(), weight)[0] for g in (found, right))
    assert torch.allclose(found, right, rtol=1e-4, atol=1e-5)


def test_odeint_takes_the_same_steps():
    """Calls of func are as many as there, but for the first two, one of which is made here."""
    calls = []
    field = MLP()
    field.register_forward_hook(lambda *_: calls.append(1))
    counts = []
    for odeint in (pyseminorm.odeint, torchdiffeq.odeint):
        calls.clear()
        odeint(field, batch(2), T)
        counts.append(len(calls))
    assert abs(counts[0] - counts[1]) <= 1


def test_tuples_come_back_as_tuples():
    y0 = (batch(2), torch.ones(3, dtype=torch.float64))
    ys = pyseminorm.odeint_adjoint(lambda t, y: (-y[0], -y[1]), y0, T, adjoint_params=())
    assert isinstance(ys, tuple) and ys[0].shape == (4, 2, 2) and ys[1].shape == (4, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"options": {"rtol": 0.1}}, "'rtol' is an argument"),
        ({"adjoint_options": {"compile": "trace"}}, "give options={'compile': ...}"),
        ({"method": "no"}, 'Invalid method "no"'),
        ({"adjoint_method": "bosh3", "options": {}}, "we cannot infer `adjoint_options`"),
    ],
)
def test_what_stands_in_the_wrong_place_is_refused_by_name(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        pyseminorm.odeint_adjoint(MLP(), batch(2), T, **settings)


def test_compile_is_an_option_of_our_own():
    field, t = MLP(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    y0, gradients = batch(2), []
    for options in (None, {"compile": "trace"}):
        field.zero_grad()
        pyseminorm.odeint_adjoint(field, y0, t, options=options).sum().backward()
        gradients.append([p.grad.clone() for p in field.parameters()])
    torch.testing.assert_close(*gradients)
    with pytest.raises(InvalidInputError, match="compile='fast' is not known"):
        pyseminorm.odeint_adjoint(field, y0, t, options={"compile": "fast"})


def test_the_backward_tolerance_is_in_units_of_the_loss_as_there():
    def backward_steps(odeint, size):
        seen = []
        field, y0 = MLP(width=16), batch(4)
        field.callback_accept_step_adjoint = lambda t, y, dt: seen.append(dt)
        norm = {"norm": lambda state: state[2].pow(2).mean().sqrt()}  # of adj_y
        ys = odeint(field, y0, T, rtol=1e-7, atol=1e-7, adjoint_options=norm)
        (ys[-1] * cotangents(4, 2) * size).sum().backward()
        return len(seen)

    counts = [backward_steps(pyseminorm.odeint_adjoint, size) for size in (1e-9, 1.0)]
    assert counts[0] < counts[1]  # errors below atol are no errors


def test_max_num_steps_is_a_whole_number():
    field = MLP()
    assert pyseminorm.odeint_adjoint(field, batch(2), T, options={"max_num_steps": 1e4}).shape == (4, 2, 2)
    for given in ("5", 2.5, 0):
        for name in ("options", "adjoint_options"):
            with pytest.raises(InvalidInputError, match="max_steps"):
                pyseminorm.odeint_adjoint(field, batch(2), T, **{name: {"max_num_steps": given}})


def _both(call):
    """What a call gives with our functions and with theirs: the type and the message of an error, or warnings."""
    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                value = call(module)
            except Exception as error:
                value = error
        found.append((value, [str(w.message) for w in seen if w.category is UserWarning]))
    return found


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (AssertionError, lambda m: m.odeint(MLP(), batch(2), [0.0, 1.0])),
        (AssertionError, lambda m: m.odeint(MLP(), batch(2), torch.tensor([0.0, 0.0]))),
        (AssertionError, lambda m: m.odeint(MLP(), batch(2), torch.tensor([0.0, 2.0, 1.0]))),
        (AssertionError, lambda m: m.odeint(MLP(), batch(2), torch.zeros(2, 2))),
        (AssertionError, lambda m: m.odeint(MLP(), [batch(2)], T)),
        (TypeError, lambda m: m.odeint(MLP(), batch(2), torch.tensor([0, 1]))),
        (ValueError, lambda m: m.odeint(MLP(), batch(2), T, method="rk5")),
        (ValueError, lambda m: m.odeint_adjoint(lambda t, y: -y, batch(2), T)),
        (AssertionError, lambda m: m.odeint(lambda t, y: y**2, torch.ones(1), torch.tensor([0.0, 2.0]))),
        (AssertionError, lambda m: m.odeint(MLP(), batch(2), T, options={"max_num_steps": 1, "first_step": 1e-6})),
    ],
)
def test_errors_are_of_torchdiffeqs_types(kind, call):
    (ours, _), (theirs, _) = _both(call)
    assert isinstance(theirs, kind)
    assert isinstance(ours, kind) and isinstance(ours, pyseminorm.PySeminormError)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.odeint(MLP(), batch(2), T, options={"step_size": 0.1}),
        lambda m: m.odeint(MLP(), batch(2), T, method="euler", options={"first_step": 0.1, "nothing": 1}),
    ],
)
def test_warnings_are_torchdiffeqs(call):
    (_, ours), (_, theirs) = _both(call)
    assert ours == theirs != []


def test_a_single_time_gives_the_state():
    for y0 in (batch(2), (batch(2), torch.tensor(1.0))):
        (ours, _), (theirs, _) = _both(lambda m, y0=y0: m.odeint(lambda t, y: y, y0, T[:1]))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("y0", "rtol"),
    [
        (batch(2), torch.tensor([[1e-9, 1e-3]])),
        ((batch(2), torch.ones(3, dtype=torch.float64)), (1e-9, torch.tensor([1e-3, 1e-4, 1e-9]))),
        ((batch(2), torch.ones(3, dtype=torch.float64)), torch.tensor([1e-3, 1e-9])),
    ],
)
def test_tolerances_of_items_and_elements(y0, rtol):
    def field(t, y):
        return -y * torch.cos(9 * t) if isinstance(y, torch.Tensor) else [-y[0], torch.cos(9 * t) * y[1]]

    (ours, _), (theirs, _) = _both(lambda m: m.odeint(field, y0, T, rtol=rtol, atol=0.0))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)


def test_a_tolerance_that_requires_grad_is_refused():
    (ours, _), (theirs, _) = _both(lambda m: m.odeint(MLP(), batch(2), T, rtol=torch.tensor(1e-3, requires_grad=True)))
    assert isinstance(theirs, AssertionError) and isinstance(ours, AssertionError)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("norm", ["seminorm", "torchdiffeq", "torchdiffeq_seminorm"])
def test_the_node_of_autograd_has_the_adjoints_norm(norm, nested):
    """As torchdiffeq's: it takes a flat y, and another one may be put in its place before backward()."""
    theirs_by = {"torchdiffeq": {}, "torchdiffeq_seminorm": {"norm": "seminorm"}, "seminorm": {"norm": "seminorm"}}

    def node(module, options):
        y0 = (torch.ones(2), torch.ones(3)) if nested else torch.ones(5)
        weight = torch.ones(4, requires_grad=True)
        func = lambda t, y: tuple(-x * weight[0] for x in y) if nested else -y * weight[0]  # noqa: E731
        ys = module.odeint_adjoint(func, y0, T, adjoint_params=(weight,), adjoint_options=options)
        ys = ys[0] if nested else ys
        found = ys.grad_fn.next_functions[0][0].next_functions[0][0] if nested else ys.grad_fn
        return ys, found.adjoint_options

    ys, options = node(pyseminorm.torchdiffeq, {"norm": norm})
    _, theirs = node(torchdiffeq, theirs_by[norm])
    parts = (torch.tensor(0.5), torch.arange(5.0), -(torch.arange(5.0) ** 2), torch.arange(4.0) * 100)
    parts = (torch.tensor(0.0), *parts[1:]) if norm == "seminorm" else parts  # ours does not see a_t
    torch.testing.assert_close(options["norm"](parts), theirs["norm"](parts))
    seen = []
    options["norm"] = lambda parts: seen.append([x.shape for x in parts]) or parts[2].abs().max()
    ys.sum().backward()
    assert seen[0] == [(), (5,), (5,), (4,)]


def test_the_norm_of_the_forward_solve_is_that_of_the_adjoint_too():
    sizes = []

    def norm(y):
        sizes.append(type(y))
        return y.abs().max()

    ys = pyseminorm.odeint_adjoint(MLP(width=4), batch(2), T, options={"norm": norm})
    sizes.clear()
    ys.sum().backward()
    assert len(sizes) > 2


@pytest.mark.parametrize("method", ["euler", "dopri5"])
@pytest.mark.parametrize("adjoint", [False, True])
def test_what_func_returns_is_made_to_look_like_the_state(method, adjoint):
    """A tuple's results in other shapes; other dtypes; a list."""

    def of_tuple(t, y):
        return [-(y[0] * 1.0).float(), torch.ones(2, dtype=torch.int64), y[2][None].float()]

    y0 = (batch(2), torch.ones(2, 1, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64, requires_grad=True))
    keywords = {"adjoint_params": ()} if adjoint else {}

    def call(module):
        ys = getattr(module, "odeint_adjoint" if adjoint else "odeint")(of_tuple, y0, T, method=method, **keywords)
        return *ys, *torch.autograd.grad(ys[2][-1], y0[2])

    (ours, _), (theirs, _) = _both(call)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    (ours, _), (theirs, _) = _both(
        lambda m: m.odeint(lambda t, y: torch.ones((), dtype=torch.int64), batch(2), T, method="euler")
    )
    torch.testing.assert_close(ours, theirs)


def test_tolerances_of_the_backward_solve_are_numbers():
    for given in (0.0, torch.tensor(1e-3)):
        assert pyseminorm.odeint_adjoint(MLP(), batch(2), T, adjoint_rtol=given).shape == (4, 2, 2)
    with pytest.raises(AssertionError, match="adjoint_atol is a tuple: expected a number"):
        pyseminorm.odeint_adjoint(MLP(), batch(2), T, adjoint_atol=(1e-3, 1e-3))


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dopri5", {"first_step": 0.05, "max_step": 0.1, "dtype": torch.float64}),
        ("bosh3", {"step_t": torch.tensor([0.31, 0.5]), "jump_t": torch.tensor([0.7])}),
        ("dopri5", {"min_step": 0.2}),
        ("dopri5", {"controller": "torchdiffeq", "safety": 0.8}),
        ("euler", {"step_size": 0.05}),
        ("midpoint", {"perturb": True, "step_size": 0.25}),
        ("rk4", {"grid_constructor": lambda func, y0, t: torch.linspace(t[0].item(), t[-1].item(), 13, dtype=t.dtype)}),
    ],
)
def test_options_of_steps(interface, method, options):
    """Times, in order, at which func is evaluated are alike, and so are values and gradients."""
    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        field, y0, times = MLP(width=8), batch(2), []
        field.register_forward_pre_hook(lambda _, inputs, times=times: times.append(inputs[0].item()))
        there = {k: v for k, v in options.items() if k != "controller"} if module is torchdiffeq else options
        ys = getattr(module, interface)(field, y0, T[[0, 3]], method=method, options=there, rtol=1e-4, atol=1e-4)
        ys[-1].square().sum().backward()
        found.append((ys, [p.grad for p in field.parameters()], times))
    (ours, gradients, times), (theirs, expected, seen) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gradients, expected, rtol=5e-2, atol=1e-2)
    for moment in (0.31, 0.5) if "step_t" in options else ():
        assert min(abs(x - moment) for x in times) < 1e-6
    if "perturb" in options:
        assert not {0.0, 0.25, 0.5, 0.75, 1.0} & set(times) and not {0.25, 0.5, 0.75} & set(seen)


def test_times_and_bounds_of_the_backward_solve_alone_are_refused():
    fixed = {"method": "rk4", "options": {"step_size": 0.1}}
    for given in ({"step_size": 0.1}, {"step_size": 0.2}):
        assert pyseminorm.odeint_adjoint(MLP(), batch(2), T, **fixed, adjoint_options=given).shape == (4, 2, 2)
    adaptive = {"method": "dopri5", "options": {"max_step": 0.5}}
    for settings, given in (
        (fixed, {"step_size": 0.2, "perturb": True}),
        (adaptive, {"step_t": [0.5]}),
        (adaptive, {"jump_t": [0.5]}),
        (adaptive, {"max_step": 0.2}),
    ):
        with pytest.raises(InvalidInputError, match="it holds for both passes"):
            pyseminorm.odeint_adjoint(MLP(), batch(2), T, **settings, adjoint_options=given)


@pytest.mark.filterwarnings("ignore:The following arguments have no effect")  # theirs always gives them
@pytest.mark.parametrize("solver", ["RK45", "LSODA"])
def test_scipys_solvers(solver):
    settings = {"method": "scipy_solver", "options": {"solver": solver}}
    for t in (T, T.flip(0)):
        for y0 in (batch(2), torch.tensor([1.0, 1.0j], dtype=torch.complex128)):
            field = (lambda t, y: -y * torch.cos(t)) if y0.is_complex() else MLP(width=8)
            if y0.is_complex() and solver == "LSODA":  # theirs hands complex numbers to a solver of real ones
                continue
            ours, theirs = (module.odeint(field, y0, t, **settings) for module in (pyseminorm.torchdiffeq, torchdiffeq))
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
            assert not ours.requires_grad
    ours, theirs = (_gradients(module.odeint_adjoint, **settings) for module in (pyseminorm.torchdiffeq, torchdiffeq))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_scipy_tells_of_a_solve_that_stops():
    with pytest.raises(AssertionError, match="scipy stopped") as info:
        pyseminorm.odeint(
            lambda t, y: y**2,
            torch.ones(1, dtype=torch.float64),
            T * 3,
            method="scipy_solver",
            options={"solver": "RK45"},
        )
    assert info.value.last_good_state.t <= 1


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rk4", {"step_size": 0.25}),
        ("midpoint", {"step_size": 0.25, "interp": "cubic"}),
        ("explicit_adams", {"step_size": 0.05, "max_order": 5}),
        ("implicit_adams", {"step_size": 0.05}),
        ("fixed_adams", {"step_size": 0.05, "implicit": False}),
    ],
)
def test_outputs_inside_fixed_steps(interface, method, options):
    found = []
    for module in (pyseminorm.torchdiffeq, torchdiffeq):
        y0 = batch(2).requires_grad_()
        ys = getattr(module, interface)(MLP(width=8), y0, T, method=method, options=options)
        found.append((ys, torch.autograd.grad(ys.square().sum(), y0)[0]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=2e-2, atol=2e-2)


def test_another_interpolation_is_refused():
    with pytest.raises(InvalidInputError, match="Unknown interpolation method no"):
        pyseminorm.odeint(MLP(), batch(2), T, method="rk4", options={"interp": "no"})


def test_an_event_at_the_start_is_there():
    y0, t = batch(2), torch.tensor([0.5, 1.0], dtype=torch.float64)
    (ours, _), (theirs, _) = _both(lambda m: m.odeint(MLP(), y0, t, event_fn=lambda t, y: (t - 0.5) * y.sum()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("method", ["dopri5", "scipy_solver"])
def test_events_want_two_times_and_a_solver_that_looks_for_them(method):
    t = T if method == "dopri5" else T[:2]
    message = "We require len.t. == 2" if method == "dopri5" else "looks for no events"
    with pytest.raises(ValueError, match=message):
        pyseminorm.odeint(MLP(), batch(2), t, event_fn=lambda t, y: y.sum(), method=method)
