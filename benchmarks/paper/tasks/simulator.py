"""The mechanical systems that symplectic ODE-Nets learn, in canonical coordinates, solved by us at tight tolerance.

Sources: the pendulum of Y. D. Zhong, B. Dey, A. Chakraborty, Symplectic ODE-Net, ICLR 2020, with its constants; the
acrobot of R. S. Sutton, Generalization in Reinforcement Learning, NeurIPS 1996, with OpenAI Gym's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyseminorm import solve

STEP = 0.05  # between two observations, as in the paper
TIGHT = {"method": "vern7", "rtol": 1e-10, "atol": 1e-10, "backend": "torch"}


@dataclass(frozen=True)
class System:
    """``rate(state, torque)``: d(q, p)/dt, (samples, 2 degrees), for a torque (samples, 1)."""

    degrees: int
    energy: Callable[[Tensor], Tensor]
    rate: Callable[[Tensor, Tensor], Tensor]


def simulate(system: System, start: Tensor, torque: Tensor, points: int) -> Tensor:
    """States (samples, points, 2 degrees), `STEP` apart, under a torque that stays constant; float64."""
    times = [STEP * i for i in range(points)]
    with torch.no_grad():
        solution = solve(lambda t, y: system.rate(y, torque), start.double(), times, **TIGHT)  # type: ignore[arg-type]
    states: Tensor = solution.ys
    return states.transpose(0, 1)


def _pendulum_energy(state: Tensor) -> Tensor:
    q, p = state.unbind(-1)
    return 1.5 * p.square() + 5 * (1 - q.cos())


def _pendulum_rate(state: Tensor, torque: Tensor) -> Tensor:
    q, p = state.chunk(2, dim=-1)
    return torch.cat([3 * p, -5 * q.sin() + torque], dim=-1)


# Two links of mass 1, length 1, centre of mass 1/2, moment of inertia 1; gravity 9.8.
_GRAVITY = 9.8
_M11, _COUPLING, _M12, _M22 = 3.5, 0.5, 1.25, 1.25  # mass matrix: [[_M11 + 2 c, _M12 + c], [_M12 + c, _M22]]
_V1, _V2 = 1.5 * _GRAVITY, 0.5 * _GRAVITY


def _acrobot_velocity(q: Tensor, p: Tensor) -> Tensor:
    """M(q)^-1 p, with c = _COUPLING cos q_2."""
    c = _COUPLING * q[..., 1].cos()
    a, b, d = _M11 + 2 * c, _M12 + c, _M22
    first, second = p.unbind(-1)
    return torch.stack([d * first - b * second, a * second - b * first], dim=-1) / (a * d - b.square()).unsqueeze(-1)


def _acrobot_energy(state: Tensor) -> Tensor:
    q, p = state.chunk(2, dim=-1)
    kinetic = 0.5 * (p * _acrobot_velocity(q, p)).sum(dim=-1)
    return kinetic - _V1 * q[..., 0].cos() - _V2 * q.sum(dim=-1).cos()


def _acrobot_rate(state: Tensor, torque: Tensor) -> Tensor:
    """-dH/dq = -dV/dq + v^T (dM/dq) v / 2; the torque acts on the second joint."""
    q, p = state.chunk(2, dim=-1)
    v = _acrobot_velocity(q, p)
    pull = _V2 * q.sum(dim=-1).sin()
    first = -_V1 * q[..., 0].sin() - pull
    second = -pull - _COUPLING * q[..., 1].sin() * v[..., 0] * (v[..., 0] + v[..., 1]) + torque[..., 0]
    return torch.cat([v, torch.stack([first, second], dim=-1)], dim=-1)


SYSTEMS = {
    "pendulum": System(1, _pendulum_energy, _pendulum_rate),
    "acrobot": System(2, _acrobot_energy, _acrobot_rate),
}
