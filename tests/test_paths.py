"""Paths through data and the fields that they drive: values of torchcde and SciPy, closed forms, every adjoint."""

import logging
import math

import numpy as np
import pytest
import torch
from scipy import interpolate
from torch import nn
from torch._dynamo.utils import counters

import pyseminorm
from pyseminorm import (
    CDE,
    BacksolveAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    InvalidInputError,
    interpolate_path,
    solve,
)

D = torch.float64
NAN = math.nan
TIMES = torch.tensor([0.0, 0.5, 1.7, 2.0, 3.1, 4.0], dtype=D)
AT = torch.linspace(-0.5, 4.5, 41, dtype=D)
KINDS = ("linear", "hermite", "cubic", "rectilinear")
ADJOINTS = [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), DiscreteAdjoint()]
TIGHT = {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}


def _series(missing=0.0, dtype=D):
    """Series (2, 3, 6, 2), the first channel time, of which a share is missing."""
    x = torch.randn(2, 3, 6, 2, dtype=dtype)
    x[torch.rand_like(x) < missing] = NAN
    x[..., 0] = TIMES
    return x


def _path(kind, values):
    return interpolate_path(None if kind == "rectilinear" else TIMES, values, kind)


def _of_torchcde(kind, values):
    torchcde = pytest.importorskip("torchcde")
    t = TIMES.to(values)
    if kind == "rectilinear":
        return torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(values, rectilinear=0))
    if kind == "linear":
        return torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(values, t), t)
    natural, hermite = torchcde.natural_cubic_coeffs, torchcde.hermite_cubic_coefficients_with_backward_differences
    return torchcde.CubicSpline((natural if kind == "cubic" else hermite)(values, t), t)


@pytest.mark.peer("torchcde")
@pytest.mark.filterwarnings("ignore")  # torchcde's own
@pytest.mark.parametrize("missing", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_values_derivatives_and_gradients_are_torchcdes(kind, missing):
    values = _series(missing).requires_grad_()
    ours, theirs = _path(kind, values), _of_torchcde(kind, values)
    assert torch.equal(torch.tensor(ours.interval, dtype=D), theirs.interval)
    for t in (AT, AT.view(41, 1), AT[7], TIMES[2], TIMES):
        for a, b in ((ours(t), theirs.evaluate(t)), (ours.derivative(t), theirs.derivative(t))):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
            weights = torch.randn_like(a)
            mine, other = (torch.autograd.grad((x * weights).sum(), values, retain_graph=True)[0] for x in (a, b))
            torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["linear", "hermite", "cubic"])
def test_a_series_with_gaps_is_interpolated_through_what_was_observed(kind):
    values = torch.tensor([1.0, NAN, 0.3, 2.0, NAN, -1.0], dtype=D)
    seen = ~values.isnan()
    t, x = TIMES[seen].numpy(), values[seen].numpy()
    filled = np.interp(TIMES.numpy(), t, x)
    slope = np.diff(filled) / np.diff(TIMES.numpy())
    expected = {
        "linear": lambda at: np.interp(at, t, x),
        "hermite": interpolate.CubicHermiteSpline(TIMES.numpy(), filled, np.concatenate([slope[:1], slope])),
        "cubic": interpolate.CubicSpline(t, x, bc_type="natural"),
    }[kind]
    inside = torch.linspace(0, 4, 33, dtype=D)
    path = interpolate_path(TIMES, values.unsqueeze(-1), kind)
    assert np.allclose(path(inside)[:, 0].numpy(), expected(inside.numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "hermite", "cubic"])
def test_padding_repeats_what_was_observed_last_and_first(kind):
    values = torch.tensor([NAN, NAN, 3.0, 3.0, NAN, NAN], dtype=D).unsqueeze(-1)
    path = interpolate_path(TIMES, torch.cat([values, torch.full_like(values, NAN)], -1), kind)
    assert torch.allclose(path(AT), torch.tensor([3.0, 0.0], dtype=D), atol=1e-14)
    assert torch.allclose(path.derivative(AT), torch.zeros((), dtype=D), atol=1e-14)


