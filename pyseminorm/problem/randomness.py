"""Whether a function draws random numbers, by the state of torch's generators."""

from __future__ import annotations

from typing import Any

import torch

from ..torch_internals import transform_is_active


class Generators:
    """The states of the generators that a function of tensors on a device draws from by default."""

    def __init__(self, device: torch.device) -> None:
        self._generators: list[Any] = [torch.default_generator]
        if device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[device.index or 0])
        self._states = [generator.get_state() for generator in self._generators]

    def have_moved(self) -> bool:
        """Tell whether numbers have been drawn since then."""
        pairs = zip(self._generators, self._states, strict=True)
        equal = torch.equal if transform_is_active() else _equal
        return not all(equal(g.get_state(), state) for g, state in pairs)

    def restore(self) -> None:
        """Draw the same numbers again."""
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Do as torch.equal, in half the time; tensors that transforms of torch.func see have no memory."""
    return bool(a.numpy().tobytes() == b.numpy().tobytes())
