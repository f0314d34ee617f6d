"""pyseminorm.torchdiffeq as a module: its names, and install() in the place of torchdiffeq."""

import subprocess
import sys

import pytest

import pyseminorm.torchdiffeq

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
pyseminorm.torchdiffeq.uninstall()
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