def test_a_rectilinear_path_waits_and_jumps():
    values = torch.tensor([[0.0, 5.0], [1.0, NAN], [3.0, 7.0]], dtype=D)
    path = interpolate_path(None, values, "rectilinear")
    assert path(torch.arange(5)).tolist() == [[0, 5], [1, 5], [1, 5], [3, 5], [3, 7]]
    assert path.times == (0, 1, 2, 3, 4) and path.interval == (0, 4) and path.knots == (1, 2, 3)
    swapped = interpolate_path([0, 2, 4, 6, 8], values.flip(-1), "rectilinear", time_channel=1)
    assert torch.equal(swapped(torch.arange(5) * 2).flip(-1), path(torch.arange(5)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_values_and_time(kind):
    values = _series(0.3)[0, 0]
    observed, t = values[:, 1:].clone().requires_grad_(), torch.tensor([0.3, 2.6, 3.4], dtype=D, requires_grad=True)

    def evaluate(observed, t):
        path = _path(kind, torch.cat([values[:, :1], observed], -1))
        return path(t), path.derivative(t)

    value = evaluate(observed, t)[0]
    moved = torch.autograd.grad(value.sum(), t)[0]
    assert torch.allclose(moved, evaluate(observed, t)[1].sum(-1).detach())
    seen = observed.detach().nan_to_num().requires_grad_()
    assert torch.autograd.gradcheck(evaluate, (seen, t))


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_and_plain_numbers(kind):
    values = _series(0.3)
    single, double = _path(kind, values.float()), _path(kind, values)
    assert single(1.3).dtype == torch.float32
    assert torch.allclose(single(1.3), double(1.3).float(), atol=1e-5)
    assert torch.allclose(single.derivative(1), double.derivative(torch.tensor(1)).float(), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "spline"}, "kind='spline' is not known"),
        ({"values": torch.ones(6, dtype=torch.int64)}, "values is torch.int64"),
        ({"values": torch.ones(1, 2)}, "length at least 2"),
        ({"values": torch.full((6, 2), math.inf)}, "infinite"),
        ({"times": TIMES.clone().requires_grad_()}, "no gradient by its times"),
        ({"times": list(TIMES.clone().requires_grad_())}, "no gradient by its times"),
        ({"times": TIMES[:5]}, r"expected \(6,\)"),
        ({"times": TIMES.flip(0)}, "not strictly increasing"),
        ({"times": [0, 1, 2, 2, 3, 4]}, "not strictly increasing"),
        ({"times": [0, 1, 2, 3, 4, NAN]}, "not strictly increasing"),
        ({"times": None, "kind": "rectilinear", "values": torch.tensor([[1.0], [0.0]])}, "needs the time"),
        ({"times": None, "kind": "rectilinear", "values": torch.tensor([[NAN], [0.0]])}, "needs the time"),
        ({"kind": "rectilinear", "time_channel": 2}, "expected one of the 2 channels"),
    ],
)
def test_bad_input_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        interpolate_path(**{"times": TIMES, "values": _series()[0, 0], **settings})


# ---- the field ---------------------------------------------------------------------------------------------


