"""The ways in which torch can lay a tensor out: name -> a function that gives one of a shape, in that layout."""

import torch

D = torch.float64


def numbers(shape, dtype=D):
    """Distinct numbers of size one, without gaps, of one storage."""
    n = torch.Size(shape).numel()
    return (torch.sin(torch.arange(n, dtype=D) * 1.7 + 0.4) * 0.8 + 0.1).reshape(shape).to(dtype)


def _column(x):
    wide = torch.full((*x.shape, 3), 1e3, dtype=x.dtype)
    wide[..., 1] = x
    return wide[..., 1]


def _every_second(x):
    long = torch.full((2 * x.shape[0], *x.shape[1:]), 1e3, dtype=x.dtype)
    long[::2] = x
    return long[::2]


def _offset(x):
    long = torch.full((x.numel() + 5,), 1e3, dtype=x.dtype)
    long[3 : 3 + x.numel()] = x.reshape(-1)
    return long[3 : 3 + x.numel()].view(x.shape)


def _selected(x):
    """A 0-d tensor inside a larger one."""
    return torch.stack([x.new_tensor(1e3), x.reshape(-1)[0], x.new_tensor(1e3)])[1]


LAYOUTS = {
    "column": lambda *shape: _column(numbers(shape)),
    "every second": lambda *shape: _every_second(numbers(shape)),
    "offset": lambda *shape: _offset(numbers(shape)),
    "diagonal": lambda *shape: torch.diag_embed(numbers(shape)).diagonal(dim1=-2, dim2=-1),
    "expanded": lambda *shape: numbers((1, *shape[1:])).expand(shape),
    "one number": lambda *shape: numbers(()).expand(shape),
    "transposed": lambda *shape: numbers(shape[::-1]).permute(*reversed(range(len(shape)))),
    "overlapping": lambda *shape: numbers((sum(shape),)).as_strided(shape, (1,) * len(shape)),
    "conjugated": lambda *shape: torch.complex(numbers(shape), numbers(shape)).conj().real,
    "negative": lambda *shape: torch.complex(numbers(shape), numbers(shape)).conj().imag,
    "negative without gaps": lambda *shape: torch._neg_view(numbers(shape)),
    "channels last": lambda *shape: numbers((*shape, 2, 2)).to(memory_format=torch.channels_last),
    "0-d": lambda *shape: _selected(numbers(shape)),
}
LAYOUTS_OF_ONE_SHAPE = [name for name in LAYOUTS if name not in ("channels last", "0-d")]


def plain(x):
    """The same numbers, one after the other in memory of their own."""
    return torch.tensor(x.tolist(), dtype=x.dtype).reshape(x.shape)
