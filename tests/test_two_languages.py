"""What is written in Python and in Julia is the same, by the text of the sources: no Julia is needed."""

import re
from ctypes import c_double, c_int, c_int64, c_size_t
from pathlib import Path

import pytest

from pyseminorm.engines.julia import engine as julia_engine
from pyseminorm.engines.julia.calls import parameter_sums, settings
from pyseminorm.engines.julia.session import layouts
from pyseminorm.engines.julia.session.profiling_clock import Place
from pyseminorm.engines.torch import gauss_nodes
from pyseminorm.graphs.lowering.writer import PRODUCTS
from pyseminorm.methods.tableaus import JULIA_METHODS, TABLEAUS
from pyseminorm.passes import gauss_quadrature, gradient_error

JULIA = Path(__file__).parents[1] / "julia"


def source(name):
    """A Julia file without its comments and docstrings."""
    text = re.sub(r'""".*?"""', "", (JULIA / name).read_text(), flags=re.DOTALL)
    return re.sub(r"\s*#.*", "", re.sub(r'^".*"$', "", text, flags=re.MULTILINE))


def names(text):
    """The symbols or strings of a Julia tuple."""
    return [a or b for a, b in re.findall(r':(\w+)|"(\w+)"', text)]


LAYOUTS = source("src/python/layouts.jl")


def constant(name, text=LAYOUTS):
    found = re.search(rf"^const {name} = (.*)$", text, re.MULTILINE)
    assert found, name
    return found[1]


@pytest.mark.parametrize("struct", layouts.STRUCTS, ids=lambda s: s.__name__)
def test_structs_have_the_same_fields_in_the_same_order(struct):
    body = re.search(rf"^struct {struct.__name__}\n(.*?)^end", LAYOUTS, re.MULTILINE | re.DOTALL)[1]
    kinds = {"Int64": c_int64, "Float64": c_double}
    assert [(name, kinds[kind]) for name, kind in re.findall(r"(\w+)::(\w+)", body)] == struct._fields_


def test_no_struct_is_missing():
    assert re.findall(r"^struct (\w+)", LAYOUTS, re.MULTILINE) == [s.__name__ for s in layouts.STRUCTS]


def test_c_functions_return_codes_and_sizes():
    assert names(constant("C_FUNCTIONS")) == list(layouts.C_FUNCTIONS)
    assert ["", *names(constant("RETCODES"))] == list(layouts.RETCODES)
    sizes = [int(constant(name)) for name in ("TIMES_AT", "MOST_TIMES", "MOST_RELEASED")]
    assert sizes == [layouts.TIMES_AT, layouts.MOST_TIMES, layouts.MOST_RELEASED]


def test_c_functions_take_the_structs_that_they_are_called_with():
    table = re.findall(r"\(:(\w+), :(\w+), :(\w+)\)", source("src/python/c_functions.jl"))
    assert [name for name, _, _ in table] == list(layouts.C_FUNCTIONS)
    for name, call, result in table:
        assert call == f"{name.capitalize()}Call" and result == layouts.C_FUNCTIONS[name].__name__


def test_callbacks_have_the_same_signatures():
    kinds = {"Cint": c_int, "Cdouble": c_double, "UInt": c_size_t, "Int64": c_int64}
    calls = re.findall(r"^call_(\w+)\(.*ccall\(f, (\w+), \(([^)]*)\)", source("src/python/callbacks.jl"), re.MULTILINE)
    found = {name: (kinds[result], *(kinds[x] for x in re.findall(r"\w+", given))) for name, result, given in calls}
    assert found == layouts.CALLBACKS


def test_return_codes_that_a_solve_can_end_with_are_known():
    from pyseminorm import ReturnCode

    inside = {"", "CallbackFailure", "Interrupted"}  # these become exceptions, or a Failure
    assert {code for code in layouts.RETCODES if code not in inside} < set(ReturnCode.__members__)


def test_methods_have_the_same_names_and_the_same_are_of_fixed_steps():
    text = source("src/solver/algorithms.jl")
    methods = re.findall(r'^    "(\w+)" => dense ->', text, re.MULTILINE)
    assert methods == list(JULIA_METHODS)
    assert names(constant("FIXED_STEP", text)) == [n for n in JULIA_METHODS if not TABLEAUS[n].adaptive]


def test_functions_of_lowered_code_have_the_same_names():
    text = source("src/native/lowered.jl") + source("src/native/sweep.jl")
    read = {name + "!" for name in re.findall(r":((?:hoist|primal|vjp)\w*)!", text)}
    assert read == {"hoist!", "primal!", *PRODUCTS}


def test_element_types_adjoints_choices_and_places():
    assert dict(re.findall(r'"(\w+)" => (\w+)', constant("ELTYPES", source("src/python/memory.jl")))) == {
        name: name for name in settings.ELTYPES.values()
    }
    from pyseminorm.engines.julia import sciml_sensitivity

    extension = source("ext/PySeminormSciMLSensitivityExt.jl")
    assert re.findall(r'^    "(\w+)" => \(rtol', extension, re.MULTILINE) == list(sciml_sensitivity.ADJOINTS)
    text = (JULIA / "src" / "profile" / "profile.jl").read_text()
    assert [p.name.lower() for p in Place] == names(constant("PLACES", text)), "see Place"


def number(text):
    """A Julia number, or a power."""
    base, _, exponent = text.partition("^")
    return float(base) ** float(exponent or 1)


def test_a_quadrature_is_refined_by_the_same_constants():
    refinement = source("src/solver/gauss_refinement.jl")
    found = [number(constant(name, refinement)) for name in ("FINEST", "CLEAR")]
    assert found == [gauss_nodes.FINEST, gauss_nodes.CLEAR]
    nodes = source("src/solver/gauss_nodes.jl")
    for name in ("ERROR_GROWTH", "HARMLESS", "OF_THE_RULE", "LONGER"):
        assert number(constant(name, nodes)) == getattr(gauss_quadrature, name)
    assert constant("LOOKED_SIZE", nodes) == "typemin(Cint)" and julia_engine.LOOKED_SIZE == -(2**31)


def test_control_keeps_the_same_share_of_the_step_before():
    assert float(constant("KEPT", source("src/stages/parameter_integral.jl"))) == gradient_error.KEPT


def test_sums_that_python_keeps_are_asked_by_the_same_numbers():
    found = re.search(r"^const ([A-Z, ]+) = ([\d, ]+)$", source("src/stages/parameter_sums.jl"), re.MULTILINE)
    asked = {name: int(i) for name, i in zip(found[1].split(", "), found[2].split(", "), strict=True)}
    names = {"share": "RATIO"}
    assert asked == {names.get(name, name.strip("_").upper()): i for i, name in enumerate(parameter_sums.METHODS)}
