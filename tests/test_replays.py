"""Steps recorded in fixed memory and replayed, as CUDA graphs are; here the recording is a stand-in on the CPU."""

import logging
import shutil
import threading

import pytest
import torch
from problems import MLP, batch

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint
from pyseminorm.graphs import replays
from pyseminorm.torch_internals import copy_all

pytestmark = [
    pytest.mark.capture,
    pytest.mark.skipif(
        shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
    ),
]


@pytest.fixture
def stream():
    """The name of the present stream."""
    return ["first"]


@pytest.fixture
def recorded(monkeypatch, stream):
    """What was recorded: calls whose results a replay writes anew, in the same memory."""
    calls = []

    def record(call, device):
        made = [torch.full_like(x, torch.nan) for x in call()]  # a recording alone computes nothing
        calls.append(made)
        return made, lambda: copy_all(made, call())

    monkeypatch.setattr(replays, "can_replay", lambda arguments: True)
    monkeypatch.setattr("pyseminorm.graphs.step_graphs.can_replay", lambda arguments: True)
    monkeypatch.setattr(replays, "present_stream", lambda device: stream[0])
    monkeypatch.setattr(replays, "record", record)
    return calls


def plain(function, examples):
    """A step without a compiler."""
    return lambda arguments: function(*arguments)


def solve(field, y0, adjoint, compile):
    y0 = y0.clone().requires_grad_()
    s = pyseminorm.solve(
        field, y0, [0.0, 0.4, 1.0], rtol=1e-6, atol=1e-8, adjoint=adjoint, backend="torch", compile=compile
    )
    grads = torch.autograd.grad(s.ys.pow(2).sum(), [y0, *field.parameters()])
    return [s.ys.detach(), *grads]


@pytest.mark.parametrize(
    "adjoint", [BacksolveAdjoint(), GaussAdjoint(), DiscreteAdjoint(keep="stages")], ids=lambda x: type(x).__name__
)
def test_values_and_gradients_are_those_of_the_field(adjoint, recorded, monkeypatch):
    monkeypatch.setattr(replays, "compile_graph", plain)
    field, y0 = MLP(), batch(3)
    for _ in range(2):  # an optimiser's step between: the recordings see the parameters of the moment
        torch.testing.assert_close(solve(field, y0, adjoint, "inductor"), solve(field, y0, adjoint, None))
        kinds = len(recorded)
        with torch.no_grad():
            for p in field.parameters():
                p.mul_(0.9)
    assert len(recorded) == kinds > 1


@pytest.mark.parametrize(
    "update",
    [
        lambda params: torch.optim.SGD(params, lr=0.1, fused=True).step(),
        lambda params: [p.data.mul_(0.9) for p in params],
    ],
    ids=["a fused optimiser", "p.data.mul_"],
)
def test_weights_that_change_without_a_trace_between_solves_are_copied(update, recorded, monkeypatch):
    monkeypatch.setattr(replays, "compile_graph", plain)
    net, y0 = MLP(), batch(3)
    field = pyseminorm.compile(net, backend="torch", mode="inductor")
    for _ in range(3):
        torch.testing.assert_close(
            solve(field, y0, DiscreteAdjoint(), None), solve(net, y0, DiscreteAdjoint(), None), rtol=1e-7, atol=1e-9
        )
        net(torch.tensor(0.0), y0).sum().backward()
        versions = [p._version for p in net.parameters()]
        update(list(net.parameters()))
        assert [p._version for p in net.parameters()] == versions
    assert recorded


@pytest.mark.slow
def test_inductors_steps_are_recorded(recorded):
    field, y0 = MLP(), batch(3)
    found = solve(field, y0, BacksolveAdjoint(), "inductor")
    torch.testing.assert_close(found, solve(field, y0, BacksolveAdjoint(), None), rtol=1e-7, atol=1e-9)
    assert recorded


@pytest.fixture
def double(recorded, monkeypatch):
    """A step: twice its constant, plus its argument."""
    monkeypatch.setattr(replays, "compile_graph", plain)
    constant, x = torch.ones(2), torch.arange(2.0)
    step = replays.Replays(1)(lambda c, x: [2 * c + x], [constant, x])
    return lambda *arguments: step(list(arguments)), constant, x


def test_a_later_replay_writes_nothing_that_an_earlier_one_gave(double):
    step, constant, x = double
    (first,), (second,) = step(constant, x), step(constant, x + 1)
    assert first.tolist() == [2.0, 3.0] and second.tolist() == [3.0, 4.0]


def test_constants_are_copied_anew_where_they_are_others_or_have_changed(double):
    step, constant, x = double
    step(constant, x)
    constant.add_(1)
    assert step(constant, x)[0].tolist() == [4.0, 5.0]
    assert step(torch.zeros(2), x)[0].tolist() == [0.0, 1.0]
    assert step(constant, x)[0].tolist() == [4.0, 5.0]


def test_every_stream_has_a_recording_and_memory_of_its_own(double, recorded, stream):
    step, constant, x = double
    step(constant, x)
    stream[0] = "second"
    assert step(torch.zeros(2), x)[0].tolist() == [0.0, 1.0]
    stream[0] = "first"
    assert step(constant, x)[0].tolist() == [2.0, 3.0]
    assert len(recorded) == 2


def test_threads_take_turns(double):
    step, _, x = double
    wrong = []

    def run(value):
        own = torch.full((2,), value)
        for _ in range(50):
            if step(own, x)[0].tolist() != [2 * value, 2 * value + 1]:
                wrong.append(value)

    threads = [threading.Thread(target=run, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_cannot_be_recorded_is_launched_kernel_by_kernel(double, monkeypatch, caplog):
    def failing(call, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    caplog.set_level(logging.INFO, logger="pyseminorm")
    monkeypatch.setattr(replays, "record", failing)
    step, constant, x = double
    first = step(constant, x)[0]
    assert step(constant, x + 1)[0].tolist() == [3.0, 4.0] and first.tolist() == [2.0, 3.0]
    assert caplog.text.count("not permitted") == 1


def test_a_step_that_reads_the_host_is_not_recorded():
    assert not replays.can_replay([torch.ones(2)])
