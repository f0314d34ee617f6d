"""What docs/limits.md says of what is not seen, and of what to do."""

import math

import pytest
import torch
from test_shared_tensors import D, Field, close, loss, reference, states

import pyseminorm


class Rated(Field):
    rate = 1.0

    def forward(self, t, y):
        return self.rate * super().forward(t, y)


def gradient(rate):
    field = Rated()
    field.rate = rate
    return torch.autograd.grad(loss(reference(field, states())), field.linear.weight)[0]


def solved(field, **settings):
    return loss(pyseminorm.solve(field, states(), [0.0, 1.0], rtol=1e-8, atol=1e-10, **settings).ys[-1])


def both(engine, **settings):
    """The gradient by the weight of the first of two solves with another rate, after the second."""
    field = Rated()
    first = solved(field, backend=engine, **settings)
    field.rate = 2.0
    solved(field, backend=engine, **settings)
    return torch.autograd.grad(first, field.linear.weight)[0]


def same_field():
    torch.manual_seed(0)


def test_an_eager_backward_pass_reads_numbers_anew(engine):
    same_field()
    found = both(engine)
    same_field()
    assert not close(found, gradient(1.0))


@pytest.mark.capture
def test_a_compiled_backward_pass_has_the_numbers_of_its_own_forward_pass(engine):
    same_field()
    found = both(engine, compile="auto")
    same_field()
    assert close(found, gradient(1.0))


def test_a_number_as_a_tensor_in_args_is_that_of_the_forward_pass(engine):
    def func(t, y, rate):
        return rate * torch.tanh(field.linear(y))

    same_field()
    field = Field()
    y0, one, two = states(), torch.tensor(1.0, dtype=D), torch.tensor(2.0, dtype=D)
    first, _ = [
        loss(
            pyseminorm.solve(
                func, y0, [0.0, 1.0], args=(rate,), params=field.parameters(), rtol=1e-8, atol=1e-10, backend=engine
            ).ys[-1]
        )
        for rate in (one, two)
    ]
    found = torch.autograd.grad(first, field.linear.weight)[0]
    same_field()
    assert close(found, gradient(1.0))


def test_what_is_read_later_than_the_first_time_must_be_given(engine):
    leaf = torch.tensor(0.5, dtype=D, requires_grad=True)
    late = 2 * leaf

    def func(t, y):
        return -y * late if float(t) > 0.5 else -y

    settings = {"discontinuities": (0.5,), "rtol": 1e-8, "atol": 1e-10, "backend": engine}
    y0 = states().requires_grad_()
    given = loss(pyseminorm.solve(func, y0, [0.0, 1.0], params=[late], **settings).ys[-1])
    (found,) = torch.autograd.grad(given, leaf, retain_graph=True)
    right = -2 * 0.5 * 2 * (states() * torch.exp(-torch.tensor(1.0, dtype=D))).pow(2).sum()
    assert close(found, right)
    hidden = loss(pyseminorm.solve(func, y0, [0.0, 1.0], **settings).ys[-1])
    assert torch.autograd.grad(hidden, leaf, allow_unused=True)[0] is None


class Helper:
    def rate(self):
        return -1.0


class Changed(Field):
    """Of which nothing that TorchDynamo guards has changed after `change`."""

    def __init__(self):
        super().__init__()
        self.helper, self.sign = Helper(), 0.0
        self.a, self.b = torch.nn.Tanh(), torch.nn.Tanh()

    def forward(self, t, y):
        factor = self.helper.rate() * (2.0 if self.a is self.b else 1.0) * (2.0 + math.copysign(1.0, self.sign))
        return factor * self.a(self.linear(y))


CHANGES = {
    "method of a class": lambda _, monkeypatch: monkeypatch.setattr(Helper, "rate", lambda self: -2.0),
    "forward of torch's": lambda _, monkeypatch: monkeypatch.setattr(torch.nn.Tanh, "forward", lambda _, x: x),
    "one object": lambda field, _: setattr(field, "b", field.a),
    "minus zero": lambda field, _: setattr(field, "sign", -0.0),
}


@pytest.mark.capture
@pytest.mark.parametrize("name", CHANGES)
def test_a_reset_makes_what_guards_do_not_see_count(name, engine, monkeypatch):
    field = Changed()
    before = solved(field, backend=engine, compile="auto").item()
    CHANGES[name](field, monkeypatch)
    torch.compiler.reset()
    after = solved(field, backend=engine).item()
    assert solved(field, backend=engine, compile="auto").item() == pytest.approx(after, rel=1e-6)
    assert solved(pyseminorm.compile(field), backend=engine).item() == pytest.approx(after, rel=1e-6)
    assert after != pytest.approx(before, rel=1e-3)
