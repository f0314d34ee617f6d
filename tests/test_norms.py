"""What each norm measures: proved by spies in a real solve, and by torchdiffeq's own functions on random vectors."""

import pytest
import torch
from problems import MLP, batch

import pyseminorm
from pyseminorm import AdjointState, BacksolveAdjoint, InterpolatingAdjoint
from pyseminorm.norms import ADJOINT_NORMS, AdjointLayout, Seminorm, adjoint_segments

SAME_STEPS = 1e-6  # roundings of a norm go through the controller's power, which is computed in float32
LAYOUT = AdjointLayout(leaves=(3, 4), params=(6, 2, 5), has_y=True, has_time=True)

# Norm -> the parts of [lambda; y; a_t; mu] that it measures.
MEASURED = {
    "seminorm": {"adjoint", "y"},
    "seminorm_joint": {"adjoint", "y"},
    "seminorm_leaves": {"adjoint", "y"},
    "rms": {"adjoint", "y", "params"},
    "torchdiffeq": {"adjoint", "y", "time", "params"},
    "torchdiffeq_seminorm": {"adjoint", "y", "time"},
}


def _layout(norm):
    return AdjointLayout(LAYOUT.leaves, LAYOUT.params, True, norm.startswith("torchdiffeq"))


def _parts(layout):
    parts = {"adjoint": layout.adjoint_slice, "y": layout.y_slice, "params": layout.params_slice}
    return {**parts, "time": layout.time_slice} if layout.has_time else parts


@pytest.mark.parametrize("norm", ADJOINT_NORMS)
def test_which_components_a_norm_measures(norm):
    layout = _layout(norm)
    measure = Seminorm(adjoint_segments(norm, layout))
    for name, part in _parts(layout).items():
        for i in range(*part.indices(layout.size)):
            z = torch.zeros(layout.size)
            z[i] = 1e6
            assert (measure(z) > 0) == (name in MEASURED[norm]), (name, i)


def test_values_of_our_norms():
    z = torch.randn(LAYOUT.size - 1, dtype=torch.float64)
    layout = _layout("seminorm")
    lam, y = z[:7], z[7:14]
    rms = lambda x: x.pow(2).mean().sqrt().item()  # noqa: E731
    leaves = max(rms(part) for part in (lam[:3], lam[3:], y[:3], y[3:]))
    expected = {
        "seminorm": max(rms(lam), rms(y)),
        "seminorm_leaves": leaves,
        "seminorm_joint": rms(z[:14]),
        "rms": rms(z),
    }
    for norm, value in expected.items():
        assert Seminorm(adjoint_segments(norm, layout))(z) == pytest.approx(value, rel=1e-14)


@pytest.mark.peer("torchdiffeq")
@pytest.mark.parametrize("nested", [False, True])
def test_the_torchdiffeq_norms_are_torchdiffeqs_functions(nested):
    """torchdiffeq 0.2.5, adjoint.py: max(|t|, state_norm(y), state_norm(adj_y), _mixed_norm(adj_params))."""
    from torchdiffeq._impl.misc import _mixed_norm, _rms_norm

    leaves = (3, 4) if nested else (7,)
    layout = AdjointLayout(leaves, (6, 2, 5), True, True)
    state_norm = (lambda x: _mixed_norm(torch.split(x, list(leaves)))) if nested else _rms_norm
    for _ in range(20):
        z = torch.randn(layout.size, dtype=torch.float64) * torch.rand(layout.size, dtype=torch.float64).exp()
        lam, y, t = z[layout.adjoint_slice], z[layout.y_slice], z[layout.time_slice]
        params = torch.split(z[layout.params_slice], list(layout.params))
        semi = max(t.abs().item(), state_norm(y).item(), state_norm(lam).item())
        whole = max(semi, _mixed_norm(params).item())
        assert Seminorm(adjoint_segments("torchdiffeq_seminorm", layout))(z) == pytest.approx(semi, rel=1e-14)
        assert Seminorm(adjoint_segments("torchdiffeq", layout))(z) == pytest.approx(whole, rel=1e-14)


def test_nan_counts_as_infinite_so_that_a_step_is_rejected():
    assert Seminorm(((0, 2),))(torch.tensor([1.0, float("nan")])) == float("inf")


class Spy:
    """A norm that measures nothing of one part, and records what it saw."""

    def __init__(self, measure):
        self.measure, self.seen = measure, []

    def __call__(self, state):
        self.seen.append(state)
        return self.measure(state)


def _gradient(engine, adjoint, t=(0.0, 1.0)):
    field, y0 = MLP(width=8), batch(3).requires_grad_()
    s = pyseminorm.solve(field, y0, list(t), adjoint=adjoint, backend=engine)
    s.ys[-1].pow(2).sum().backward()
    return s.stats.backward, field


