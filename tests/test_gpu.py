"""Both engines on a CUDA device: the tensor's own device, and nothing copied behind the user's back."""

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
from pyseminorm import (
    BackendUnavailableError,
    BacksolveAdjoint,
    DirectAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    WrongThreadError,
)

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, DirectAdjoint])
@pytest.mark.parametrize("method", ["tsit5", "vern7"])
def test_the_same_values_and_gradients_as_on_the_cpu(adjoint, method):
    results = []
    for device in ("cpu", "cuda"):
        field, y0 = MLP().to(device), batch(8).to(device).requires_grad_()
        settings = {"method": method, "adjoint": adjoint(), "rtol": 1e-9, "atol": 1e-9, "backend": "torch"}
        s = pyseminorm.solve(field, y0, [0.0, 0.5, 2.0], **settings)
        assert s.backend == "torch" and s.ys.device.type == device
        (s.ys * cotangents(3, 8, 2).to(device)).sum().backward()
        results.append([s.ys.detach().cpu(), y0.grad.cpu(), *(p.grad.cpu() for p in field.parameters())])
    assert all(relative(a, b) < 1e-6 for a, b in zip(*results, strict=True))


def test_mixed_devices_are_named():
    y0 = torch.ones(2, device="cuda")
    with pytest.raises(pyseminorm.InvalidInputError, match="different devices"):
        pyseminorm.solve(lambda t, y: y, (y0, y0.cpu()), [0.0, 1.0])


@pytest.fixture
def cuda_jl():
    """Skips where the Julia project has no CUDA.jl, after a look at what users are told there."""
    from pyseminorm.engines.julia.session import runtime

    if not runtime.runtime().load("CUDA"):
        with pytest.raises(BackendUnavailableError, match=r"Pkg\.add"):
            pyseminorm.solve(lambda t, y: -y, torch.ones(2, device="cuda"), [0.0, 1.0], backend="julia")
        pytest.skip("the Julia project has no CUDA.jl")


@pytest.mark.julia
@pytest.mark.parametrize("adjoint", [BacksolveAdjoint, InterpolatingAdjoint, GaussAdjoint])
def test_julia_solves_on_the_device(adjoint, cuda_jl):
    results = []
    for device in ("cpu", "cuda"):
        field, y0 = MLP().to(device), batch(8).to(device).requires_grad_()
        s = pyseminorm.solve(field, y0, [0.0, 0.5, 2.0], adjoint=adjoint(), rtol=1e-9, atol=1e-9, backend="julia")
        assert s.ys.device.type == device
        with torch.autograd.set_multithreading_enabled(False):
            (s.ys * cotangents(3, 8, 2).to(device)).sum().backward()
        results.append([s.ys.detach().cpu(), y0.grad.cpu(), *(p.grad.cpu() for p in field.parameters())])
    assert all(relative(a, b) < 1e-6 for a, b in zip(*results, strict=True))


@pytest.mark.julia
def test_a_backward_pass_on_torchs_own_thread_is_refused_with_the_cure(cuda_jl):
    y0 = torch.ones(2, device="cuda", requires_grad=True)
    s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], backend="julia")
    with pytest.raises(WrongThreadError, match="set_multithreading_enabled"):
        s.ys.sum().backward()
