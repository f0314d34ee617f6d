"""The paper's tasks: their systems, data and models."""

import pytest

pytest.importorskip("aeon", reason="the extra benchmarks is not installed")
pytest.importorskip("rich", reason="the extra benchmarks is not installed")

import torch

from benchmarks.paper.pairs import TASKS
from benchmarks.paper.solver import OurSolver
from benchmarks.paper.tasks.control import HamiltonianNet
from benchmarks.paper.tasks.densities import digits, planar
from benchmarks.paper.tasks.flow import Flow, FlowField
from benchmarks.paper.tasks.latent_ode import Interpolation
from benchmarks.paper.tasks.simulator import SYSTEMS, simulate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TIGHT = OurSolver(method="vern7", rtol=1e-10, atol=1e-10, backend="torch")


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_simulators_are_hamiltonian(name):
    system = SYSTEMS[name]
    n = system.degrees
    state = torch.randn(5, 2 * n, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(system.energy(state).sum(), state)
    expected = torch.cat([slope[:, n:], -slope[:, :n]], dim=-1)
    assert torch.allclose(system.rate(state, torch.zeros(5, 1, dtype=torch.float64)), expected)
    paths = simulate(system, state.detach(), torch.zeros(5, 1, dtype=torch.float64), 40)
    energy = system.energy(paths)
    assert torch.allclose(energy, energy[:, :1].expand_as(energy), atol=1e-7)
    pushed = simulate(system, state.detach(), torch.ones(5, 1, dtype=torch.float64), 40)
    assert not torch.allclose(pushed, paths, atol=1e-2)


@pytest.mark.parametrize("degrees", [1, 2])
def test_the_net_s_written_gradient_is_that_of_its_hamiltonian(degrees):
    net = HamiltonianNet(degrees, 8).double()
    state = torch.randn(6, 2 * degrees, dtype=torch.float64, requires_grad=True)
    q, p = state.chunk(2, dim=-1)
    hidden = torch.tanh(net.second(torch.tanh(net.first(torch.cat([q.cos(), q.sin(), p], dim=-1)))))
    (slope,) = torch.autograd.grad((hidden @ net.last).sum(), state)
    expected = torch.cat([slope[:, degrees:], -slope[:, :degrees]], dim=-1)
    assert torch.allclose(net(state, torch.zeros(6, 1, dtype=torch.float64)), expected)
    push = net(state, torch.ones(6, 1, dtype=torch.float64)) - expected
    assert push[:, :degrees].abs().max() < 1e-12 < push[:, degrees:].abs().max()


def test_the_flow_s_trace_is_that_of_its_jacobian():
    field = FlowField(3, 5).double()
    x, t = torch.randn(4, 3, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    probes = torch.eye(3, dtype=torch.float64).view(3, 1, 3).expand(3, 4, 3)
    state = torch.cat([x, torch.zeros(4, 1, dtype=torch.float64)], dim=-1)
    trace = field(t, state, probes)[:, -1]
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda row: field(t, torch.cat([row, row.new_zeros(1)]).view(1, -1), probes[:, :1])[0, :-1], x[i]
        )
        assert torch.allclose(trace[i], jacobian.trace())


def test_a_density_integrates_to_one_and_samples_come_back():
    torch.manual_seed(2)
    flow = Flow(2, 8).double()
    with torch.no_grad():
        for p in flow.parameters():
            p.mul_(2)
        axis = torch.linspace(-9, 9, 121, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        probes = torch.eye(2, dtype=torch.float64).view(2, 1, 2).expand(2, len(grid), 2)
        density = flow.log_density(grid, probes, TIGHT).exp()
        assert abs(density.sum().item() * (axis[1] - axis[0]).item() ** 2 - 1) < 1e-3
        noise = torch.randn(7, 2, dtype=torch.float64)
        start = torch.cat([flow.sample(noise, TIGHT), torch.zeros(7, 1, dtype=torch.float64)], dim=-1)
        back = TIGHT(lambda t, y: flow.field(t, y, probes[:, :7]), start, [0.0, 1.0], [])
        assert torch.allclose(back[-1][:, :2], noise, atol=1e-7)


def test_digits_are_images_and_bits_per_dimension_count_their_levels():
    points = digits()
    shown = points.shown(points.test)
    assert points.test.shape == (360, 64) and points.train.shape == (1437, 64)
    assert shown.min() >= 0 and shown.max() <= 1 and shown.mean() > 0.1
    # a uniform density over the 17 levels: log2(17) bits for every pixel
    share = torch.sigmoid(points.test)
    log_density = (torch.log(share * (1 - share)) - torch.log(torch.tensor(0.9))).sum(dim=-1)
    assert points.quality(-log_density, points.test) == pytest.approx(4.0875, abs=1e-3)


def test_densities_in_the_plane_are_where_they_should_be():
    board = planar("checkerboard").draw(4000)
    squares = board.floor().long()
    assert board.abs().max() <= 2 and ((squares.sum(dim=1) % 2) == 0).all()
    assert len({tuple(s) for s in squares.tolist()}) == 8
    moons = planar("moons").draw(4000)
    assert moons.mean(dim=0).abs().max() < 0.1 and moons.norm(dim=1).max() < 3


def test_half_of_the_valid_points_of_the_latent_ode_are_hidden():
    row = next(task for task in TASKS if task.name == "latent-ode")
    data = Interpolation(row.sizes)
    gaps = data.times.diff()
    assert len(data.times) == 12 and data.times[0] == 0 and gaps.min() > 0 and gaps.std() > 0
    assert (data.train.seen <= data.train.valid).all() and data.train.valid.mean() < 0.9
    assert 0.4 < data.train.seen.sum() / data.train.valid.sum() < 0.65
    hidden = data.held[0] + 100 * (1 - data.held[2])  # what is hidden does not reach the encoder
    model = data.model()
    series = data.train._replace(values=data.held[0], valid=data.held[1], seen=data.held[2])
    assert torch.equal(model.encode(series)[0], model.encode(series._replace(values=hidden))[0])
