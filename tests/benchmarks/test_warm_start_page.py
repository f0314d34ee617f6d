"""What a warm start saves in trainings: the study, and docs/warm-start.md, which states its record."""

from pathlib import Path

import pytest

pytest.importorskip("aeon", reason="the extra benchmarks is not installed")
study = pytest.importorskip("benchmarks.studies.warm_start")

needs_record = pytest.mark.skipif(not study.RECORD.exists(), reason="the results are in a checkout only")


@needs_record
def test_the_page_has_the_table_of_the_record():
    rows = study.recorded()
    assert study.table(study.savings(rows)) in Path("docs/warm-start.md").read_text()
    assert len({row.pair for row in rows}) == 12 and len(rows) == 12 * 4 * study.SEEDS


def test_savings_are_of_all_seeds_together():
    def rows(name, forward, backward, seconds, qualities):
        return [study.Row("a", name, i, forward, backward, seconds, q) for i, q in enumerate(qualities)]

    cold, warm = rows("stages", 100, 200, 2.0, (1.0, 3.0)), rows("stages-warm", 75, 180, 1.0, (1.5, 2.0))
    (found,) = study.savings([*cold, *warm])
    assert (found.forward, found.backward, found.time) == pytest.approx((0.25, 0.1, 0.5))
    assert found.apart == pytest.approx(0.25)
    assert '| a | `DiscreteAdjoint(keep="stages")` | 25 % | 10 % | 0.50 | 0.2 σ |' in study.table([found])
    assert study.savings([*cold, *rows("stages-warm", 75, 180, 1.0, (1.5, None))]) == []


@pytest.mark.slow
def test_trainings_are_recorded_once(tmp_path, capsys):
    file = tmp_path / "record.json"
    for _ in range(2):
        study.train("latent-ode", quick=True, seeds=1, file=file)
    assert len(study.recorded(file)) == 4 == capsys.readouterr().out.count("latent-ode")
    assert len(study.savings(study.recorded(file))) == 2
