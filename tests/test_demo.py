"""`pyseminorm demo`: real data, both norms, a table and a plot."""

import pytest

pytest.importorskip("aeon", reason="the extra demo is not installed")

import torch
from typer.testing import CliRunner

from pyseminorm.cli import app
from pyseminorm.demo.data import load

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(("name", "sizes"), [("basic-motions", (40, 7, 100, 4)), ("japanese-vowels", (270, 13, 29, 9))])
def test_the_data_is_real_and_standardised(name, sizes):
    train, test, classes = load(name)
    assert (*train.series.shape, classes) == sizes
    assert train.series.shape[1:] == test.series.shape[1:] and len(set(train.labels.tolist())) == classes
    assert torch.isfinite(train.series).all() and abs(train.series[:, 1:].mean().item()) < 1e-3
    assert (train.series[:, 0].diff() > 0).all()  # the first channel is time


@pytest.mark.slow
def test_the_demo_runs_and_shows_what_is_saved(engine, tmp_path):
    plot = tmp_path / "plot.png"
    done = CliRunner().invoke(app, ["demo", "--epochs", "1", "--backend", engine, "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    assert f'engine "{engine}"' in done.output and "seminorm" in done.output and "%" in done.output
    assert plot.stat().st_size > 10_000
