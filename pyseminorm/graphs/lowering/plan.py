"""Where the buffers of a function lie: those that are never in use together share memory, which then stays in cache."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

# Whole cache lines, of the smaller element type.
_LINE = 16

_NAMES = re.compile(r"\b[a-z]+\d+(?:_\d+)?\b")
_LOADS = re.compile(r"\bload\((\w+), ([^()]*)\)")
_STORES = re.compile(r"^\s*store!\((\w+), \w+, ([^()]*)\)$", re.MULTILINE)


def names_in(lines: Sequence[str]) -> set[str]:
    """Names of buffers (and of whatever is written like them) in Julia code."""
    return set(_NAMES.findall("\n".join(lines)))


def side_by_side(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Offsets of buffers that share nothing, and the size of all."""
    places, end = {}, 0
    for name, size in sizes.items():
        places[name] = end
        end += _round_up(size)
    return places, end


def shared(sizes: Mapping[str, int], lines: Sequence[str]) -> tuple[dict[str, int], int]:
    """Offsets of buffers that the code of one function alone uses, from their first use to their last, and the size.

    A buffer that a loop writes, element for element, from one that it reads for the last time, takes its place.
    """
    statements = _statements(lines)
    uses: dict[str, list[int]] = {name: [] for name in sizes}
    for i, statement in enumerate(statements):
        for name in names_in([statement]):
            if name in uses:
                uses[name].append(i)
    places: dict[str, int] = {}
    living: dict[str, int] = {}  # name: size
    end = 0
    for i, statement in enumerate(statements):
        starting = [name for name, used in uses.items() if used and used[0] == i]
        ending = {name for name, used in uses.items() if used and used[-1] == i}
        for name in starting:
            size = _round_up(sizes[name])
            heir = _replace(statement, name, {old for old in ending & living.keys() if sizes[old] == sizes[name]})
            if heir is None:
                places[name] = _gap([(places[n], living[n]) for n in living], size)
            else:
                places[name] = places[heir]
                del living[heir]
            living[name] = size
            end = max(end, places[name] + size)
        for name in ending & living.keys():
            del living[name]
    return places, end


def _round_up(size: int) -> int:
    return -(-size // _LINE) * _LINE


def _statements(lines: Sequence[str]) -> list[str]:
    """Loops with all that is in them, and single calls."""
    found: list[list[str]] = []
    depth = 0
    for line in lines:
        if depth == 0:
            found.append([])
        found[-1].append(line)
        words = line.split()
        depth += ("for" in words[:3]) - (words == ["end"])
    return ["\n".join(statement) for statement in found]


def _replace(statement: str, new: str, old: Collection[str]) -> str | None:
    """Which of some buffers a loop reads only where it writes ``new``."""
    stores = _STORES.findall(statement)
    if len(stores) != 1 or stores[0][0] != new or len(re.findall(rf"\b{new}\b", statement)) != 1:
        return None
    for name in sorted(old):
        indices = [index for buffer, index in _LOADS.findall(statement) if buffer == name]
        mentions = len(re.findall(rf"\b{name}\b", statement))
        if indices and mentions == len(indices) and all(index == stores[0][1] for index in indices):
            return name
    return None


def _gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The first offset with room for ``size`` elements beside blocks of (offset, size)."""
    start = 0
    for offset, length in sorted(taken):
        if offset - start >= size:
            return start
        start = max(start, offset + length)
    return start
