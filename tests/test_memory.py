"""Addresses for Julia: of numbers that lie one after the other, and of nothing else. Solves: test_strides.py."""

import ctypes
from pathlib import Path

import pytest
import torch
from layouts import LAYOUTS, LAYOUTS_OF_ONE_SHAPE, numbers, plain

import pyseminorm
from pyseminorm import InvalidInputError
from pyseminorm.engines.julia.session.memory import (
    Memory,
    address,
    addresses,
    consecutive,
    doubles,
    integers,
    make_room,
)

D = torch.float64
AS_THEY_ARE = ("offset",)


def read(at, count):
    """The numbers that Julia would find."""
    return list((ctypes.c_double * count).from_address(at))


@pytest.mark.parametrize("layout", LAYOUTS_OF_ONE_SHAPE)
def test_every_layout_is_read_in_order_or_refused(layout):
    x = LAYOUTS[layout](4, 2)
    if layout in AS_THEY_ARE:
        assert consecutive(x) is x
    else:
        with pytest.raises(InvalidInputError, match="one after the other"):
            address(x, D)
    made = consecutive(x)
    assert read(address(made, D), 8) == x.flatten().tolist() == plain(x).flatten().tolist()


def test_a_number_and_nothing():
    x = LAYOUTS["0-d"]()
    assert read(address(x, D), 1) == [x.item()]
    for nothing in (torch.empty(0, dtype=D), torch.empty(3, 0, dtype=D), numbers((3, 2))[:, :0]):
        assert isinstance(address(consecutive(nothing), D), int)


REFUSED = {
    "another dtype": lambda: numbers((3,)).float(),
    "a complex one": lambda: torch.complex(numbers((3,)), numbers((3,))),
    "a sparse one": lambda: numbers((3, 3)).to_sparse(),
    "one in rows": lambda: numbers((3, 3)).to_sparse_csr(),
    "one without memory": lambda: torch.empty(3, dtype=D, device="meta"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_what_has_no_such_numbers_is_refused_by_name(kind):
    x = REFUSED[kind]()
    with pytest.raises(InvalidInputError, match=r"cannot be handed to Julia: it is torch\.\w+, torch\.\w+, on"):
        address(x, D)


def test_parameters_are_read_where_they_are():
    p = torch.nn.Parameter(numbers((3,)))
    assert addresses([p, p], D) == [p.data_ptr()] * 2


def test_room_has_no_gaps_whatever_it_is_like():
    made, at = make_room([LAYOUTS[name](4, 2) for name in LAYOUTS_OF_ONE_SHAPE])
    assert at == addresses(made, D) and all(x.shape == (4, 2) for x in made)


def test_kept_numbers_outlive_what_they_were_made_of():
    kept = Memory(numbers((3, 4)).t())
    assert read(kept.address, 12) == numbers((3, 4)).t().flatten().tolist() and kept.count == 12
    assert read(doubles((1.5, 2.5)).address, 2) == [1.5, 2.5] and doubles((1.5, 2.5)) is doubles((1.5, 2.5))
    whole = integers((3, -4))
    assert list((ctypes.c_int64 * 2).from_address(whole.address)) == [3, -4]


def test_no_other_file_asks_for_an_address():
    package = Path(pyseminorm.__file__).parent
    asking = [p.name for p in package.rglob("*.py") if ".data_ptr" in p.read_text() or ".ctypes.data" in p.read_text()]
    assert asking == ["memory.py"]
