"""Both engines on a CUDA device: the tensor's own device, and nothing copied behind the user's back.

What does not need CUDA to be seen is tried on the CPU as well.
"""

import contextlib
import shutil
import sys

import pytest
import torch
from problems import MLP, batch, cotangents, relative

import pyseminorm
from pyseminorm import (
    BackendUnavailableError,
    BacksolveAdjoint,
    DirectAdjoint,
    DiscreteAdjoint,
    GaussAdjoint,
    InterpolatingAdjoint,
    WrongThreadError,
    host_copies,
)

compiles = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)
DEVICES = [
    pytest.param("cpu", marks=[pytest.mark.capture, compiles]),
    pytest.param("cuda", marks=[pytest.mark.capture, pytest.mark.gpu]),
]
ADJOINTS = {
    "backsolve": BacksolveAdjoint(),
    "interpolating": InterpolatingAdjoint(),
    "gauss": GaussAdjoint(),
    "discrete": DiscreteAdjoint(),
    "discrete, stages": DiscreteAdjoint(keep="stages"),
}
_READS = ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__")


@contextlib.contextmanager
def no_waits(device, monkeypatch):
    """Let everything that waits for the device be an error, but reads by `host_copies`; give how many these were."""
    reads = []
    if device == "cuda":
        fetch = host_copies._fetch

        def count(x):
            reads.append(tuple(x.shape))
            torch.cuda.set_sync_debug_mode("default")
            try:
                return fetch(x)
            finally:
                torch.cuda.set_sync_debug_mode("error")

        monkeypatch.setattr(host_copies, "_fetch", count)
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield reads
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return

    def refuse(name, original):
        def call(x, *rest):
            if not sys._getframe(1).f_code.co_filename == host_copies.__file__:
                raise AssertionError(f"{name} waits for a device")
            reads.append(tuple(x.shape))
            return original(x, *rest)

        return call

    with monkeypatch.context() as patch:
        for owner, name in [*((torch.Tensor, name) for name in _READS), (torch, "equal")]:
            patch.setattr(owner, name, refuse(name, getattr(owner, name)))
        for name in ("new_tensor", "cpu"):  # a copy from memory that is not pinned, and one back
            patch.setattr(torch.Tensor, name, refuse(name, getattr(torch.Tensor, name)))
        tensor = torch.tensor

        def make(data, *rest, device=None, **settings):
            assert device is None, "torch.tensor(..., device=...) waits for a device"
            return tensor(data, *rest, **settings)

        patch.setattr(torch, "tensor", make)
        yield reads


def solve(field, y0, adjoint, compile, **settings):
    """The statistics, values and gradients of a solve."""
    y0, times = y0.clone().requires_grad_(), settings.pop("t", [0.0, 0.4, 1.0])
    settings = {"rtol": 1e-6, "atol": 1e-8, "backend": "torch", **settings}
    s = pyseminorm.solve(field, y0, times, adjoint=adjoint, compile=compile, **settings)
    grads = torch.autograd.grad(s.ys.pow(2).sum(), [y0, *field.parameters()])
    return s.stats, [s.ys.detach(), *grads]


# Every adjoint on CUDA; on the CPU, where other tests compare them, one of each kind of backward pass.
ON_DEVICES = [
    pytest.param(name, *device.values, marks=device.marks, id=f"{name}-{device.values[0]}")
    for device in DEVICES
    for name in ADJOINTS
    if device.values[0] == "cuda" or name in ("backsolve", "gauss", "discrete, stages")
]
FIELDS = {device: MLP() for device in ("cpu", "cuda")}  # what was compiled for one test serves the others


def field_on(device):
    return FIELDS[device].to(device), batch(3).to(device)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "device"), ON_DEVICES)
def test_whole_steps_are_those_of_the_eager_field(name, device):
    field, y0 = field_on(device)
    stats, found = solve(field, y0, ADJOINTS[name], "inductor")
    expected_stats, expected = solve(field, y0, ADJOINTS[name], None)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    for a, b in ((stats.forward, expected_stats.forward), (stats.backward, expected_stats.backward)):
        assert (a.naccept, a.nreject) == (b.naccept, b.nreject)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "device"), ON_DEVICES)
def test_nothing_waits_for_the_device_but_the_reads(name, device, monkeypatch):
    """Of which an attempt has one, a step of Gauss nodes one more or two, and a pass a few of its own."""
    field, y0 = field_on(device)
    times = torch.linspace(0, 1, 200, dtype=torch.float64).tolist()[:: 1 if name.startswith("disc") else 40]
    for _ in range(2):  # compiled, and recorded
        solve(field, y0, ADJOINTS[name], "inductor", t=times)
    with no_waits(device, monkeypatch) as reads:
        stats, _ = solve(field, y0, ADJOINTS[name], "inductor", t=times)
    attempts = sum(p.naccept + p.nreject for p in (stats.forward, stats.backward))
    assert 0 < len(reads) <= (3 if name == "gauss" else 1) * attempts + 20


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_auto_makes_whole_steps(device, monkeypatch, auto_finds_a_compiler):
    from pyseminorm.graphs.step_graphs import StepGraphs

    kinds, run = [], StepGraphs.run

    def record(self, kind, constants, arguments):
        kinds.append(type(kind).__name__)
        return run(self, kind, constants, arguments)

    monkeypatch.setattr(StepGraphs, "run", record)
    solve(*field_on(device), BacksolveAdjoint(), "auto")
    assert set(kinds) == {"Begin", "Forward", "Stage", "Backward"}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_an_optimisers_steps_are_seen(device):
    """By what was recorded before them, whatever stream it is run on."""
    field = MLP().to(device)
    y0, found = batch(3).to(device), []
    for step in range(4):
        side = torch.cuda.Stream() if device == "cuda" and step == 2 else None
        with torch.cuda.stream(side) if side else contextlib.nullcontext():
            if side:
                side.wait_stream(torch.cuda.default_stream())
            found.append(
                (solve(field, y0, BacksolveAdjoint(), "inductor")[1], solve(field, y0, BacksolveAdjoint(), None)[1])
            )
        if side:
            torch.cuda.default_stream().wait_stream(side)
        with torch.no_grad():
            for p in field.parameters():
                p.mul_(0.9)
    for mine, expected in found:
        torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.gpu
def test_reads_give_the_numbers_of_the_device():
    x = torch.arange(6.0, device="cuda", dtype=torch.float64).view(2, 3)
    assert host_copies.read(x) == x.tolist() and host_copies.read_number(x.sum()) == 15.0
    assert host_copies.are_equal(x, x.clone()) and not host_copies.are_equal(x, x + 1)
    assert host_copies.send_numbers([1, 2], x, torch.long).tolist() == [1, 2]


@pytest.mark.gpu
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


@pytest.mark.gpu
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


@pytest.mark.gpu
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


@pytest.mark.gpu
@pytest.mark.julia
def test_a_backward_pass_on_torchs_own_thread_is_refused_with_the_cure(cuda_jl):
    y0 = torch.ones(2, device="cuda", requires_grad=True)
    s = pyseminorm.solve(lambda t, y: -y, y0, [0.0, 1.0], backend="julia")
    with pytest.raises(WrongThreadError, match="set_multithreading_enabled"):
        s.ys.sum().backward()
