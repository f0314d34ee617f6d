"""Engines for the tests, and a line at the end that says aloud what ran on Julia and what did not."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from found_julia import JULIA, NO_JULIA

from pyseminorm.methods.tableaus import JULIA_METHODS, METHODS
from pyseminorm.torch_internals import dynamo_refuses_side_effects

torch.set_num_threads(1)  # the tensors are small, and other processes may want the other core

ENGINES = ["torch", pytest.param("julia", marks=pytest.mark.julia)]


@pytest.fixture(params=ENGINES)
def engine(request):
    """Every engine in turn, that has the test's method."""
    method = getattr(request.node, "callspec", None) and request.node.callspec.params.get("method")
    if request.param == "julia" and method in METHODS and method not in JULIA_METHODS:
        pytest.skip(f"OrdinaryDiffEq has no {method}")
    return request.param


@pytest.fixture(autouse=True)
def _auto_compiles_no_steps(request, monkeypatch):
    """Where a test does not ask for whole steps by name, "auto" is what it is on a machine without a C++ compiler."""
    if "auto_finds_a_compiler" not in request.fixturenames:
        from pyseminorm.engines import forms

        monkeypatch.setattr(forms, "_finds_compiler", lambda: False)


@pytest.fixture
def auto_finds_a_compiler():
    """Let "auto" be what it is on this machine."""


@pytest.fixture
def ran_steps(monkeypatch):
    """The kinds of whole steps that ran as graphs."""
    from pyseminorm.graphs.step_graphs import StepGraphs

    kinds, run = [], StepGraphs.run

    def record(self, kind, constants, arguments):
        made = run(self, kind, constants, arguments)
        assert made is not None
        kinds.append(type(kind).__name__)
        return made

    monkeypatch.setattr(StepGraphs, "run", record)
    return kinds


@pytest.fixture
def compiled_steps(monkeypatch):
    """The kinds of whole steps that were compiled."""
    from pyseminorm.graphs.step_graphs import StepGraphs

    kinds, compile = [], StepGraphs._compile

    def record(self, kind, arguments):
        kinds.append(type(kind).__name__)
        return compile(self, kind, arguments)

    monkeypatch.setattr(StepGraphs, "_compile", record)
    return kinds


@pytest.fixture(autouse=True)
def _one_generator():
    torch.manual_seed(0)


def _missing_peer(item):
    """The first package of the marks `peer` that is not installed."""
    names = [name for mark in item.iter_markers("peer") for name in mark.args]
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("julia") and JULIA is None:
            item.add_marker(pytest.mark.skip(reason=f"no Julia: {NO_JULIA}"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if item.get_closest_marker("capture") and not dynamo_refuses_side_effects():
            item.add_marker(pytest.mark.skip(reason=f"torch {torch.__version__} cannot capture functions soundly"))
        if missing := _missing_peer(item):
            item.add_marker(pytest.mark.skip(reason=f"{missing} is not installed"))


def pytest_terminal_summary(terminalreporter, config):
    outcomes = {"ran": 0, "skipped": 0}
    for kind in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(kind, []):
            if "julia" in getattr(report, "keywords", {}) and (kind == "skipped" or report.when == "call"):
                outcomes["skipped" if kind == "skipped" else "ran"] += 1
    if JULIA is None:
        terminalreporter.write_line(f"JULIA: {outcomes['skipped']} Julia tests skipped, 0 ran: {NO_JULIA}")
        return
    named = config.stash.get(VERSIONS, "") or _versions()
    terminalreporter.write_line(f"JULIA: {outcomes['ran']} Julia tests ran, {outcomes['skipped']} skipped ({named})")


def _versions():
    """What ran on Julia in this process, by name and version."""
    from pyseminorm.engines.julia.session import runtime

    versions = runtime._runtime.versions if runtime._runtime else {}
    return ", ".join(f"{k} {v}" for k, v in versions.items())


VERSIONS = pytest.StashKey()  # of a process of pytest-xdist, which runs the tests where `-n` is given


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["versions"] = _versions()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    found = getattr(node, "workeroutput", {}).get("versions")
    if found:
        node.config.stash[VERSIONS] = found
