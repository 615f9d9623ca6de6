"""Where a record says that its values come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.methods.naive import Naive

COMPOSER = new_composer()
SEARCHED = """\
# @package _global_
tuned:
  class:
    method: {strength: 3.0}
  searches:
    class: {protocol: first_k, k: 2, trials: 20, seeds: [1000, 1001], search: 0123456789ab, date: '2026-12-01'}
"""


def told(*words: str) -> dict[str, object]:
    return make_job(COMPOSER(list(words)), COMPOSER).tuned_by


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["method=ewc", "scenario=split_digits"], "defaults"),
        (["method=ewc", "scenario=split_digits", "optimizer=sgd", "trainer=default"], "defaults"),
        (["method=er", "scenario=split_digits", "seeds=3", "scenario.setting=task", "model=mlp_256"], "defaults"),
        (["method=ewc", "scenario=split_digits", "method.strength=2"], "given"),
        (["method=ewc", "scenario=split_digits", "optimizer.lr=0.1"], "given"),
        (["method=ewc", "scenario=split_digits", "optimizer=adam"], "given"),
        (["method=ewc", "scenario=split_digits", "trainer/schedule=cosine"], "given"),
        (["method=mas", "scenario=rotated_digits"], "tuned"),
        (["method=mas", "scenario=rotated_digits", "~tuned"], "defaults"),
        (["method=mas", "scenario=rotated_digits", "method.strength=0.1"], "given"),
        (["+experiment=mammoth/s_mnist_er_200"], "published"),
        (["+experiment=mammoth/s_mnist_er_200", "optimizer.lr=0.5"], "given"),
    ],
)
def test_values_without_a_search(words: list[str], values: str) -> None:
    assert told(*words) == {"protocol": "fixed", "values": values}


def test_a_method_given_as_an_object_has_values_of_its_own() -> None:
    job = make_job(COMPOSER(["scenario=split_digits"]), COMPOSER, {"_target_": f"{Naive.__module__}.Naive"})
    assert job.tuned_by == {"protocol": "fixed", "values": "given"}


def test_a_file_of_tuned_values_names_its_search(tmp_path: Path) -> None:
    (tmp_path / "tuned" / "permuted_digits").mkdir(parents=True)
    (tmp_path / "tuned" / "permuted_digits" / "ewc.yaml").write_text(SEARCHED)
    composer = new_composer([tmp_path])
    words = ["method=ewc", "scenario=permuted_digits", "scenario.setting=class"]
    job = make_job(composer(words), composer)
    assert job.config["method"]["strength"] == 3.0
    assert job.tuned_by == {"protocol": "first_k", "k": 2, "trials": 20, "seeds": [1000, 1001], "search": "0123456789ab"}
    assert make_job(composer([*words, "method.strength=1.5"]), composer).tuned_by["values"] == "given"
    assert make_job(composer(words[:2]), composer).tuned_by["values"] == "defaults"  # the file has no values for this setting


def test_it_is_no_part_of_the_identity() -> None:
    one, other = (make_job(COMPOSER(["scenario=split_digits", *more]), COMPOSER) for more in ([], ["optimizer.lr=0.05"]))
    assert one.tuned_by != other.tuned_by
    assert one.specs()[0].id == other.specs()[0].id
