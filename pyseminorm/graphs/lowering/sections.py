"""`Section`: the code of one function while it is written, and where its buffers lie.

Those that are never in use together share memory, which then stays in cache.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from .loops import Statement
from .memory import Buffer

# Whole cache lines, of the smaller element type.
_LINE = 16


def names_in(statements: Iterable[Statement]) -> set[str]:
    """Return the names of the buffers that statements use."""
    return {name for statement in statements for name in statement.names}


def side_by_side(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return offsets of buffers that share nothing, and the size of all."""
    places, end = {}, 0
    for name, size in sizes.items():
        places[name] = end
        end += _round_up(size)
    return places, end


def share(sizes: Mapping[str, int], statements: Sequence[Statement]) -> tuple[dict[str, int], int]:
    """Return offsets of buffers that one function alone uses, each from its first use to its last, and the size.

    A buffer that a loop writes, element for element, from one that it reads for the last time, takes its place.
    """
    uses: dict[str, list[int]] = {name: [] for name in sizes}
    for i, statement in enumerate(statements):
        for name in statement.names & uses.keys():
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


def _replace(statement: Statement, new: str, old: Collection[str]) -> str | None:
    """Return which of some buffers a loop reads only where it writes ``new``, and writes nothing else."""
    if len(statement.stores) != 1 or statement.stores[0][0] != new or new in statement.others:
        return None
    (_, place), loads = statement.stores[0], statement.loads
    if any(name == new for name, _ in loads):
        return None
    for name in sorted(old):
        indices = {index for buffer, index in loads if buffer == name}
        if indices == {place} and name not in statement.others:
            return name
    return None


def _gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Return the first offset with room for ``size`` elements beside blocks of (offset, size)."""
    start = 0
    for offset, length in sorted(taken):
        if offset - start >= size:
            return start
        start = max(start, offset + length)
    return start


class Section:
    """Collect the ``statements`` of one function, and lay out its own buffers, of ``sizes`` by name.

    ``given``: the pointers of those that lie in memory of the caller; ``places``: of the others, once that is known;
    ``products``: matrix products by a BLAS, by the buffers that they make.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.statements: list[Statement] = []
        self.sizes: dict[str, int] = {}
        self.given: dict[str, str] = {}
        self.products: dict[str, Statement] = {}
        self.places: dict[str, str] = {}

    def buffer(self, size: int) -> Buffer:
        """Make a buffer of its own."""
        made = Buffer(f"{self._prefix}{len(self.sizes)}", size)
        self.sizes[made.name] = size
        return made

    def place(self, saved: Collection[str] | None, storage: str) -> tuple[int, int]:
        """Lay buffers out: those that others read in ``storage``, the rest where scratch is; the sizes of both.

        ``saved``: None for all.
        """
        own = {name: size for name, size in self.sizes.items() if name not in self.given}
        kept = own if saved is None else {name: size for name, size in own.items() if name in saved}
        places, size = side_by_side(kept)
        passing, scratch = share({name: n for name, n in own.items() if name not in kept}, self.statements)
        self.places = dict(self.given)
        for pointer, offsets in ((storage, places), ("q", passing)):
            self.places |= {name: f"at({pointer}, {offset})" for name, offset in offsets.items()}
        return size, scratch

    def adds_to(self, name: str, place: str) -> bool:
        """Let the matrix product that makes a buffer add to a place of the caller's instead; whether that can be."""
        product = self.products.get(name)
        if product is None or name in self.given:
            return False
        if name in names_in(other for other in self.statements if other is not product):
            return False
        product.lines = [f"{product.lines[0][:-1]}, one(T))"]
        self.given[name] = place
        return True
