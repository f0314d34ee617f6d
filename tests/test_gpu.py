"""The embedded engine on a CUDA device: the tensor's own device, and nothing copied behind the user's back."""

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
from pyseminorm import BackendUnavailableError, BacksolveAdjoint, InterpolatingAdjoint

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint])
@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_the_same_values_and_gradients_as_on_the_cpu(adjoint, method):
    results = []
    for device in ("cpu", "cuda"):
        field, y0 = MLP().to(device), batch(8).to(device).requires_grad_()
        s = pyseminorm.solve(field, y0, [0.0, 0.5, 2.0], method=method, adjoint=adjoint(), rtol=1e-9, atol=1e-9)
        assert s.backend == "torch" and s.ys.device.type == device
        (s.ys * cotangents(3, 8, 2).to(device)).sum().backward()
        results.append([s.ys.detach().cpu(), y0.grad.cpu(), *(p.grad.cpu() for p in field.parameters())])
    assert all(relative(a, b) < 1e-6 for a, b in zip(*results, strict=True))


def test_julia_refuses_device_memory_and_mixed_devices_are_named():
    y0 = torch.ones(2, device="cuda")
    with pytest.raises(BackendUnavailableError, match="cuda"):
        pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], backend="julia")
    with pytest.raises(pyseminorm.InvalidInputError, match="different devices"):
        pyseminorm.solve(lambda t, y: y, (y0, y0.cpu()), [0.0, 1.0])
