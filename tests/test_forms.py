"""Which form of a function runs: itself where PyTorch is too old to capture it."""

import pytest
import torch
from problems import MLP, batch

import pyseminorm
from pyseminorm.engines import forms

T = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


@pytest.fixture
def old_torch(monkeypatch):
    monkeypatch.setattr(forms, "dynamo_refuses_side_effects", lambda: False)
    forms.can_capture.cache_clear()
    yield
    forms.can_capture.cache_clear()


@pytest.mark.parametrize("explicit", [False, True])
def test_an_old_torch_runs_the_function_itself_and_says_so_once(engine, explicit, old_torch, caplog):
    caplog.set_level("INFO", logger="pyseminorm")
    field, calls = MLP(width=8), []
    counted = torch.nn.Module()
    counted.net = field
    counted.forward = lambda t, y: (calls.append(1), field(t, y))[1]
    func, how = (pyseminorm.compile(counted), None) if explicit else (counted, "auto")
    found = []
    for given, compile in ((func, how), (func, how), (field, None)):
        s = pyseminorm.solve(given, batch(2), T, params=field.parameters(), backend=engine, compile=compile)
        found.append(torch.autograd.grad(s.ys.sum(), list(field.parameters())))
    assert len(calls) > 20
    for a, b, plain in zip(*found, strict=True):
        assert torch.equal(a, plain) and torch.equal(b, plain)
    assert sum("cannot refuse functions that do more than compute" in r.getMessage() for r in caplog.records) == 1
