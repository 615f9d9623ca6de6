"""Requests about texts of one's own folders, end to end on small files in the layout of the public sets."""

from __future__ import annotations

import json

import pytest
import torch

from clbench.engine.evaluation.text_metrics import Asked
from clbench.errors import ConfigError, DataError
from clbench.methods.naive import Naive
from clbench.methods.random_targets import with_random_targets
from clbench.runs.run import assemble
from clbench.testing import check_scenario, make_spec, run
from tests.data.question_files import write_beside, write_clinc, write_scienceqa, write_tofu
from tests.data.test_conf import node
from tests.data.text_files import DOMAINS, write_sentiment
from tests.riddles import writer_for

pytest.importorskip("transformers")

SHORT = ["trainer.iterations=2", "scenario.relearn_steps=1"]


def clinc(root):
    write_clinc(root, node("clinc")["domains"], train=2, test=1)
    words = [(f"{i}_0", 2 if i % 2 else -2, f"{'good' if i % 2 else 'bad'} film {i}") for i in range(40)]
    sums = write_sentiment(root, dict.fromkeys(DOMAINS, words))
    spelled = ",".join(f"{name}:'{total}'" for name, total in sums.items())
    return ["scenario=unlearn_clinc", "scenario.n_tasks=1", f"data.root={root}", f"scenario.datasets.movies.files={{{spelled}}}"]


def scienceqa(root):
    write_scienceqa(root)
    write_beside(root)
    sets = ("scienceqa", "commonsenseqa", "openbookqa")
    short = [f"scenario.datasets.{name}.template={json.dumps('{text} ')}" for name in sets]
    return ["scenario=unlearn_scienceqa", "scenario.n_tasks=1", "model=tiny_gpt", f"data.root={root}", *short]


def tofu(root, authors=200, each=20, *more):
    write_tofu(root, authors, each)
    fewer = [f"scenario.datasets.tofu.{part}_per_class=1" for part in ("train", "test")]
    return ["scenario=unlearn_tofu", "scenario.n_tasks=1", "model=tiny_gpt", f"data.root={root}", *fewer, *more]


def stream(options, method="naive"):
    return assemble(make_spec(method, options), torch.device("cpu"))[0]


def columns(result, role):
    return [c for c in result["columns"] if c["role"] == role and c["metric"] != "format"]


def asked(made):
    return [(task.name, set(task.classes)) for task in made.requests]


def test_intents_are_forgotten_by_domain(tmp_path):
    made = stream([*clinc(tmp_path), "model=tiny_bert"])
    assert made.head_sizes == (152,)
    travel = set(range(75, 90))
    assert asked(made) == [
        ("request 0: travel", travel),
        ("request 1: work", set(range(105, 120))),
        ("request 2: banking", set(range(15))),
    ]
    held = next(c for c in made.evaluation if c.role == "forget_test")
    assert set(held.split.pool.targets[held.split.rows].tolist()) == travel
    written = stream([*clinc(tmp_path / "written"), "model=tiny_gpt"])
    assert len(written.tasks[0].train.pool.answers) == 152
    assert asked(written) == asked(made)
    numbered = stream([*clinc(tmp_path / "again"), "model=tiny_bert", f"scenario.requests=[{{classes: {sorted(travel)}}}]"])
    assert numbered.requests[0].train.rows.tolist() == made.requests[0].train.rows.tolist()


@pytest.mark.parametrize("request_", ["{named: [sport]}", "{named: []}", "{named: travel}", "{named: [work], classes: [3]}"])
def test_names_that_cannot_be_used(tmp_path, request_):
    with pytest.raises(ConfigError, match="no name 'sport'" if "sport" in request_ else "named is a list of names"):
        stream([*clinc(tmp_path), "model=tiny_bert", f"scenario.requests=[{request_}]"])


def test_clinc_runs(tmp_path):
    result = run(make_spec("naive", [*clinc(tmp_path), "model=tiny_bert", *SHORT], results_dir=tmp_path / "runs")).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", "request", "request", "request"]
    assert len(columns(result, "forget_test")) == len(columns(result, "forget_train")) == 3
    assert [c["name"] for c in columns(result, "utility")] == ["utility: movies"]
    assert result["unlearning"]["chance"] == pytest.approx(1 / 152)


