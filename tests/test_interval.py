"""func is never called outside [t0, t1], in either direction and in both precisions."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint

TIMES = st.floats(-50, 50, allow_nan=False, width=32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(a=TIMES, b=TIMES, method=st.sampled_from(["tsit5", "dopri5", "bosh3", "vern7", "rk4", "midpoint"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_outside_the_interval(engine, dtype, a, b, method):
    if abs(a - b) < 1e-2:
        b = a + 1.0
    t = torch.linspace(a, b, 4, dtype=dtype)
    low, high = t.min(), t.max()

    def func(t, y):
        assert low <= t <= high, f"called at {t.item()} outside [{low.item()}, {high.item()}]"
        return torch.cos(t) * y

    y0 = torch.ones(2, dtype=dtype, requires_grad=True)
    dt = (b - a) / 7 if method in ("rk4", "midpoint") else None
    for adjoint in (BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint()):
        ys = pyseminorm.solve(
            func,
            y0,
            t,
            method=method,
            dt=abs(dt) if dt else None,
            adjoint=adjoint,
            backend=engine,
            rtol=1e-2,
            atol=1e-3,
        ).ys
        ys.sum().backward()


@pytest.mark.parametrize("ends", [(0.1, 0.7), (0.7, 1.1), (0.7, 0.1), (-0.7, -0.1), (1.1, -0.1)])
def test_float64_times_of_a_float32_state_are_rounded_into_the_interval(engine, ends):
    t = torch.tensor(ends, dtype=torch.float64)  # none of them is a float32
    seen = []

    def func(t, y):
        seen.append(t.double().item())
        return -y

    y0 = torch.ones(2, requires_grad=True)
    pyseminorm.solve(func, y0, t, backend=engine).ys.sum().backward()
    assert min(seen) >= min(ends) and max(seen) <= max(ends)
