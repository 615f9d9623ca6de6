"""The biography stream: who is asked about when, and that recovery says nothing about what it is measured on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clbench.config.hydra_compose import new_composer
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.biography import RECOVERY, people_of
from clbench.scenarios.scenario_options import DataAccess, make_stream


def stream(*overrides, **change):
    config = new_composer()(["scenario=biography_tiny", "model=biography_tiny", *overrides]).config
    return make_stream(config["scenario"] | change, DataAccess(0, "none", []))


def people(split):
    return set(people_of(split).tolist())


@pytest.mark.parametrize("familiar", [1, 3])
def test_groups_are_disjoint_and_familiar_ones_are_tested_on_people_not_asked_about(familiar):
    made = stream("scenario.n_tasks=3", f"scenario.dataset.familiar={familiar}")
    groups = [set(range(160)), set(range(160, 192)), set(range(192, 224))]
    for index, group in enumerate(groups):
        learned, tested = people(made.tasks[index].train), people(made.evaluation[index].split)
        assert learned | tested == group
        if index < familiar:
            assert not learned & tested
            assert len(learned) == len(group) // 2
        else:
            assert learned == tested == group
            assert "memorised" in made.evaluation[index].name


def test_recovery_learns_group_0s_first_half_and_its_other_half_is_column_0():
    made = stream()
    assert [task.name for task in made.tasks] == ["group 0", "group 1", RECOVERY]
    assert people(made.tasks[-1].train) == people(made.tasks[0].train)
    assert not people(made.tasks[-1].train) & people(made.evaluation[0].split)
    assert not people(made.tasks[1].train) & people(made.evaluation[0].split)
    assert made.tasks[-1].iterations == 30
    assert made.tasks[0].iterations is None
    without = stream("scenario.recovery=false")
    assert [task.name for task in without.tasks] == ["group 0", "group 1"]
    assert without.fingerprint != made.fingerprint != stream("scenario.recovery_iterations=31").fingerprint


def test_columns_are_the_tasks_in_order_and_one_more_has_the_first_token():
    made = stream()
    assert [column.role for column in made.evaluation] == ["task", "task", "task", "utility"]
    assert [column.metric for column in made.evaluation] == ["exact_match"] * 3 + ["first_token"]
    assert torch.equal(made.evaluation[-1].split.rows, made.evaluation[0].split.rows)
    assert made.vocabulary == made.head_sizes[0]
    first = made.evaluation[0].split.raw()[0]
    text = made.decode([int(token) if token >= 0 else ~int(token) for token in first])
    assert text.startswith("What is the date of birth of ")
    assert "Answer: " in text


def test_validation_comes_out_of_what_task_0_learns():
    made, whole = stream("scenario.valid_fraction=0.25"), stream()
    task = made.tasks[0]
    assert len(task.valid) == 120
    assert len(task.train) == 360
    assert set(task.train.rows.tolist()) | set(task.valid.rows.tolist()) == set(whole.tasks[0].train.rows.tolist())
    assert made.tasks[1].valid is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"setting": "class"}, RefusedError, "setting=class"),
        ({"form": "classes"}, ConfigError, "model=biography_tiny"),
        ({"n_tasks": 7}, ConfigError, "n_tasks=7"),
        ({"recovery_iterations": 0}, ConfigError, "recovery_iterations=0"),
        ({"claim_at": 80}, ConfigError, "claim_at=80"),
        ({"metric": "loss"}, ConfigError, "metric='loss'"),
    ],
)
def test_what_cannot_be_used_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        stream(**change)


def test_the_papers_size_composes_without_making_anything():
    """In a process of its own, which must not even import torch for it."""
    code = (
        "import sys, json; from clbench.config.hydra_compose import new_composer; from clbench.config.resolve import data_digest;"
        "c = new_composer()(['scenario=biography', 'model=biography', 'optimizer=adamw']).config;"
        "print(json.dumps([c['scenario']['dataset']['people'], c['model']['biography']['people'],"
        "data_digest(c['scenario'], []), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    people_of_scenario, people_of_model, digest, heavy = json.loads(done.stdout)
    assert people_of_scenario == people_of_model == [100_000] + 5 * [20_000]
    assert len(digest) == 64
    assert not heavy


def test_the_digest_of_the_data_follows_the_generators_settings():
    from clbench.config.resolve import data_digest

    def digest(*overrides):
        return data_digest(new_composer()(["scenario=biography_tiny", "model=biography_tiny", *overrides]).config["scenario"], [])

    assert digest() == digest("scenario.dataset.name=other")
    assert len({digest(), digest("scenario.dataset.seed=1"), digest("scenario.dataset.variants=4")}) == 3


def test_shipped_experiments_compose():
    folder = Path(__file__).resolve().parents[2] / "conf" / "experiment" / "biography"
    assert sorted(file.stem for file in folder.glob("*.yaml")) == ["paper", "tiny"]
    tiny = new_composer()(["+experiment=biography/tiny"])
    assert tiny.choices["optimizer"] == "adamw"
    assert (tiny.config["eval"]["every"], tiny.config["eval"]["drift"]) == (30, True)
    assert new_composer()(["+experiment=biography/paper"]).config["optimizer"]["lr"] == 5e-6
