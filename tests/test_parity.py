"""The embedded engine against recorded results of the real Julia engine, everywhere; the live one, where it is."""

import json
from pathlib import Path

import pytest
from parity_cases import FIXED, cases, run
from thresholds import (
    ILL_CONDITIONED,
    ILL_CONDITIONED_GRADIENTS,
    ILL_CONDITIONED_STEPS,
    PARITY_FLOAT32_STEPS,
    PARITY_FLOAT32_VALUES,
    PARITY_TIMES,
    PARITY_VALUES,
)

RECORDED = json.loads((Path(__file__).parent / "data" / "julia_reference.json").read_text())
CASES = cases()


def spared(settings: dict, name: str) -> int:
    """Evaluations at the end of fixed steps that nothing reads: OrdinaryDiffEq makes them, and they are recorded."""
    if settings["method"] not in FIXED:
        return 0
    return 1 if name == "forward" else settings.get("outputs", 4) - 1  # the end; every jump


def _compare(torch_run: dict, julia_run: dict, settings: dict, case: str) -> None:
    fragile = case == ILL_CONDITIONED
    single = settings.get("dtype") == "float32"
    for name in ("forward", "backward"):
        ours, theirs = torch_run[name], julia_run[name]
        if single:
            attempts = [r["naccept"] + r["nreject"] for r in (ours, theirs)]
            assert abs(attempts[0] - attempts[1]) <= max(
                PARITY_FLOAT32_STEPS * attempts[1], ILL_CONDITIONED_STEPS if fragile else 1
            )
            continue
        assert (ours["naccept"], ours["nreject"]) == (theirs["naccept"], theirs["nreject"]), name
        assert ours["nf"] == theirs["nf"] - spared(settings, name), name
        assert ours["times"] == pytest.approx(theirs["times"], rel=PARITY_TIMES, abs=1e-12), name
    for name in ("y_end", "grad_y0", "grad_params"):
        tolerance = PARITY_VALUES
        if single:
            tolerance = ILL_CONDITIONED_GRADIENTS if fragile and name != "y_end" else PARITY_FLOAT32_VALUES
        size = max(abs(x) for x in julia_run[name])
        assert torch_run[name] == pytest.approx(julia_run[name], rel=tolerance, abs=tolerance * size), name


def test_every_case_is_recorded():
    assert set(RECORDED["cases"]) == set(CASES), "run tests/record_julia.py on a real Julia"
    assert {"julia", "OrdinaryDiffEqTsit5"} <= set(RECORDED["versions"])


@pytest.mark.parametrize("name", CASES)
def test_the_embedded_engine_takes_julias_recorded_steps(name):
    _compare(run(CASES[name], "torch"), RECORDED["cases"][name], CASES[name], name)


@pytest.mark.julia
@pytest.mark.parametrize("name", CASES)
def test_julia_still_takes_its_recorded_steps(name):
    live, recorded = run(CASES[name], "julia"), RECORDED["cases"][name]
    single = CASES[name].get("dtype") == "float32"  # its steps follow rounding, which differs between processors
    for part in ("forward", "backward"):
        for count in ("nf", "naccept", "nreject"):
            allowed = max(PARITY_FLOAT32_STEPS * recorded[part][count], 7 if count == "nf" else 1) if single else 0
            expected = recorded[part][count] - (spared(CASES[name], part) if count == "nf" else 0)
            assert abs(live[part][count] - expected) <= allowed, (part, count)
