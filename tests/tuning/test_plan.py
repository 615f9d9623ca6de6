"""From words to a plan: what is searched and reported by each protocol, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ClbenchError
from tests.tuning.fake_runs import plan


def test_the_first_tasks_are_searched_on_validation_and_all_tasks_reported(tmp_path: Path) -> None:
    made = plan(tmp_path, "seeds=3")
    spec = made.specs(made.space.usual_inside())[0]
    assert spec.config["scenario"]["task_range"] == [0, 2]
    assert spec.config["scenario"]["valid_fraction"] == 0.2
    assert spec.config["eval"]["split"] == "valid"
    assert [each.seed for each in made.specs(made.space.usual_inside())] == [1000, 1001]
    assert spec.results_dir == str(tmp_path / "tuning" / "ewc-split_digits-class-first_2")
    assert spec.logger == {}
    assert made.base.config["scenario"]["task_range"] is None
    assert made.base.config["scenario"]["valid_fraction"] == 0.0
    assert made.base.config["eval"]["split"] == "test"
    assert made.base.seeds == (0, 1, 2)


def test_the_rest_is_reported_without_the_first_tasks(tmp_path: Path) -> None:
    made = plan(tmp_path, protocol="first_three")
    assert made.tuned_on.config["scenario"]["task_range"] == [0, 3]
    assert made.base.config["scenario"]["task_range"] == [3, None]


def test_at_the_end_all_tasks_are_searched(tmp_path: Path) -> None:
    made = plan(tmp_path, protocol="end")
    assert made.tuned_on.config["scenario"]["task_range"] is None
    assert made.tuned_on.config["eval"]["split"] == "valid"


def test_a_transfer_is_searched_on_the_other_stream(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        *("scenario.n_tasks=2", "scenario.groups=[[0,1],[2,3]]"),
        protocol="transfer",
        stream=["scenario.groups=[[4,5],[6,7]]"],
    )
    assert made.tuned_on.config["scenario"]["groups"] == [[4, 5], [6, 7]]
    assert made.base.config["scenario"]["groups"] == [[0, 1], [2, 3]]
    assert made.tuned_on.config["method"] == made.base.config["method"]


def test_the_users_own_validation_fraction_stays(tmp_path: Path) -> None:
    made = plan(tmp_path, "scenario.valid_fraction=0.3")
    assert made.tuned_on.config["scenario"]["valid_fraction"] == made.base.config["scenario"]["valid_fraction"] == 0.3


def test_a_search_starts_from_the_defaults_not_from_tuned_values(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=mas", "scenario=rotated_digits")
    assert made.space.usual["method.strength"] == 0.1  # conf/tuned has .01
    assert made.base.config["method"]["strength"] == 0.1


def test_a_key_of_the_command_line_is_not_searched(tmp_path: Path) -> None:
    made = plan(tmp_path, "optimizer.lr=0.07")
    assert "optimizer.lr" not in made.space.entries
    assert made.space.dropped["optimizer.lr"] == "given on the command line"
    assert made.specs(made.space.usual_inside())[0].config["optimizer"]["lr"] == 0.07


def test_a_method_without_steps_has_no_rate_to_tune(tmp_path: Path) -> None:
    made = plan(tmp_path, "method=slda")
    assert list(made.space.entries) == ["method.shrinkage"]
    assert set(made.space.dropped) == {"optimizer.lr", "trainer.epochs"}


@pytest.mark.parametrize(
    ("words", "protocol", "given", "what", "remedy"),
    [
        ([], "first_k", {"k": 5}, "tuning.k=5 of a stream with 5 tasks", "tuning.k=4 or less"),
        ([], "first_k", {"k": 9}, "tuning.k=9 of a stream with 5 tasks", "tuning.k=4 or less"),
        ([], "first_k", {"trials": 0}, "tuning.trials=0", "at least 1"),
        ([], "first_k", {"valid_fraction": 0.0}, "tuning.valid_fraction=0", "tuning.valid_fraction=0.2"),
        ([], "first_k", {"trails": 3}, "unknown key tuning.trails=3", "did you mean tuning.trials?"),
        ([], "first_k", {"stream": ["scenario=x"]}, "belongs to tuning=transfer", "tuning=transfer"),
        ([], "first_k", {"objective": "accuracy"}, "unknown tuning.objective=accuracy", "choose one of acc"),
        ([], "first_k", {"seeds": [5, 5]}, "names a seed twice", "different seeds"),
        (["seeds=[1000,3]"], "first_k", {}, "seed 1000 is in seeds", "other seeds"),
        ([], "frist_k", {}, "unknown tuning=frist_k", "did you mean tuning=first_k?"),
        ([], "base", {}, "unknown tuning=base", "choose one of"),
        ([], "transfer", {}, "needs the stream to tune on", "tuning.stream=["),
        ([], "transfer", {"stream": ["method=er"]}, "changes more than the scenario", "scenario alone"),
        ([], "transfer", {"stream": ["scenario=permuted_digits"]}, "has another shape", "same number of tasks"),
        ([], "transfer", {"stream": ["scenario=split_digts"]}, "stream to tune on", ""),
        (["scenario=unlearn_digits"], "first_k", {}, "requests to forget", "scenario=split_digits"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    words: list[str], protocol: str, given: dict[str, Any], what: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(ClbenchError) as error:
        plan(tmp_path, *words, protocol=protocol, **given)
    assert what in error.value.what
    assert remedy in error.value.remedy
    assert "\n" not in error.value.what


def test_a_space_of_the_users_own(tmp_path: Path) -> None:
    from clbench.config.hydra_compose import new_composer
    from clbench.tuning.options import load_tuning
    from clbench.tuning.plan import make_plan

    (tmp_path / "search").mkdir()
    composer = None
    for text, what in [
        ("method.strengh: {low: 1, high: 2}", "has no key method.strengh"),
        ("method.strength: {low: 2.0, high: 1.0}", "low=2.0 is not below high=1.0"),
        ("method.strength: {low: 0.0, high: 1.0, log: true}", "has no logarithm"),
        ("method.strength: {low: -5.0, high: 1.0}", "offers what the class refuses"),
        ("method.strength: {choices: []}", "has no choices"),
        ("method.strength: {low: 1, high: 2, hgih: 3}", "unknown word hgih"),
        ("method.strength: 3", "is no distribution"),
        ("scenario.n_tasks: {choices: [2, 5]}", "is not for a search"),
        ("method.mode: {factors: [1, 2]}", "factors need positive numbers"),
    ]:
        (tmp_path / "search" / "mine.yaml").write_text(text)
        composer = new_composer([tmp_path])
        with pytest.raises(ClbenchError, match=what):
            make_plan(load_tuning(composer, "first_k", {}), ["method=ewc", "scenario=split_digits"], composer, "mine")
    assert composer is not None
    with pytest.raises(ClbenchError, match="unknown search=mien"):
        make_plan(load_tuning(composer, "first_k", {}), ["method=ewc", "scenario=split_digits"], composer, "mien")
