"""Who takes part in a measurement."""

from __future__ import annotations

from . import modes
from .contender import Contender
from .peers import jax_packages, sciml, torch_packages


def find_contenders(device: str) -> tuple[list[Contender], list[str], dict[str, str]]:
    """Everything that can take part on a device, lines that say who cannot, and the versions in Julia."""
    in_torch, no_torch = torch_packages.peers()
    ours, no_modes = modes.modes()
    if device != "cpu":
        return [*in_torch, *(c for c in ours if c.settings["backend"] == "torch")], no_torch, {}
    in_jax, no_jax = jax_packages.peers()
    in_julia, no_julia, julia = sciml.peers()
    return [*in_torch, *in_jax, *in_julia, *ours], [*no_torch, *no_jax, *no_julia, *no_modes], julia
