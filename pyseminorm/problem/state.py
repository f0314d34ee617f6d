"""The user's state (a tensor or a nested tuple/dict of tensors) as one flat real vector, and back."""

from __future__ import annotations

import cmath
import collections
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..host_copies import is_short, read, read_number
from ..torch_internals import flatten_tree, pytree

FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
COMPLEX = (torch.complex128, torch.complex64)


class UnlikeStateError(InvalidInputError):
    """What func returned does not look like y0."""


class StateSpec:
    """Shapes, dtype and device of a state, with the maps to and from a flat vector.

    Complex leaves are stored as pairs of reals; ``real_dtype`` is the dtype of the flat vector. ``is_plain``: the state
    is one real tensor. ``shape`` is the shape that a state has without being taken apart: that tensor's, or (size,).
    ``kind`` is a number, equal for states of one structure, shapes, dtype and device.
    """

    def __init__(self, y0: Any) -> None:
        leaves, self.tree = flatten_tree(y0)
        if not leaves:
            raise InvalidInputError("y0 is empty: expected a tensor or a nested tuple/dict of tensors.")
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise InvalidInputError(
                    f"y0 contains a {type(leaf).__name__}: expected a tensor or a nested tuple/dict of tensors "
                    "(wrap numbers with torch.tensor)."
                )
        first: Tensor = leaves[0]
        self.dtype, self.device = first.dtype, first.device
        if self.dtype not in FLOATING + COMPLEX:
            raise InvalidInputError(
                f"y0 has dtype {self.dtype}: expected a floating-point or complex state. Use y0.float()."
            )
        for name, values in (("dtypes", {x.dtype for x in leaves}), ("devices", {x.device for x in leaves})):
            if len(values) > 1:
                raise InvalidInputError(
                    f"the leaves of y0 have different {name} ({', '.join(sorted(map(str, values)))}): give them one."
                )
        for leaf in leaves:
            if leaf.is_nested:
                raise InvalidInputError("y0 is a nested tensor: expected a tuple of its rows. Use y0.unbind().")
            if leaf.layout is not torch.strided:
                raise InvalidInputError(f"y0 has the layout {leaf.layout}: expected a dense tensor. Use y0.to_dense().")
            if leaf.is_meta or hasattr(leaf, "fake_mode"):
                where = "on the device meta, which holds" if leaf.is_meta else "a fake tensor, which has"
                raise InvalidInputError(f"y0 is {where} no values: expected a tensor with values.")
        self.is_complex = self.dtype.is_complex
        self.real_dtype = first.real.dtype if self.is_complex else self.dtype
        self.shapes = [tuple(leaf.shape) for leaf in leaves]
        self.sizes = tuple(leaf.numel() * (2 if self.is_complex else 1) for leaf in leaves)
        self.size = sum(self.sizes)
        self.is_tensor = isinstance(y0, Tensor)
        self.is_plain = self.is_tensor and not self.is_complex
        self._is_tuple = type(y0) is tuple and _is_flat(y0, len(leaves))
        self.shape: tuple[int, ...] = self.shapes[0] if self.is_plain else (self.size,)

    @functools.cached_property
    def kind(self) -> int:
        known = _KINDS.setdefault((tuple(self.shapes), self.dtype, self.device), [])
        for number, tree in known:  # which older versions of PyTorch have no hash for
            if tree == self.tree:
                return number
        known.append((next(_NUMBERS), self.tree))
        return known[-1][0]

    @classmethod
    def of(cls, y0: Any) -> StateSpec:
        """Return the specification of a state; of a plain tensor, that of the last ones like it."""
        if type(y0) is Tensor and y0.layout is torch.strided and not y0.is_nested:
            return _spec_of_tensor(y0.shape, y0.dtype, y0.device)
        return cls(y0)

    def to_tensor(self, state: Any) -> Tensor:
        """Return the state as one tensor in `shape`, differentiable."""
        return state if self.is_plain else self.flatten(state)

    def from_tensor(self, rows: Tensor) -> Any:
        """Return states (..., *shape) in the user's structure, every leaf (..., *shape); each may be changed in place,
        which autograd refuses for parts by torch.split.
        """
        if self.is_plain:
            return rows
        starts = itertools.accumulate(self.sizes, initial=0)
        parts = [rows.narrow(-1, start, size) for start, size in zip(starts, self.sizes, strict=False)]
        return self.build(self._shape(parts, rows.shape[:-1]))

    def flatten(self, state: Any) -> Tensor:
        """Return the state as one vector of shape (size,), differentiable; a view where that is possible."""
        return self.join([state] if self.is_tensor else pytree.tree_leaves(state))

    def join(self, leaves: list[Tensor]) -> Tensor:
        """Join leaves in their own shapes to one vector of shape (size,)."""
        if self.is_complex:
            leaves = [torch.view_as_real(x.resolve_conj()) for x in leaves]
        if len(leaves) == 1:
            return leaves[0].reshape(-1)
        return torch.cat([x.reshape(-1) for x in leaves])

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return views of ``flat`` (..., size) as leaves (..., *shape)."""
        parts = (flat,) if len(self.sizes) == 1 else flat.split_with_sizes(self.sizes, dim=-1)
        return self._shape(parts, flat.shape[:-1])

    def _shape(self, parts: Sequence[Tensor], lead: torch.Size) -> list[Tensor]:
        if self.is_complex:
            return [torch.view_as_complex(p.reshape((*lead, *s, 2))) for p, s in zip(parts, self.shapes, strict=True)]
        return [p.reshape((*lead, *s)) for p, s in zip(parts, self.shapes, strict=True)]

    def unflatten(self, flat: Tensor) -> Any:
        """Return the flat vector(s) (..., size) in the user's structure, every leaf (..., *shape)."""
        if self.is_plain:
            return flat.reshape(flat.shape[:-1] + self.shape)
        return self.build(self.split(flat))

    def build(self, leaves: list[Tensor]) -> Any:
        if self.is_tensor:
            return leaves[0]
        return tuple(leaves) if self._is_tuple else pytree.tree_unflatten(leaves, self.tree)

    def time(self, t: float) -> Tensor:
        """Return a time as func and events get it."""
        return torch.full((), t, dtype=self.real_dtype, device=self.device)

    def hold(self, atol: float | Tensor) -> float | Tensor:
        """Return an absolute tolerance that is not zero in the state's dtype, as errors are divided by it."""
        tiny = torch.finfo(self.real_dtype).tiny
        return atol.clamp(min=tiny) if isinstance(atol, Tensor) else max(atol, tiny)

    def is_like(self, value: Any) -> bool:
        """Return whether what func returned, for a state that is one real tensor, is one like it."""
        return (
            type(value) is Tensor
            and value.shape == self.shape
            and value.dtype == self.dtype
            and value.device == self.device
        )

    def check_output(self, value: Any, where: str = "") -> list[Tensor]:
        """Return leaves of what func returned, which must look like y0, in its dtype; an error says ``where``."""
        if value is None:
            raise UnlikeStateError(f"func returned None{where}: it must return dy/dt (is a `return` missing?).")
        if self.is_tensor:
            leaves = [value]
        elif self._is_tuple and _is_flat(value, len(self.shapes)):
            leaves = list(value)
        else:
            leaves, tree = flatten_tree(value)
            if tree != self.tree:
                leaves, tree = flatten_tree(_in_order(value, pytree.tree_unflatten(range(len(self.shapes)), self.tree)))
            if tree != self.tree and str(tree).replace("list", "tuple") != str(self.tree).replace("list", "tuple"):
                raise UnlikeStateError(
                    f"func returned {_brief(value)}{where}: expected the structure of y0, {self.tree}."
                )
        for leaf, shape in zip(leaves, self.shapes, strict=True):
            self._check_leaf(leaf, shape, where)
        return [leaf if leaf.dtype == self.dtype else leaf.to(self.dtype) for leaf in leaves]

    def _check_leaf(self, leaf: Any, shape: tuple[int, ...], where: str) -> None:
        if not isinstance(leaf, Tensor):
            raise UnlikeStateError(f"func returned {_brief(leaf)}{where}: expected a tensor of shape {shape}, as y0.")
        if tuple(leaf.shape) != shape:
            raise UnlikeStateError(f"func returned shape {tuple(leaf.shape)}{where}: expected {shape}, that of y0.")
        if leaf.dtype not in (FLOATING + COMPLEX if self.is_complex else FLOATING):
            raise UnlikeStateError(f"func returned dtype {leaf.dtype}{where}: expected {self.dtype}, that of y0.")
        if leaf.device != self.device:
            raise UnlikeStateError(f"func returned a tensor on {leaf.device}{where}: expected {self.device}, as y0.")


