"""The path of GPU arrays through the Julia engine, on a stand-in: JLArrays over host memory, no scalar indexing."""

import pytest
import torch
from problems import MLP, Oscillating, batch, cotangents, relative

import pyseminorm
from pyseminorm import BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint
from pyseminorm.engines.julia.engine import JuliaEngine

pytestmark = pytest.mark.julia
T = torch.linspace(0, 1, 4, dtype=torch.float64)

# What ext/PySeminormCUDAExt.jl does for CuVector, for JLArrays: memory of torch is aliased, not copied.
STAND_IN = """
import JLArrays, PySeminorm
JLArrays.allowscalar(false)
const StandIn{T} = JLArrays.JLArray{T, 1}
PySeminorm.VECTORS["jl"] = (T, device) -> StandIn{T}
function PySeminorm.wrap(::Type{StandIn{T}}, address::Integer, n::Integer) where {T}
    memory = unsafe_wrap(Array, Ptr{UInt8}(UInt(address)), n * sizeof(T))
    return StandIn{T}(JLArrays.GPUArrays.DataRef(data -> nothing, memory), (Int(n),))
end
PySeminorm.measure(norm::PySeminorm.Seminorm, u::StandIn) = PySeminorm.measure_at_once(norm, u)
"""


@pytest.fixture(scope="module", autouse=True)
def _stand_in():
    from pyseminorm.engines.julia.session import runtime

    julia = runtime.runtime()
    if not julia.load("JLArrays"):
        pytest.skip("the Julia project has no JLArrays")
    import juliacall

    juliacall.Main.seval(f"module DeviceStandIn\n{STAND_IN}\nend")


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(JuliaEngine, "on", classmethod(lambda cls, device: cls("jl")))


def _solved(dtype=torch.float64, **settings):
    field, y0 = Oscillating(dtype), batch(3, dtype).requires_grad_()
    s = pyseminorm.solve(field, y0, T, backend="julia", **settings)
    (s.ys * cotangents(*s.ys.shape, dtype=dtype)).sum().backward()
    return s, torch.cat([y0.grad.reshape(-1), *(p.grad.reshape(-1) for p in field.parameters())])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", ["tsit5", "vern7", "rk4"])
@pytest.mark.parametrize(
    "adjoint", [BacksolveAdjoint(), InterpolatingAdjoint(), GaussAdjoint(), BacksolveAdjoint("rms")]
)
def test_the_same_steps_and_gradients_as_on_the_cpu(adjoint, method, dtype, request):
    on_cpu, reference = _solved(dtype, adjoint=adjoint, method=method)
    request.getfixturevalue("device")
    on_device, gradient = _solved(dtype, adjoint=adjoint, method=method)
    # A sum in another order is another rounding, which vern7's steps follow near an output (docs/decisions.md, parity).
    exact = dtype == torch.float64 and method != "vern7"
    tolerance = 1e-3 if dtype == torch.float32 else 1e-10 if exact else 1e-6
    assert relative(gradient, reference) < tolerance
    assert torch.allclose(on_device.ys, on_cpu.ys, rtol=tolerance, atol=tolerance)
    if exact:
        for a, b in (
            (on_cpu.stats.forward, on_device.stats.forward),
            (on_cpu.stats.backward, on_device.stats.backward),
        ):
            assert (a.nf, a.nvjp, a.naccept, a.nreject) == (b.nf, b.nvjp, b.naccept, b.nreject)


def test_the_state_of_the_solver_is_device_memory(device):
    import juliacall

    s = pyseminorm.solve(MLP(), batch(3), T, backend="julia", dense=True)
    assert "JLArray" in str(juliacall.Main.typeof(s._trajectory.dense.outcome.object.u))
    assert torch.allclose(s.interpolate(T[1].item()), s.ys[1])


def test_custom_norms_callbacks_and_failures(device):
    seen, measured = [], []

    def norm(state):
        measured.append(state.shape)
        return state.square().mean().sqrt()

    watch = pyseminorm.StepCallbacks(accept_step=lambda t, y, dt: seen.append(y.sum().item()))
    s = pyseminorm.solve(MLP(), batch(3), T, backend="julia", norm=norm, callbacks=watch)
    assert len(seen) == s.stats.forward.naccept and (3, 2) in {tuple(m) for m in measured}
    with pytest.raises(ZeroDivisionError) as info:
        pyseminorm.solve(lambda t, y: -y * (1 / 0 if t > 0.5 else 1), batch(3), T, backend="julia")
    assert info.value.last_good_state.y.shape == (3, 2)
