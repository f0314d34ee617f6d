"""Bad input is refused by name, before the solve: func is called at most once, by the check."""

import logging
import math

import numpy as np
import pytest
import torch
from problems import MLP, Counted, batch

import pyseminorm
from pyseminorm import (
    BackendUnavailableError,
    BacksolveAdjoint,
    DirectAdjoint,
    GaussAdjoint,
    HiddenParametersWarning,
    InterpolatingAdjoint,
    InvalidInputError,
    PIController,
    TorchdiffeqController,
)

Y0 = batch(2)
T = [0.0, 1.0]


REFUSED = {
    "a y0 that is no tensor": ({"y0": 1.0}, "y0 contains a float"),
    "an integer y0": ({"y0": torch.ones(2, dtype=torch.int64)}, "int64"),
    "an empty y0 for Julia": ({"y0": torch.ones(0), "backend": "julia"}, "the state has no elements"),
    "a y0 without leaves": ({"y0": ()}, "y0 is empty"),
    "leaves of two dtypes": ({"y0": (torch.ones(2), torch.ones(2).double())}, "different dtypes"),
    "leaves on two devices": ({"y0": (torch.ones(2), torch.ones(2, device="meta"))}, "different devices"),
    "NaN in y0": ({"y0": torch.tensor([1.0, float("nan")])}, "y0 contains NaN"),
    "one time": ({"t": [0.0]}, "at least 2 times"),
    "a matrix of times": ({"t": torch.zeros(2, 2)}, "vector of at least 2"),
    "NaN in t": ({"t": [0.0, float("nan")]}, "t contains NaN"),
    "a repeated time": ({"t": [0.0, 1.0, 1.0]}, "repeats a time"),
    "unsorted times": ({"t": [0.0, 2.0, 1.0]}, "not sorted"),
    "times that are no numbers": ({"t": "now"}, "t is a str"),
    "rtol = 0": ({"rtol": 0.0}, "rtol"),
    "a negative atol": ({"atol": -1e-6}, "atol"),
    "an unknown norm": ({"norm": "l2"}, "norm='l2'"),
    "a norm that is an array": ({"norm": np.ones(2)}, "norm=array"),
    "times that are text": ({"t": ["a", "b"]}, "t is a list: expected a vector of numbers"),
    "an unknown backend": ({"backend": "jax"}, "backend='jax'"),
    "an unknown method": ({"method": "dopri9"}, "method='dopri9'"),
    "a Julia method on the embedded engine": ({"method": "Vern9", "backend": "torch"}, 'backend="julia"'),
    "an adjoint by name": ({"adjoint": "backsolve"}, "adjoint='backsolve'"),
    "args that are no tuple": ({"args": torch.ones(2)}, "args is a Tensor"),
    "max_steps = 0": ({"max_steps": 0}, "max_steps=0"),
    "dt = 0": ({"dt": 0.0}, "dt=0.0"),
    "NaN in a grid": ({"dt": [0.5, math.nan], "method": "rk4"}, "dt contains NaN"),
    "an infinite time in a grid": ({"dt": [0.5, math.inf], "method": "rk4"}, "dt contains NaN or infinite"),
    "params as one tensor": ({"params": torch.ones(2, requires_grad=True)}, "params is a tensor"),
    "a func that is no function": ({"func": torch.ones(2)}, "func is a Tensor"),
    "max_steps as text": ({"max_steps": "5"}, "max_steps='5'"),
    "max_steps beyond counting": ({"max_steps": 10**400}, "max_steps=... is too large"),
    "an rtol beyond floats": ({"rtol": 10**400}, "rtol=... is too large"),
    "an rtol as text": ({"rtol": "1e-3"}, "rtol='1e-3'"),
    "an rtol beyond float32": ({"rtol": 1e300, "y0": Y0.float()}, "rtol = 1e.300 is beyond torch.float32"),
    "a time of a jump that wants a gradient": (
        {"discontinuities": [torch.tensor(0.5).requires_grad_()]},
        "requires grad",
    ),
    "a time beyond floats": ({"t": [0, 10**400]}, "t is a list"),
    "a time beyond float32": ({"t": [0.0, 1e300], "y0": Y0.float()}, "t.-1. = 1e.300 is beyond"),
    "a discontinuity beyond floats": ({"discontinuities": [10**400]}, "discontinuities contains"),
    "times on meta": ({"t": torch.tensor(T, device="meta")}, "t is a .*meta"),
    "y0 on meta": ({"y0": Y0.to("meta")}, "y0 is on the device meta"),
    "a nested y0": ({"y0": torch.nested.nested_tensor([Y0, Y0[:1]], layout=torch.jagged)}, "is a nested tensor"),
    "a sparse y0": ({"y0": Y0.to_sparse()}, "sparse_coo: expected a dense"),
    "params that are no tensors": ({"params": 3}, "params is a int"),
    "params by name": ({"params": [("w", torch.ones(2))], "adjoint": DirectAdjoint()}, "params contains a tuple"),
    "batched_time without a batch": (
        {"y0": torch.tensor(1.0), "adjoint": GaussAdjoint(batched_time=True)},
        "batched_time=True",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_call(case):
    arguments, message = REFUSED[case]
    func = Counted(lambda t, y: -y)
    call = {"func": func, "y0": Y0, "t": T, **arguments}
    with pytest.raises((InvalidInputError, BackendUnavailableError), match=message.replace("(", r"\(")):
        pyseminorm.solve(call.pop("func"), call.pop("y0"), call.pop("t"), **call)
    assert func.calls == 0


RETURNS = {
    "nothing": (lambda t, y: None, "returned None"),
    "another shape": (lambda t, y: y[0], "returned shape"),
    "whole numbers": (lambda t, y: y.long(), "returned dtype"),
    "complex numbers": (lambda t, y: 1j * y, "returned dtype"),
    "its own state": (lambda t, y: y.mul_(-1.0), "in place"),
    "another structure": (lambda t, y: (y, y), "returned a tuple"),
    "a number": (lambda t, y: 1.0, "returned a float"),
    "NaN": (lambda t, y: y * float("nan"), "non-finite values at the first time"),
    "another device": (lambda t, y: y.to("meta"), "on meta"),
}


@pytest.mark.parametrize("case", RETURNS)
def test_func_that_returns_the_wrong_thing(engine, case):
    wrong, message = RETURNS[case]
    func = Counted(wrong)
    with pytest.raises(InvalidInputError, match=message):
        pyseminorm.solve(func, Y0, T, backend=engine)
    assert func.calls == 1


SETTINGS = {
    "norm": ["l2", np.ones(2)],
    "rtol": [0.0, math.inf, math.nan, "a", 10**400, torch.ones(2), True],
    "atol": [-1.0, complex(1, 0)],
    "max_steps": [2.5, "5", True, 0, 10**400],
    "controller": [3, "pi"],
    "scale_invariant": ["no", 1, None],
    "param_rtol": [0.0, -1.0, math.nan, "a", True],
    "verbose": ["no", 1, None],
}


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_adjoints_are_refused_where_they_are_given(adjoint, name):
    for value in SETTINGS[name]:
        with pytest.raises(InvalidInputError, match=rf"{adjoint.__name__}.*{name}"):
            adjoint(**{name: value})


def test_numbers_of_other_kinds_are_numbers():
    adjoint = BacksolveAdjoint(rtol=torch.tensor(1e-3), atol=np.float64(1e-6), max_steps=np.int64(7))
    assert adjoint == BacksolveAdjoint(rtol=float(torch.tensor(1e-3)), atol=1e-6, max_steps=7)
    assert type(adjoint.rtol) is float and type(adjoint.max_steps) is int


@pytest.mark.parametrize("value", [True, "1", math.nan, 10**400])
def test_settings_of_the_controller_are_refused_by_name(value):
    with pytest.raises(InvalidInputError, match=r"PIController\(beta1"):
        PIController(beta1=value)


@pytest.mark.parametrize("name", ["qmax", "qmax_first_step"])
def test_factors_by_which_steps_grow_do_not_shrink_them(name):
    with pytest.raises(InvalidInputError, match=rf"PIController\({name}=0.5\): expected at least 1"):
        PIController(**{name: 0.5})
    with pytest.raises(InvalidInputError, match=r"TorchdiffeqController\(ifactor=0.5\): expected at least 1"):
        TorchdiffeqController(ifactor=0.5)


def test_the_keys_of_a_dict_may_come_in_another_order(engine):
    """A pendulum's angle and speed, in a tuple with a third state."""

    def func(t, state):
        (pendulum, other) = state
        return {"v": -pendulum["x"], "x": pendulum["v"]}, -other

    one = torch.ones(1, dtype=torch.float64)
    (found, _) = pyseminorm.solve(func, ({"x": one, "v": 0 * one}, one), [0.0, 1.0], backend=engine, rtol=1e-9).ys
    assert list(found) == ["x", "v"]
    assert found["x"][-1].item() == pytest.approx(math.cos(1.0), rel=1e-6)
    assert found["v"][-1].item() == pytest.approx(-math.sin(1.0), rel=1e-6)


def test_bounds_and_stops_that_bound_and_stop_nothing(engine):
    bounded = pyseminorm.solve(lambda t, y: -y, Y0, T, dtmin=0, dtmax=math.inf, tstops=None, backend=engine)
    free = pyseminorm.solve(lambda t, y: -y, Y0, T, backend=engine)
    assert bounded.stats.forward.times == free.stats.forward.times


def test_more_steps_of_a_given_size_than_may_be_taken_are_refused_but_where_the_solve_may_end_before(engine):
    func = Counted(lambda t, y: -y)
    settings = {"method": "rk4", "dt": 1e-3, "max_steps": 500, "backend": engine}
    with pytest.raises(InvalidInputError, match=r"dt=0.001 makes 1000 steps from t = 0.0 to 1.0, and max_steps is 500"):
        pyseminorm.solve(func, Y0, [0.0, 1.0], **settings)
    assert func.calls == 0
    s = pyseminorm.solve(func, Y0, [0.0, 1.0], throw=False, **settings)
    assert s.retcode is pyseminorm.ReturnCode.MaxIters and s.stats.forward.naccept == 500
    s = pyseminorm.solve(func, Y0, [0.0, 1.0], event=pyseminorm.Event(lambda t, y: t - 0.2), **settings)
    assert s.retcode is pyseminorm.ReturnCode.Terminated
    assert pyseminorm.solve(func, Y0, [0.0, 0.5], **settings).stats.forward.naccept == 500


def test_a_norm_that_is_negative_or_no_scalar_is_refused(engine):
    for norm in (lambda y: -1.0, lambda y: y):
        with pytest.raises(InvalidInputError, match="the norm returned"):
            pyseminorm.solve(lambda t, y: -y, Y0, T, norm=norm, backend=engine)


def test_parameters_hidden_in_a_closure_are_named(engine):
    net = torch.nn.Linear(2, 3).double()
    with pytest.warns(HiddenParametersWarning, match=r"\(3, 2\).*\(3,\)|\(3,\).*\(3, 2\)"):
        pyseminorm.solve(lambda t, y: net(y)[:, :2], Y0, T, backend=engine)


def test_known_parameters_bring_no_warning(engine):
    net = MLP(width=4)
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    made = scale.exp()  # not a leaf: the graph behind a known tensor is nobody's business
    pyseminorm.solve(net, Y0, T, backend=engine)
    pyseminorm.solve(net.forward, Y0, T, backend=engine)
    pyseminorm.solve(lambda t, y: made * y, Y0, T, params=[made], backend=engine)
    pyseminorm.solve(lambda t, y, k: k * y, Y0, T, args=(made,), backend=engine)
    with torch.no_grad():
        pyseminorm.solve(lambda t, y: scale * y, Y0, T, backend=engine)


def test_leaves_of_one_call_are_not_hidden_and_those_that_func_keeps_are(engine):
    """As flows make them, which differentiate inside: the time, or a copy of it, and what is made for one product."""

    def copies(t, y):
        return t.clone().detach().requires_grad_() * torch.ones_like(y, requires_grad=True) * y

    for func in (lambda t, y: t.requires_grad_() * y, copies):
        pyseminorm.solve(func, Y0, T, backend=engine)

    made = {}

    def keeps(t, y):
        made.setdefault("weight", torch.ones_like(y, requires_grad=True))
        return made["weight"] * y

    with pytest.warns(HiddenParametersWarning, match=r"1 tensor\(s\).*\(2, 2\)"):
        pyseminorm.solve(keeps, Y0, T, backend=engine)
    with pytest.warns(HiddenParametersWarning, match=r"1 tensor\(s\).*\(2, 2\)"):  # though it comes out of a function
        pyseminorm.solve(lambda t, y: made["weight"].contiguous() * y, Y0, T, backend=engine)


def test_times_may_come_in_any_form(engine):
    for t in ([0, 1], (0.0, 1.0), np.array([0.0, 1.0]), torch.tensor([0, 1]), torch.tensor([0.0, 1.0])):
        assert pyseminorm.solve(lambda t, y: -y, Y0, t, backend=engine).ys.shape == (2, 2, 2)


def test_julia_refuses_what_it_cannot_alias():
    with pytest.raises(BackendUnavailableError, match=r"float16.*torch"):
        pyseminorm.solve(lambda t, y: -y, torch.ones(2).half(), T, backend="julia")


def test_auto_says_once_which_engine_and_why(caplog):
    from pyseminorm.engines import select

    select._log_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="pyseminorm"):
        for _ in range(2):
            pyseminorm.solve(lambda t, y: -y, torch.ones(2).half(), T, rtol=1e-2, atol=1e-2)
    lines = [r.message for r in caplog.records if r.name == "pyseminorm"]
    assert len(lines) == 1 and "torch" in lines[0] and "float16" in lines[0]


def test_an_adjoint_without_a_hash_is_taken_as_any_other():
    adjoint = pyseminorm.BacksolveAdjoint(method=pyseminorm.Algorithm("Tsit5", given=[1]))
    with pytest.raises(pyseminorm.InvalidInputError, match="not known to the embedded engine"):
        pyseminorm.solve(lambda t, y: -y, torch.ones(2), [0.0, 1.0], adjoint=adjoint, backend="torch")


@pytest.mark.parametrize(
    "settings",
    [
        {"dt": torch.tensor(0.25), "method": "rk4"},
        {"dt": torch.linspace(0, 1, 5), "method": "rk4"},
        {"tstops": torch.tensor([0.25, 0.75])},
        {"rtol": torch.tensor(1e-5), "dtmax": torch.tensor(0.2)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_steps_may_come_from_what_requires_grad(settings):
    """Steps are held as they are: no gradient, and no warning of PyTorch's."""
    plain = pyseminorm.solve(lambda t, y: -y, Y0, T, backend="torch", **settings)
    made = {key: x.requires_grad_() * 1 if isinstance(x, torch.Tensor) else x for key, x in settings.items()}
    found = pyseminorm.solve(lambda t, y: -y, Y0, T, backend="torch", **made)
    assert torch.equal(found.ys, plain.ys) and not found.ys.requires_grad
