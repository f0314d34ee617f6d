"""Calls of C functions, with those of Python in the place of Julia: arguments, results, errors, what is released."""

import ctypes
import gc

import pytest

from pyseminorm import BackendUnavailableError
from pyseminorm.engines.julia.native.forward import StepsHandle
from pyseminorm.engines.julia.session.c_functions import CFunctions
from pyseminorm.engines.julia.session.layouts import (
    C_FUNCTIONS,
    MOST_RELEASED,
    MOST_TIMES,
    RETCODES,
    STRUCTS,
    TIMES_AT,
    check_layouts,
    declarations,
)

CALLS = {s.__name__.removesuffix("Call").lower(): s for s in STRUCTS if s.__name__.endswith("Call")}


class StandIn:
    """What CFunctions needs of the Julia module; ``run(name, arguments, result, times)`` is what the functions do."""

    def __init__(self, run):
        self.run, self.released = run, []
        self._kept = [self._entry(name) for name in C_FUNCTIONS]

    def _entry(self, name):
        pointers = map(ctypes.POINTER, (CALLS[name], C_FUNCTIONS[name], ctypes.c_int64))

        @ctypes.PYFUNCTYPE(ctypes.c_int, *pointers)
        def entered(arguments, result, released):
            self.released += released[1 : 1 + released[0]]
            released[0] = 0
            times = (ctypes.c_double * MOST_TIMES).from_address(ctypes.addressof(result.contents) + TIMES_AT)
            return self.run(name, arguments.contents, result.contents, times)

        return entered

    def c_functions(self):
        return [ctypes.cast(f, ctypes.c_void_p).value for f in self._kept]

    def raise_again(self):
        raise ArithmeticError("what Julia raised")


def test_arguments_arrive_by_name_and_results_come_back():
    def run(name, arguments, result, times):
        if name == "forward":
            assert (arguments.y0, arguments.load, arguments.vector) == (11, 1, 0)
            result.retcode, result.t, result.naccept, result.times_count = RETCODES.index("MaxIters"), 0.5, 2, 2
            times[0], times[1] = 0.25, 0.5
        elif name == "sweep":
            result.nvjp = arguments.inside
        return 1

    functions = CFunctions(StandIn(run))
    found = functions.call("forward", CALLS["forward"](y0=11, load=True))
    assert (RETCODES[found.retcode], found.t, found.naccept) == ("MaxIters", 0.5, 2)
    assert functions.times(found.times_count) == [0.25, 0.5] and functions.times(MOST_TIMES + 1) is None
    assert functions.call("sweep", CALLS["sweep"](inside=7)).nvjp == 7


def test_what_julia_raises_is_raised():
    functions = CFunctions(StandIn(lambda *_: 0))
    with pytest.raises(ArithmeticError, match="what Julia raised"):
        functions.call("load", CALLS["load"](1))


def test_handles_are_let_go_of_by_the_next_calls():
    julia = StandIn(lambda *_: 1)
    functions = CFunctions(julia)
    handles = [StepsHandle(functions, i, settings=None) for i in range(MOST_RELEASED + 5)]
    functions.call("load", CALLS["load"](1))
    assert julia.released == []
    handles.clear()
    gc.collect()
    functions.call("load", CALLS["load"](1))
    assert len(julia.released) == MOST_RELEASED
    functions.call("load", CALLS["load"](1))
    functions.call("load", CALLS["load"](1))
    assert sorted(julia.released) == list(range(MOST_RELEASED + 5))


def test_a_package_that_belongs_to_another_version_is_refused():
    class Module:
        def declarations(self):
            return declarations().replace("y0 Int64, ys Int64", "ys Int64, y0 Int64")

    with pytest.raises(BackendUnavailableError, match="pyseminorm setup"):
        check_layouts(Module())
    with pytest.raises(BackendUnavailableError, match="pyseminorm setup"):
        check_layouts(object())
    Module.declarations = lambda self: declarations()
    check_layouts(Module())
