"""`Section`: the code of one function while it is written, and the memory that it needs."""

from __future__ import annotations

from collections.abc import Collection

from .loops import Statement
from .memory import Buffer
from .plan import names_in, share, side_by_side


class Section:
    """Collect the code of one function, and lay out its buffers.

    Attributes:
        statements: its code.
        sizes: of its own buffers, by name.
        given: what the pointers of those are that lie in memory of the caller.
        products: matrix products by a BLAS, by the buffers that they make.
        places: what the pointers of the others are, once that is known.
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
        (places, size), (passing, scratch) = (
            side_by_side(kept),
            share({name: size for name, size in own.items() if name not in kept}, self.statements),
        )
        self.places = {
            **self.given,
            **{name: f"at({storage}, {offset})" for name, offset in places.items()},
            **{name: f"at(q, {offset})" for name, offset in passing.items()},
        }
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