def test_topics_are_forgotten_and_choices_are_scored(tmp_path):
    made = stream(scienceqa(tmp_path))
    assert asked(made) == [
        ("request 0: biology", {0}),
        ("request 1: physics", {5}),
        ("request 2: chemistry", {1}),
        ("request 3: economics", {2}),
    ]
    pool = made.tasks[0].train.pool
    assert len(pool.answers) == 15, "five letters of each of three data sets"
    assert len(torch.unique(pool.answers, dim=0)) == 5
    rows = torch.arange(len(pool))
    written = [(~row[row < 0]).tolist() for row in pool.inputs]
    assert [row[row >= 0].tolist() for row in pool.answers[pool.right_answers[rows]]] == written
    assert pool.targets.tolist() == [
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
        2,
        3,
        3,
        3,
        3,
        4,
        4,
        4,
        4,
        5,
        5,
        5,
        5,
        6,
        6,
        6,
        6,
        7,
        7,
        7,
        7,
    ]
    assert [(c.name, c.metric) for c in made.evaluation if c.role == "utility"] == [
        ("utility: commonsenseqa", "exact_match"),
        ("utility: openbookqa", "exact_match"),
    ]
    assert [c.metric for c in made.evaluation if c.request == 1] == ["exact_match", "exact_match", "format", "format"]


@pytest.mark.parametrize("metric", ["exact_match", "label_words"])
@pytest.mark.parametrize("method", ["ga", "simnpo"])
def test_scienceqa_runs(tmp_path, method, metric):
    options = [*scienceqa(tmp_path), *SHORT, f"scenario.metric={metric}"]
    result = run(make_spec(method, options, results_dir=tmp_path / "runs")).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", *["request"] * 4]
    assert len(columns(result, "forget_test")) == len(columns(result, "forget_train")) == 4
    assert [len(columns(result, role)) for role in ("retain", "utility")] == [1, 2]
    assert all(0 <= entry[0] <= entry[1] for row in result["matrix"] for entry in row)


def test_what_is_right_is_the_letter_and_not_the_topic(tmp_path):
    made = stream(scienceqa(tmp_path))
    asked_of = Asked(writer_for(made), Naive(), next(c for c in made.evaluation if c.role == "retain"), 100)
    ((rows, right),) = asked_of.batches()
    assert len(rows) == 4
    for row, number in zip(rows, right, strict=True):
        word = asked_of.pool.answers[number]
        assert (~row[row < 0]).tolist() == word[word >= 0].tolist()
    assert len(asked_of.choices) == 2, "the letters that are right somewhere"


def test_another_letter_is_a_wrong_answer(tmp_path):
    made = stream(scienceqa(tmp_path))
    split = made.requests[0].train
    changed = with_random_targets(split, writer_for(made), made.requests[0], "other")
    right = split.pool.answers[split.pool.right_answers[split.rows]]
    for row, answer in zip(changed.pool.inputs, right, strict=True):
        assert (~row[row < 0]).tolist() != answer[answer >= 0].tolist()
        assert (~row[row < 0]).tolist() in [word[word >= 0].tolist() for word in split.pool.answers]
    assert changed.pool.answer_of.tolist() == split.pool.answer_of[split.rows].tolist()


def test_authors_are_forgotten_two_at_a_time(tmp_path):
    made = stream(tofu(tmp_path))
    assert [classes for _, classes in asked(made)] == [{198, 199}, {196, 197}, {194, 195}]
    assert made.setting == "domain"
    assert made.tasks[0].train.pool.answers is None
    assert {c.metric for c in made.evaluation} == {"rouge_l"}
    assert [c.name for c in made.evaluation if c.role == "utility"] == ["utility: real_authors", "utility: world_facts"]


@pytest.mark.parametrize(("method", "metric"), [("naive", "rouge_l"), ("simnpo", "exact_match")])
def test_tofu_runs(tmp_path, method, metric):
    if metric == "rouge_l":
        pytest.importorskip("rouge_score")
    few = ["scenario.datasets.tofu.n_classes=6", "scenario.requests=[{classes: [4, 5]}, {classes: [3]}, {classes: [2]}]"]
    options = [*tofu(tmp_path, 6, 20, *few), *SHORT, f"scenario.metric={metric}"]
    result = run(make_spec(method, options, results_dir=tmp_path / "runs")).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", "request", "request", "request"]
    assert {c["metric"] for c in result["columns"]} == {metric}
    assert result["unlearning"]["chance"] is None


@pytest.mark.parametrize(
    ("scenario", "missing"),
    [("unlearn_clinc", "CLINC150/data_full.json"), ("unlearn_scienceqa", "problems.json"), ("unlearn_tofu", "TOFU/full.json")],
)
def test_what_has_to_be_there_is_said(tmp_path, scenario, missing):
    with pytest.raises(DataError) as caught:
        stream([f"scenario={scenario}", "model=tiny_gpt", f"data.root={tmp_path}"])
    assert missing in caught.value.remedy


def test_streams_keep_what_the_suite_promises(tmp_path):
    check_scenario("unlearn_scienceqa", scienceqa(tmp_path)[1:])
    check_scenario("unlearn_tofu", tofu(tmp_path)[1:])
