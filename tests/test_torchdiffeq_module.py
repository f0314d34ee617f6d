"""pyseminorm.torchdiffeq as a module: its names, and install() in the place of torchdiffeq."""

import subprocess
import sys

import pytest
import torch

import pyseminorm.torchdiffeq
from pyseminorm import InvalidInputError, UnsupportedError
from pyseminorm.torchdiffeq._impl.odeint import SOLVERS

PUBLIC = {"odeint", "odeint_adjoint", "odeint_dense", "odeint_event"}


def test_the_public_names_are_torchdiffeqs():
    assert set(pyseminorm.torchdiffeq.__all__) == PUBLIC
    assert pyseminorm.torchdiffeq.__version__ == "0.2.5"
    for name in PUBLIC:
        assert getattr(pyseminorm, name) is getattr(pyseminorm.torchdiffeq, name)


@pytest.mark.peer("torchdiffeq")
def test_the_public_names_are_those_of_the_installed_torchdiffeq():
    import torchdiffeq

    assert {name for name in vars(torchdiffeq) if not name.startswith("_")} >= PUBLIC
    assert torchdiffeq.__version__ == pyseminorm.torchdiffeq.__version__
    assert set(torchdiffeq._impl.misc._all_callback_names) == {
        "callback_step",
        "callback_accept_step",
        "callback_reject_step",
    }


SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
before = None
if {early!r}:
    import torchdiffeq as before
import pyseminorm.torchdiffeq
pyseminorm.torchdiffeq.install()
pyseminorm.torchdiffeq.install()
import torchdiffeq, torchdiffeq._impl.misc
from torchdiffeq import odeint_adjoint as odeint
from torchdiffeq._impl.adjoint import find_parameters
from torchdiffeq._impl.odeint import SOLVERS
assert torchdiffeq is pyseminorm.torchdiffeq and odeint is pyseminorm.odeint_adjoint
assert torchdiffeq._impl.misc._rms_norm.__module__ == "pyseminorm.torchdiffeq._impl.misc"
assert "dopri5" in SOLVERS
try:
    from torchdiffeq._impl.solvers import FixedGridODESolver
except ModuleNotFoundError as error:
    assert "torchdiffeq._impl.solvers" in str(error) and "uninstall()" in str(error) and "pyseminorm" in str(error)
else:
    raise AssertionError("a module that is not here was found")
finders = len(sys.meta_path)
pyseminorm.torchdiffeq.uninstall()
assert len(sys.meta_path) == finders - 1
pyseminorm.torchdiffeq.uninstall()
names = [name for name in sys.modules if name.partition(".")[0] == "torchdiffeq"]
if before is None:
    assert names == []
else:
    assert sys.modules["torchdiffeq"] is before and "torchdiffeq._impl.dopri5" in names
"""


@pytest.mark.parametrize("early", [False, pytest.param(True, marks=pytest.mark.peer("torchdiffeq"))])
def test_install_registers_the_module_and_uninstall_restores_what_was_there(early):
    script = SCRIPT.format(early=early)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "torchdiffeq is pyseminorm.torchdiffeq" in line]
    assert len(said) == 1 and ("keeps it" in said[0]) == early


@pytest.mark.parametrize("base", ["rk4", None], ids=["of ours", "of another package"])
def test_a_solver_of_users_own_is_refused_by_name(base, monkeypatch):
    own = type("ClampedSteps", (SOLVERS[base] if base else object,), {"__module__": "users"})
    monkeypatch.setitem(SOLVERS, "clamped", own)
    with pytest.raises(UnsupportedError, match=r'"clamped" is ClampedSteps.*solver of your own'):
        pyseminorm.torchdiffeq.odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]), method="clamped")
    with pytest.raises(UnsupportedError, match=r"RK4 only names a method"):
        SOLVERS["rk4"](func=lambda t, y: -y, y0=torch.ones(2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "return.*missing"),
        ((torch.ones(2),), "a tuple of 1"),
        (list(torch.ones(2, requires_grad=True)), "a list of 2"),  # of which torch makes a tensor without their graphs
        (torch.ones(3), r"shape \(3,\).*expected \(2,\)"),
    ],
    ids=["none", "tuple", "list", "shape"],
)
@pytest.mark.parametrize("solve", [pyseminorm.odeint, pyseminorm.odeint_adjoint])
def test_a_result_that_cannot_be_made_like_the_state_is_refused_by_name(value, said, solve):
    params = {"adjoint_params": ()} if solve is pyseminorm.odeint_adjoint else {}
    with pytest.raises(InvalidInputError, match=said):
        solve(lambda t, y: value, torch.ones(2), torch.tensor([0.0, 1.0]), **params)