def _in_order(value: Any, like: Any) -> Any:
    """Return a nested value whose dicts have their keys in the order of those of another."""
    kinds = {type(value), type(like)}
    if kinds in ({dict}, {collections.OrderedDict}) and value.keys() == like.keys():
        return type(value)((key, _in_order(value[key], part)) for key, part in like.items())
    if kinds <= {tuple, list} and len(value) == len(like):
        return type(value)(map(_in_order, value, like))
    return value


def _is_flat(value: Any, length: int) -> bool:
    """Tell whether a state is a tuple, or a list, of so many tensors, as most nested ones are."""
    return type(value) in (tuple, list) and len(value) == length and all(isinstance(x, Tensor) for x in value)


def _brief(value: Any) -> str:
    """Return what func returned, in a few words."""
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, (tuple, list, dict)) else f"a {kind}"


_KINDS: dict[Any, list[tuple[int, Any]]] = {}  # numbers of kinds, with the trees, of the same shapes, dtype and device
_NUMBERS = itertools.count()


@functools.lru_cache(maxsize=64)
def _spec_of_tensor(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> StateSpec:
    return StateSpec(torch.empty((), dtype=dtype, device=device).expand(shape))


def all_finite(x: Tensor) -> bool:
    """Tell whether no element is NaN or infinite: by their sum, and by a closer look where that overflows."""
    if is_short(x):
        return all(map(cmath.isfinite, read(x.reshape(-1))))
    return cmath.isfinite(read_number(x.sum())) or bool(read_number(torch.isfinite(x).all()))
