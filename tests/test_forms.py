"""Which form of a function runs: itself where PyTorch is too old to capture it."""

from types import SimpleNamespace

import pytest
import torch
from captures import capture
from problems import MLP, Counted, batch

import pyseminorm
from pyseminorm.engines import forms
from pyseminorm.problem.checking_call import FirstValue
from pyseminorm.problem.vector_field import FieldArguments

T = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


@pytest.fixture
def old_torch(monkeypatch):
    monkeypatch.setattr(forms, "dynamo_refuses_side_effects", lambda: False)
    forms.can_capture.cache_clear()
    yield
    forms.can_capture.cache_clear()


@pytest.mark.capture
@pytest.mark.parametrize("broken", ["f", "products"])
def test_what_inductor_cannot_compile_runs_as_it_is_in_either_pass(broken, monkeypatch, caplog):
    """The engine "julia" calls the parts of the graph back, each compiled at its first call."""
    caplog.set_level("INFO", logger="pyseminorm")
    func, y0 = MLP(width=8), batch(2)
    eager, _, y = capture(func, y0)

    def refuse(*_):
        raise type("InductorError", (Exception,), {"__module__": "torch._inductor.exc"})("no compiler")

    def compile(function, **_):
        makes_products = "saved" in function.__code__.co_varnames
        return refuse if makes_products == (broken == "products") else function

    monkeypatch.setattr(torch, "compile", compile)
    first = FirstValue(FieldArguments(func, (), eager.spec, None), 0.3, y, recording=True)
    forms.capture(first, "inductor", SimpleNamespace(name="julia"))
    for _ in range(2):
        found, expected = (field.vjp(0.7, y, torch.ones_like(y)) for field in (first.field, eager))
        assert first.field is not eager
        torch.testing.assert_close(found[:3], expected[:3], rtol=1e-12, atol=1e-13)
    said = "torch.compile could not compile func's graph, which runs as it is (no compiler)"
    assert [r.getMessage() for r in caplog.records].count(said) == 1


@pytest.mark.capture
def test_a_function_that_stays_eager_is_tried_again_after_a_reset(caplog):
    caplog.set_level("INFO", logger="pyseminorm")
    counts = [0]

    def func(t, y):
        counts[0] += 1
        return -y

    lines = []
    for reset in (False, False, True):
        if reset:
            torch.compiler.reset()
        pyseminorm.solve(func, batch(2), T, backend="torch", compile="trace")
        lines.append(sum("func stays eager" in r.getMessage() for r in caplog.records))
    assert lines == [1, 1, 2]


@pytest.mark.parametrize("explicit", [False, True])
def test_an_old_torch_runs_the_function_itself_and_says_so_once(engine, explicit, old_torch, caplog):
    caplog.set_level("INFO", logger="pyseminorm")
    counted = Counted(MLP(width=8))
    field = counted.field
    func, how = (pyseminorm.compile(counted), None) if explicit else (counted, "auto")
    found = []
    for given, compile in ((func, how), (func, how), (field, None)):
        s = pyseminorm.solve(given, batch(2), T, params=field.parameters(), backend=engine, compile=compile)
        found.append(torch.autograd.grad(s.ys.sum(), list(field.parameters())))
    assert counted.calls > 20
    for a, b, plain in zip(*found, strict=True):
        assert torch.equal(a, plain) and torch.equal(b, plain)
    assert sum("cannot refuse functions that do more than compute" in r.getMessage() for r in caplog.records) == 1
