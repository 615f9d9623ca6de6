"""Requests about texts, end to end at a size of seconds: presidents' addresses, and people that questions are asked about."""

from __future__ import annotations

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.data.integrity import find, search_path
from clbench.errors import DataError
from clbench.scenarios.scenario_options import DataAccess, make_stream
from clbench.testing import make_spec, run

pytest.importorskip("transformers")


def columns(result, role):
    return [c for c in result["columns"] if c["role"] == role and c["metric"] != "format"]


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_gpt"])
def test_presidents_run(tmp_path, model):
    try:
        find(search_path(None), "sotu", "presidents", "")
        find(search_path(None), "sentiment", "sentiment", "")
    except DataError as error:
        pytest.skip(str(error))
    small = [f"scenario.datasets.{name}.{part}_per_class=2" for name in ("presidents", "movies") for part in ("train", "test")]
    options = [
        "scenario=unlearn_presidents",
        "scenario.n_tasks=1",
        f"model={model}",
        "trainer.iterations=2",
        "scenario.relearn_steps=1",
        *small,
    ]
    result = run(make_spec("naive", options, results_dir=tmp_path)).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", "request", "request", "request"]
    assert len(columns(result, "forget_test")) == len(columns(result, "forget_train")) == 3
    assert [len(columns(result, role)) for role in ("retain", "utility")] == [1, 1]
    assert result["unlearning"]["chance"] == pytest.approx(1 / 16)


def test_people_run(tmp_path):
    people = "scenario.datasets.people_tiny"
    small = [f"{people}.of.people=[18]", f"{people}.n_classes=18", f"{people}.train_per_class=6", f"{people}.test_per_class=2"]
    options = ["scenario=unlearn_biography", "scenario.n_tasks=1", "model=people_tiny", "trainer.iterations=2", *small]
    result = run(make_spec("simnpo", [*options, "scenario.relearn_steps=1"], results_dir=tmp_path)).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", "request", "request", "request"]
    assert len(columns(result, "forget_test")) == len(columns(result, "forget_train")) == 3
    assert len(columns(result, "retain")) == 1
    chance = result["unlearning"]["chance"]
    assert 1 / 18 < chance < 1 / 5
    assert result["diagnostics"][0]["conclusion"]["needed"] == pytest.approx([2 * chance] * 3)
    assert result["diagnostics"][0]["conclusion"]["claim"] is False, "two steps teach nothing"


def test_requests_are_sets_of_people():
    config = new_composer()(["scenario=unlearn_biography", "model=people_tiny"]).config
    stream = make_stream(config["scenario"], DataAccess(0, "none", []))
    assert [task.classes for task in stream.requests] == [tuple(range(5 * i, 5 * i + 5)) for i in range(3)]
    for task in stream.requests:
        assert len(task.train) == 5 * 6 * 4
        (test,) = (c for c in stream.evaluation if c.request == task.index and c.role == "forget_test")
        assert len(test.split) == 5 * 6
        asked, learned = (set(map(tuple, each.raw().tolist())) for each in (test.split, task.train))
        assert not asked & learned
    (retain,) = (c for c in stream.evaluation if c.role == "retain")
    assert set(retain.split.pool.targets[retain.split.rows].tolist()) == set(range(15, 40))
    assert stream.chance == pytest.approx(0.058, abs=0.001)
    assert config["model"]["architecture"]["vocab_size"] == stream.vocabulary
