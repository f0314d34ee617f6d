"""A function that draws random numbers: differentiated where nothing is evaluated twice, else refused by name."""

import pytest
import torch
from test_shared_tensors import ADJOINTS, D, close, loss, named, states
from torch import nn

import pyseminorm
from pyseminorm import DiscreteAdjoint, InvalidInputError, UnsupportedError


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)).double()

    def forward(self, t, y):
        return self.net(y)


def solve(func, adjoint, engine, method="euler", **settings):
    dt = None if method in ("tsit5", "dopri5") else 0.25
    return pyseminorm.solve(
        func, states(), [0.0, 1.0], method=method, dt=dt, adjoint=adjoint, backend=engine, **settings
    )


@pytest.mark.parametrize("compile", [None, "trace"])
def test_kept_stages_are_differentiated_with_their_own_masks(engine, compile):
    field = Dropped()
    solve(field, DiscreteAdjoint(keep="stages"), engine, compile=compile)  # an attempt to capture it draws numbers
    torch.manual_seed(1)
    y = states()
    for n in range(4):
        y = y + field(torch.tensor(n / 4, dtype=D), y) / 4
    right = torch.autograd.grad(loss(y), list(field.parameters()))
    torch.manual_seed(1)
    s = solve(field, DiscreteAdjoint(keep="stages"), engine, compile=compile)
    after = torch.get_rng_state()
    found = torch.autograd.grad(loss(s.ys[-1]), list(field.parameters()))
    assert torch.equal(s.ys[-1], y.detach()) and all(map(close, found, right))
    assert torch.equal(torch.get_rng_state(), after) and s.stats.backward.nf == 0


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_kept_stages_are_never_evaluated_again(engine, method):
    field, calls = Dropped(), []
    field.register_forward_pre_hook(lambda *_: calls.append(1))
    s = solve(field, DiscreteAdjoint(keep="stages"), engine, method)
    calls.clear()
    loss(s.ys[-1]).backward()
    assert not calls and field.net[0].weight.grad.any()


def test_stages_that_were_used_up_are_refused_by_name(engine):
    s = solve(Dropped(), DiscreteAdjoint(keep="stages"), engine)
    total = loss(s.ys[-1])
    total.backward(retain_graph=True)
    with pytest.raises(UnsupportedError, match="draws random numbers"):
        total.backward()


@pytest.mark.parametrize("adjoint", [a for a in ADJOINTS if getattr(a, "keep", "") != "stages"], ids=named)
def test_other_adjoints_are_refused_by_name(engine, adjoint):
    with pytest.raises(InvalidInputError, match="DiscreteAdjoint"):
        solve(Dropped(), adjoint, engine)


@pytest.mark.parametrize("recording", [True, False])
def test_adaptive_steps_are_refused_by_name(engine, recording):
    with torch.set_grad_enabled(recording), pytest.raises(InvalidInputError, match=r"draws random numbers.*tsit5"):
        solve(Dropped(), DiscreteAdjoint(keep="stages"), engine, "tsit5")


def test_noise_that_vanishes_at_the_first_time_is_seen(engine):
    with pytest.raises(InvalidInputError, match="draws random numbers"):
        solve(lambda t, y: -y + t * torch.randn_like(y), DiscreteAdjoint(keep="stages"), engine, "tsit5")


def test_a_forward_pass_of_fixed_steps_may_be_random(engine):
    with torch.no_grad():
        assert solve(Dropped(), DiscreteAdjoint(), engine).retcode.success


def test_numbers_that_are_drawn_once_are_not_random(engine):
    class Fixed(nn.Module):
        noise = None

        def forward(self, t, y):
            if self.noise is None:
                self.noise = torch.randn_like(y)
            return self.noise - y

    def seeded(t, y):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return torch.randn_like(y) - y

    for func in (Fixed(), seeded, Dropped().eval()):
        assert solve(func, DiscreteAdjoint(), engine, "tsit5").retcode.success
