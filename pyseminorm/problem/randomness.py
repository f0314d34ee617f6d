"""Whether a function draws random numbers, by the state of torch's generators."""

from __future__ import annotations

from typing import Any

import torch


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
        return not all(torch.equal(generator.get_state(), state) for generator, state in pairs)

    def restore(self) -> None:
        """Draw the same numbers again."""
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)