class Exponential(nn.Module):
    """dz = z (a dX): z(T) = z(0) exp(a (X(T) - X(0))) along every path."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]], dtype=D))

    def forward(self, t, z):
        return z.unsqueeze(-1) * self.a

    def exact(self, z, path):
        start, end = path.interval
        return z * torch.exp((path(end) - path(start)) @ self.a.T)


def _gradients(value, sources):
    return torch.autograd.grad(value.sin().sum(), sources, retain_graph=True)


CASES = [(kind, adjoint, None) for kind in KINDS for adjoint in ADJOINTS]
COMPILED = [("linear", ADJOINTS[0], "auto"), ("hermite", ADJOINTS[2], "auto"), ("cubic", ADJOINTS[3], "auto")]


@pytest.mark.capture
@pytest.mark.parametrize(("kind", "adjoint", "compile"), CASES + COMPILED)
def test_gradients_reach_the_values_of_the_path_the_parameters_and_the_start(kind, adjoint, compile, engine, caplog):
    field, values = Exponential(), _series(0.3)[0].requires_grad_()
    start = torch.ones(3, 3, dtype=D, requires_grad=True)
    path = _path(kind, values)
    settings = {"adjoint": adjoint, "compile": compile, "backend": engine, "discontinuities": path.times}
    with caplog.at_level(logging.INFO, "pyseminorm"):
        s = solve(CDE(field, path), start, path.interval, method="tsit5", rtol=1e-7, atol=1e-7, **settings)
    assert "stays eager" not in caplog.text and "not lowered" not in caplog.text
    exact, sources = field.exact(start, path), [values, start, field.a]
    assert torch.allclose(s.ys[-1], exact, rtol=1e-6)
    for a, b in zip(_gradients(s.ys[-1], sources), _gradients(exact, sources), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gradients_reach_an_encoder_and_the_times_of_the_solve():
    encoder, field = nn.Linear(2, 2).double(), Exponential()
    path = interpolate_path(TIMES, encoder(_series()[0]), "cubic")
    t = torch.tensor([0.4, 3.3], dtype=D, requires_grad=True)
    s = solve(CDE(field, path), torch.ones(3, 3, dtype=D), t, backend="torch", **TIGHT)
    exact = torch.exp((path(t[1]) - path(t[0])) @ field.a.T)
    sources = [t, *encoder.parameters()]
    for a, b in zip(_gradients(s.ys[-1], sources), _gradients(exact, sources), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_end_where_the_path_has_kinks(kind, engine):
    path, z = _path(kind, _series()[0]), torch.ones(3, 3, dtype=D)
    kinks = kind in ("linear", "rectilinear")
    assert (len(path.knots) > 0) == kinks

    def steps(**settings):
        ends = []
        watch = pyseminorm.StepCallbacks(accept_step=lambda t, y, dt: ends.append(t + dt))
        with torch.no_grad():
            solve(CDE(Exponential(), path), z, path.interval, callbacks=watch, backend=engine, rtol=1e-6, **settings)
        return ends

    assert steps() == steps(discontinuities=path.knots)
    assert (steps() != steps(discontinuities=())) == kinks


def test_a_class_may_name_its_discontinuities():
    class Switched(nn.Module):
        discontinuities = (0.5,)

        def forward(self, t, y):
            return torch.where(t < 0.5, 0.0, 1.0).expand_as(y)

    s = solve(Switched(), torch.zeros(1, dtype=D), [0.0, 1.0], backend="torch")
    assert s.ys[-1].item() == pytest.approx(0.5, abs=1e-14) and s.stats.forward.nreject == 0


@pytest.mark.capture
def test_a_field_for_every_batch_is_captured_once(caplog):
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Unflatten(-1, (3, 2))).double()

    def matrix(t, z):
        return net(z)

    z, graphs = torch.ones(3, 3, dtype=D), counters["stats"]["unique_graphs"]
    for _ in range(4):
        cde = CDE(matrix, interpolate_path(TIMES, _series()[0], "hermite"))
        a, b = (
            solve(cde, z, [0.0, 4.0], params=net.parameters(), compile=c, backend="torch").ys for c in (None, "trace")
        )
        assert torch.allclose(a, b, rtol=1e-12)
    assert counters["stats"]["unique_graphs"] == graphs + 1


def test_a_path_of_another_package_drives_too():
    class Ramp:
        def derivative(self, t):
            return torch.tensor([2.0, 0.0], dtype=D)

    field, z = Exponential(), torch.ones(3, dtype=D)
    s = solve(CDE(field, Ramp()), z, [0.0, 1.0], backend="torch", **TIGHT)
    assert torch.allclose(s.ys[-1], torch.exp(2 * field.a[:, 0]), rtol=1e-7)


def test_what_does_not_fit_is_refused():
    path, z = _path("linear", _series()[0]), torch.ones(3, 3, dtype=D)
    with pytest.raises(InvalidInputError, match="func is a int"):
        CDE(3, path)
    with pytest.raises(InvalidInputError, match="path is a Tensor"):
        CDE(Exponential(), z)
    with pytest.raises(InvalidInputError, match=r"returned shape \(3, 6\).*expected \(3, 3, 2\)"):
        solve(CDE(lambda t, z: torch.cat([z, z], -1), path), z, path.interval)
