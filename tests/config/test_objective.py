"""What jobs return to a sweeper of Hydra."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.config.objective import check_objective, refuse_tuning_on_test
from clbench.errors import ConfigError
from clbench.metrics.matrix import METRICS, summary
from clbench.records import read
from clbench.runner.sweep import run_jobs
from tests.leaderboard.factory import record


def test_every_metric_is_an_objective() -> None:
    assert tuple(summary(record().result)) == METRICS
    assert [check_objective(f"test.{name}") for name in METRICS] == [f"test.{name}" for name in METRICS]


@pytest.mark.parametrize("value", ["accuracy", "test.accc", "valid.acc", 3, None, ["acc"]])
def test_another_objective_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="unknown objective=") as error:
        check_objective(value)
    assert "choose one of acc" in error.value.remedy


@pytest.mark.parametrize(
    ("objective", "measured", "sweeper", "refused"),
    [
        ("acc", "test", "optuna", True),
        ("forgetting", "test", "nevergrad", True),
        ("test.acc", "test", "optuna", False),
        ("acc", "valid", "optuna", False),
        ("acc", "both", "optuna", False),
        ("acc", "test", "clbench", False),
        ("acc", "test", "basic", False),
    ],
)
def test_a_sweeper_that_chooses_does_not_see_the_test_stream(objective: str, measured: str, sweeper: str, refused: bool) -> None:
    if not refused:
        refuse_tuning_on_test(objective, measured, sweeper)
        return
    with pytest.raises(ConfigError, match=f"hydra/sweeper={sweeper} chooses values") as error:
        refuse_tuning_on_test(objective, measured, sweeper)
    assert f"objective=test.{objective}" in error.value.remedy


def test_a_job_returns_the_mean_over_its_seeds(tmp_path: Path) -> None:
    composer = new_composer()

    def job(*words: str) -> object:
        common = [
            "scenario=split_digits",
            "scenario.valid_fraction=0.2",
            "trainer.epochs=1",
            "seeds=2",
            f"results_dir={tmp_path}",
        ]
        return make_job(composer([*common, "eval.split=both", "logger=none", *words]), composer)

    for words, split, name in (
        ([], "valid", "acc"),
        (["objective=forgetting"], "valid", "forgetting"),
        (["objective=test.acc"], "test", "acc"),
    ):
        made = job(*words)
        found = run_jobs([made], workers=0, progress=False, report=False)  # type: ignore[list-item]
        results = [read(spec.record_file).result for spec in made.specs()]  # type: ignore[attr-defined]
        wanted = [summary(result, split)[name] for result in results]
        assert found.objective(made) == pytest.approx(sum(wanted) / 2)  # type: ignore[arg-type]
    undefined = job("objective=stability_gap")
    found = run_jobs([undefined], workers=0, progress=False, report=False)  # type: ignore[list-item]
    assert math.isnan(found.objective(undefined))  # type: ignore[arg-type]