@pytest.mark.parametrize("kind", [BacksolveAdjoint, InterpolatingAdjoint])
def test_a_spy_sees_the_scaled_error_in_the_users_shapes(engine, kind):
    spy = Spy(lambda s: s.adjoint.pow(2).mean().sqrt())
    stats, field = _gradient(engine, kind(norm=spy))
    # Three norms choose the first step (y0, f0, f1 - f0), then one for every attempted step.
    # OrdinaryDiffEq also asks for the norm of the initial state three times, for its type.
    assert len(spy.seen) == 3 + stats.naccept + stats.nreject + (3 if engine == "julia" else 0)
    for state in spy.seen:
        assert isinstance(state, AdjointState) and state.adjoint.shape == (3, 2)
        assert (state.y is None) if kind is InterpolatingAdjoint else (state.y.shape == (3, 2))
        assert [p.shape for p in state.params] == [p.shape for p in field.parameters()]
    # In the first of them the parameter part is zero (mu starts there), later it is not: it was on offer.
    assert all(not p.any() for p in spy.seen[0].params) and any(p.any() for p in spy.seen[-1].params)


@pytest.mark.parametrize("norm", ["seminorm", "seminorm_joint", "rms"])
def test_a_named_norm_is_the_callable_that_measures_the_same(engine, norm):
    """The spy below writes the norm out; equal steps prove that the named one sees just these components, in the error
    estimate and in the choice of the first step."""

    def rms(*parts):
        flat = torch.cat([p.reshape(-1) for p in parts])
        return flat.pow(2).mean().sqrt()

    written_out = {
        "seminorm": lambda s: torch.maximum(rms(s.adjoint), rms(s.y)),
        "seminorm_joint": lambda s: rms(s.adjoint, s.y),
        "rms": lambda s: rms(s.adjoint, s.y, *s.params),
    }
    named, _ = _gradient(engine, BacksolveAdjoint(norm=norm))
    spied, _ = _gradient(engine, BacksolveAdjoint(norm=Spy(written_out[norm])))
    assert len(named.times) == len(spied.times)
    assert named.times == pytest.approx(spied.times, rel=SAME_STEPS)
    others = {n: _gradient(engine, BacksolveAdjoint(norm=n))[0].times for n in written_out if n != norm}
    assert all(times != pytest.approx(spied.times, rel=SAME_STEPS) for times in others.values())


def test_a_forward_norm_gets_the_state_in_the_users_shapes(engine):
    seen = []

    def norm(y):
        seen.append(y)
        return max(y["a"].abs().max(), y["b"].abs().max())

    y0 = {"a": batch(2), "b": torch.ones((), dtype=torch.float64)}
    pyseminorm.solve(lambda t, y: {"a": -y["a"], "b": y["b"]}, y0, [0.0, 1.0], norm=norm, backend=engine)
    assert len(seen) > 3 and all(s["a"].shape == (2, 2) and s["b"].shape == () for s in seen)


def test_the_forward_norm_of_leaves(engine):
    """A fast leaf of one element beside a slow one of many: joint, its error is diluted."""
    y0 = (torch.zeros(1, dtype=torch.float64), torch.ones(500, dtype=torch.float64))

    def steps(norm):
        return pyseminorm.solve(
            lambda t, y: (torch.cos(40 * t) + 0 * y[0], -y[1]), y0, [0.0, 1.0], rtol=1e-6, norm=norm, backend=engine
        ).stats.forward

    leaves, spy = steps("torchdiffeq"), steps(lambda y: max(x.pow(2).mean().sqrt() for x in y))
    assert leaves.naccept > 1.2 * steps("rms").naccept
    assert leaves.times == pytest.approx(spy.times, rel=SAME_STEPS)


def test_the_seminorm_of_leaves(engine):
    y0 = (torch.ones(1, dtype=torch.float64, requires_grad=True), torch.ones(500, dtype=torch.float64))

    def steps(norm):
        solution = pyseminorm.solve(
            lambda t, y: (-y[0] * torch.cos(40 * t), -y[1]), y0, [0.0, 1.0], rtol=1e-6, backend=engine,
            adjoint=BacksolveAdjoint(norm=norm),
        )  # fmt: skip
        solution.ys[0][-1].sum().backward()
        return solution.stats.backward.naccept

    largest = lambda s: max(x.pow(2).mean().sqrt() for x in (*s.adjoint, *s.y))  # noqa: E731
    assert steps("seminorm_leaves") == steps(largest) > 1.1 * steps("seminorm")
