"""A search depends on its definition alone: not on the order in which runs end, on kills, or on other machines."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clbench.errors import ClbenchError, ConfigError
from clbench.runner.outcome import Outcome, Status
from clbench.tuning.search import Search
from tests.tuning.fake_runs import drive, plan, trials


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Search:
    search = Search(plan(tmp_path_factory.mktemp("undisturbed")))
    drive(search, random.Random(0))
    return search


def test_a_search_finds_the_rate_of_the_best_runs(undisturbed: Search) -> None:
    choice = undisturbed.choice()
    assert len(choice.trials) == 8
    assert 0.02 < choice.values["optimizer.lr"] < 0.12
    assert choice.trial.value(0.0) == max(trial.value(0.0) for trial in choice.trials if trial.state == "complete")
    assert choice.trials[0].params["optimizer.lr"] == 0.05  # trial 0 is the default
    assert undisturbed.done


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), kills=st.lists(st.integers(1, 9), max_size=4))
def test_order_and_kills_change_nothing(
    seed: int, kills: list[int], undisturbed: Search, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, order = tmp_path_factory.mktemp("killed"), random.Random(seed)
    for most in kills:
        drive(Search(plan(folder)), order, most)
    search = Search(plan(folder))
    drive(search, order)
    assert trials(search) == trials(undisturbed)
    one, other = search.choice(), undisturbed.choice()
    assert (one.values, one.trials_sha256) == (other.values, other.trials_sha256)


def test_a_journal_with_a_line_cut_short_is_mended(undisturbed: Search, tmp_path: Path) -> None:
    drive(Search(plan(tmp_path)), random.Random(1), 5)
    journal = tmp_path / "tuning" / "journal.log"
    journal.write_bytes(journal.read_bytes()[:-7])
    search = Search(plan(tmp_path))
    drive(search, random.Random(2))
    assert trials(search) == trials(undisturbed)


def test_records_alone_give_the_same_search(undisturbed: Search, tmp_path: Path) -> None:
    drive(Search(plan(tmp_path)), random.Random(1))
    (tmp_path / "tuning" / "journal.log").unlink()
    search = Search(plan(tmp_path))
    drive(search, random.Random(2))
    assert trials(search) == trials(undisturbed)


def test_the_journal_decides_what_is_tried(tmp_path: Path) -> None:
    """Another machine's sampler may round otherwise: what it has drawn counts."""
    first = Search(plan(tmp_path))
    first.begin()
    search = Search(plan(tmp_path))
    search.journal.begin(search.plan.definition())
    search.journal.add(2, {**search.plan.space.params(search.plan.space.usual_inside()), "optimizer.lr": 0.042})
    drive(search, random.Random(0))
    assert search.trials[2].params["optimizer.lr"] == 0.042


def test_optunas_own_functions_read_the_journal(undisturbed: Search) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(undisturbed.journal.path)))
    study = optuna.load_study(study_name=undisturbed.plan.name, storage=storage)
    assert [trial.state.is_finished() for trial in study.trials] == [True] * 8
    assert study.best_trial.number == undisturbed.choice().trial.number
    assert study.best_value == pytest.approx(undisturbed.choice().trial.value(0.0))
    assert study.user_attrs["definition"]["seeds"] == [1000, 1001]


def test_more_trials_go_on_from_the_first_ones(undisturbed: Search, tmp_path: Path) -> None:
    drive(Search(plan(tmp_path, trials=5)), random.Random(3))
    search = Search(plan(tmp_path))
    drive(search, random.Random(4))
    assert trials(search) == trials(undisturbed)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"seeds": 3}, "seeds"),
        ({"objective": "learning_accuracy"}, "objective"),
        ({"sampler": "random"}, "sampler"),
        ({"valid_fraction": 0.3}, "configuration"),
    ],
)
def test_another_definition_under_the_same_name_is_refused(changed: dict[str, Any], name: str, tmp_path: Path) -> None:
    drive(Search(plan(tmp_path)), random.Random(0), 2)
    with pytest.raises(ConfigError, match=f"was made with another {name}") as error:
        Search(plan(tmp_path, **changed)).begin()
    assert "tuning.name=NAME" in error.value.remedy
    drive(Search(plan(tmp_path, name="mine", **changed)), random.Random(0), 2)


def test_a_trial_that_diverges_counts_as_the_worst(tmp_path: Path) -> None:
    search = Search(plan(tmp_path, "model.init=kaiming", trials=8, sampler_seed=1))
    drive(search, random.Random(0))
    lost = [trial for trial in search.trials if trial.params["optimizer.lr"] > 0.3]
    assert lost, "no trial of this seed draws a rate above .3: choose another sampler_seed"
    assert {str(trial.state) for trial in lost} == {"diverged"}
    assert search.choice().trial not in lost


def test_bad_trials_end_early(tmp_path: Path) -> None:
    search = Search(plan(tmp_path, seeds=4))
    drive(search, random.Random(0))
    pruned = [trial for trial in search.trials if trial.state == "pruned"]
    assert pruned
    worst = search.choice().trial.value(0.0)
    assert all(len(trial.scores) == 2 < 4 and trial.value(0.0) < worst for trial in pruned)
    other = Search(plan(tmp_path, seeds=4, pruner="none", name="all"))
    drive(other, random.Random(0))
    assert not [trial for trial in other.trials if trial.state == "pruned"]


def test_seconds_are_a_budget_too(tmp_path: Path) -> None:
    """A run of `fake_runs` takes a second: trials stop once those before have taken six."""
    search = Search(plan(tmp_path, seconds=6.0))
    drive(search, random.Random(0))
    assert 4 <= len(search.choice().trials) < 8
    again = Search(plan(tmp_path, seconds=6.0))
    drive(again, random.Random(1))
    assert trials(again) == trials(search)


def test_a_failure_of_the_machine_is_no_value(tmp_path: Path) -> None:
    search = Search(plan(tmp_path))
    (spec, *_) = search.begin()
    assert search.after(Outcome(spec, Status.FAILED, "its process was killed", "start the same command again")) == []
    with pytest.raises(ClbenchError, match="its process was killed"):
        search.choice()


def test_an_objective_that_is_undefined_is_said(tmp_path: Path) -> None:
    search = Search(plan(tmp_path, objective="stability_gap"))
    drive(search, random.Random(0))
    with pytest.raises(ConfigError, match="objective=stability_gap is undefined"):
        search.choice()


def test_fields_that_change_no_answer_keep_their_default(tmp_path: Path) -> None:
    """In `fake_runs` the rate alone matters."""
    search = Search(plan(tmp_path, keep=True))
    drive(search, random.Random(0))
    choice = search.choice()
    assert choice.idle == ("method.strength",) or choice.trial.params["method.strength"] == 1.0
    assert choice.values["method.strength"] == 1.0
    assert search.done
    again = Search(plan(tmp_path, keep=True))
    drive(again, random.Random(1))
    assert again.choice().values == choice.values
