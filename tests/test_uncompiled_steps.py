"""Steps that are not compiled, some or all: the same as stage by stage, and as those that are."""

import logging

import pytest
import torch
from whole_steps import ADJOINTS, FIELD, NEEDS_A_COMPILER, Field, check_equal, solve

import pyseminorm
from pyseminorm import BacksolveAdjoint, DiscreteAdjoint
from pyseminorm.engines import forms
from pyseminorm.graphs import step_graphs as steps_module
from pyseminorm.passes import embedded_errors

pytestmark = NEEDS_A_COMPILER


def test_a_compiler_that_fails_leaves_the_graph(caplog, monkeypatch):
    def failing(function, examples):
        raise RuntimeError("no C++ compiler")

    caplog.set_level(logging.INFO, logger="pyseminorm")
    monkeypatch.setattr(steps_module, "compile_graph", failing)
    field = Field()
    for _ in range(2):
        check_equal(field, DiscreteAdjoint())
    assert caplog.text.count("could not be compiled") == 3  # a beginning, a forward and a reverse step, each tried once
    assert "no C++ compiler" in caplog.text
    for name in ("backsolve", "backsolve, mu controlled", "interpolating"):
        solution = check_equal(field, ADJOINTS[name])
        assert solution.stats.backward.param_error is not None


@pytest.mark.parametrize("kept_whole", [2**14, 0])
@pytest.mark.parametrize("name", ["backsolve", "backsolve, mu controlled"])
def test_steps_of_both_kinds_add_up(monkeypatch, kept_whole, name):
    """Where some are compiled and others are not, with and without all parameters' embedded errors."""
    monkeypatch.setattr(embedded_errors, "KEPT_WHOLE", kept_whole)
    run, seen = steps_module.StepGraphs.run, []

    def failing(self, kind, constants, arguments):
        seen.append(type(kind).__name__ == "Backward")
        return None if seen[-1] and sum(seen) % 3 else run(self, kind, constants, arguments)

    monkeypatch.setattr(steps_module.StepGraphs, "run", failing)
    check_equal(FIELD, ADJOINTS[name])
    assert sum(seen) > 3


def test_a_sweep_that_is_made_again_reports_every_step_once(monkeypatch):
    run = steps_module.StepGraphs.run

    def failing(self, kind, constants, arguments):  # the sweep's second step, say for want of memory to compile
        reverse = type(kind).__name__ == "Reverse"
        seen.append(reverse)
        return None if reverse and sum(seen) == 2 else run(self, kind, constants, arguments)

    seen, told = [], {}
    for compile in ("trace", "inductor"):
        seen.clear()
        ends = told[compile] = []
        callbacks = pyseminorm.StepCallbacks(accept_step_adjoint=lambda t, state, dt, ends=ends: ends.append(t))
        if compile == "inductor":
            monkeypatch.setattr(steps_module.StepGraphs, "run", failing)
        solve(FIELD, compile, DiscreteAdjoint(), callbacks=callbacks)
    assert told["inductor"] == pytest.approx(told["trace"])


def test_large_models_are_solved_stage_by_stage(ran_steps, monkeypatch):
    monkeypatch.setattr(forms, "MOST_PARAMETERS", 6)
    check_equal(Field(), DiscreteAdjoint())
    assert not ran_steps


def test_another_controllers_steps_are_made_stage_by_stage(ran_steps):
    """Whose error estimate and dense output are others."""
    for adjoint in (DiscreteAdjoint(), BacksolveAdjoint()):
        check_equal(FIELD, adjoint, method="dopri5", controller="torchdiffeq")
    assert not ran_steps


@pytest.mark.slow
def test_auto_makes_whole_steps_where_there_is_a_compiler(compiled_steps, auto_finds_a_compiler):
    solve(Field(), "auto", DiscreteAdjoint())
    assert set(compiled_steps) == {"Begin", "Forward", "Reverse"}


def test_auto_takes_the_graphs_where_there_is_none(compiled_steps):
    solve(Field(), "auto", DiscreteAdjoint())
    assert not compiled_steps


def test_a_step_that_could_not_be_compiled_keeps_nothing_of_the_one_before(monkeypatch):
    """The step after a jump is made stage by stage where only the others were compiled."""

    class Switched(Field):
        def forward(self, t, y):
            return super().forward(t, y) + torch.where(t < 0.5, 0.01, -0.01)

    compile = steps_module.StepGraphs._compile

    def refuse_some(self, kind, arguments):
        return None if getattr(kind, "renews", False) else compile(self, kind, arguments)

    monkeypatch.setattr(steps_module.StepGraphs, "_compile", refuse_some)
    solution = check_equal(Switched(), DiscreteAdjoint(keep="stages"), discontinuities=[0.5], rtol=1e-4, atol=1e-6)
    assert solution.stats.forward.nreject == 0  # so that this very step is one of those kept
