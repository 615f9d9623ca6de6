"""From overrides to jobs, with clbench's own configuration and a plug-in's beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.config import resolve
from clbench.config.hydra_compose import Composer
from clbench.config.job import Job, make_job
from clbench.config.job import seeds as seeds_of
from clbench.errors import ClbenchError, ConfigError
from clbench.records import flatten
from clbench.run_spec import RunSpec


def job(composer: Composer, *overrides: str) -> Job:
    return make_job(composer(overrides), composer)


def leaves(job: Job) -> dict[str, Any]:
    return dict(flatten(job.config))


def test_the_defaults_make_a_job(composer: Composer) -> None:
    made = job(composer)
    assert set(made.config) == set(resolve.NODES)
    assert (made.variant, made.seeds, made.results_dir, made.execution.device) == ("", (0,), "runs", "auto")


@settings(deadline=None)
@given(st.integers(1, 50))
def test_a_count_of_seeds_stands_for_the_first(count: int) -> None:
    assert seeds_of(count) == tuple(range(count))


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_a_list_of_seeds_is_exact(seeds: list[int]) -> None:
    assert seeds_of(seeds) == tuple(seeds)


@pytest.mark.parametrize("value", [0, -1, [], [1, 1], [-1], [0.5], 2.0, "three", True, [True], None, {"a": 1}])
def test_other_seeds_are_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="seeds="):
        seeds_of(value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method=nonsense", "there is no method=nonsense"),
        ("method=nonsense", "naive"),
        ("method=navie", "did you mean method=naive"),
        ("scenario=nonsense", "split_digits"),
        ("model=nonsense", "mlp"),
        ("trainer.epoch=3", "did you mean trainer.epochs"),
        ("runner.device=cpu", "did you mean device?"),
        ("data.residence_share=0.5", "did you mean data.share?"),
        ("seed=3", "did you mean seeds?"),
        ("methd=er", "did you mean method"),
        ("federated/server=fot", "+federated=NAME if none is chosen yet"),  # once a recursion without end
        ("federated/server=nobody", "chooses a part of federated"),
        ("+sedes=3", "unknown key sedes=3"),
        ("seeds=0", "seeds=0"),
        ("device=tpu", "device='tpu'"),
        ("eval.every=0", "eval.every=0"),
        ("eval.every=1.5", "eval.every=1.5"),
        ("eval.batch_size=0", "eval.batch_size=0"),
        ("runner.workers=-1", "runner.workers=-1"),
        ("runner.workers=many", "runner.workers='many'"),
        ("runner.threads=0", "runner.threads=0"),
        ("save_models=maybe", "save_models='maybe'"),
        ("data.download=1", "data.download=1"),
        ("data.root=[a,b]", "data.root="),
        ("results_dir=null", "results_dir=None"),
        ("model=null", "model=null"),
        ("~model", "model=None"),
        ("method=er,ewc", "add --multirun"),
        ("model=custom", "model._target_ has no value"),
        ("trainer.epochs=inf", "trainer.epochs=inf"),
        ("nothing", "key=value"),
    ],
)
def test_what_cannot_be_used_is_named(composer: Composer, override: str, said: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        job(composer, override)
    assert said in str(caught.value)
    assert caught.value.remedy


def test_suggestions_know_the_chosen_groups(composer: Composer) -> None:
    with pytest.raises(ConfigError, match=r"did you mean method\.buffer_size"):
        job(composer, "method=er", "method.bufer_size=3")


def test_protocol_and_tuned_values_are_filled_in_by_setting(composer: Composer) -> None:
    found = leaves(job(composer, "scenario=stream", "method=er"))
    assert (found["trainer.epochs"], found["trainer.batch_size"], found["model.hidden"]) == (7, 70, [7, 7])
    assert (found["optimizer.lr"], found["method.buffer_size"]) == (0.71, 71)
    found = leaves(job(composer, "scenario=stream", "method=er", "scenario.setting=task"))
    assert (found["optimizer.lr"], found["method.buffer_size"]) == (0.7, 72)
    default = leaves(job(composer, "method=er"))["method.buffer_size"]
    assert leaves(job(composer, "scenario=stream", "method=er", "scenario.setting=domain"))["method.buffer_size"] == default


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("method.buffer_size=5", "method.buffer_size", 5),
        ("optimizer.lr=0.5", "optimizer.lr", 0.5),
        ("trainer.epochs=1", "trainer.epochs", 1),
        ("model.hidden=[5]", "model.hidden", [5]),
        ("optimizer={lr:0.5}", "optimizer.lr", 0.5),
    ],
)
def test_the_user_wins_over_protocol_and_tuned(composer: Composer, override: str, key: str, value: Any) -> None:
    plain = leaves(job(composer, "scenario=stream", "method=er"))
    found = leaves(job(composer, "scenario=stream", "method=er", override))
    assert found == {**plain, key: value}


@pytest.mark.parametrize(("choice", "node"), [("optimizer=adam", "optimizer"), ("model=mlp_400", "model")])
def test_a_group_of_another_choice_keeps_its_own_values(composer: Composer, choice: str, node: str) -> None:
    assert job(composer, "scenario=stream", "method=er", choice).config[node] == composer([choice]).config[node]


def test_naming_a_default_choice_changes_nothing(composer: Composer) -> None:
    defaults = [
        f"{group}={choice}" for group, choice in composer(()).choices.items() if group in ("model", "optimizer", "trainer")
    ]
    assert job(composer, "scenario=stream", *defaults) == job(composer, "scenario=stream")


def test_an_experiment_wins_over_protocol_and_the_user_over_it(composer: Composer) -> None:
    made = job(composer, "+experiment=table")
    assert (leaves(made)["trainer.epochs"], leaves(made)["trainer.batch_size"]) == (1, 70)
    assert (made.names["scenario"], made.names["method"], made.seeds) == ("stream_digits", "er", (0, 1, 2))
    assert made.variant == "epochs=1"
    made = job(composer, "+experiment=table", "trainer.epochs=2", "seeds=1")
    assert (leaves(made)["trainer.epochs"], made.seeds, made.variant) == (2, (0,), "epochs=2")


def test_a_misspelt_tuned_key_is_named(composer: Composer) -> None:
    with pytest.raises(ConfigError, match=r"method\.strenth"):
        job(composer, "scenario=stream", "method=ewc")


def test_online_is_a_single_pass_in_small_batches(composer: Composer) -> None:
    trainer = job(composer, "scenario=stream", "scenario.online=true").config["trainer"]
    assert (trainer["epochs"], trainer["batch_size"]) == (1, trainer["online_batch_size"])
    trainer = job(composer, "scenario=stream", "scenario.online=true", "trainer.epochs=1", "trainer.batch_size=3").config[
        "trainer"
    ]
    assert (trainer["epochs"], trainer["batch_size"]) == (1, 3)
    with pytest.raises(ConfigError, match=r"trainer\.epochs=4"):
        job(composer, "scenario.online=true", "trainer.epochs=4")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "split_digits"),
        (("scenario=split", "scenario/dataset=digits"), "split_digits"),
        (("scenario=permuted", "scenario/dataset=fashion_mnist"), "permuted_fashion_mnist"),
        (("scenario=split_digits", "scenario/dataset=mnist"), "split_digits_mnist"),
        (("scenario=four_datasets",), "four_datasets"),
    ],
)
def test_the_name_of_a_scenario_tells_its_data(composer: Composer, overrides: tuple[str, ...], name: str) -> None:
    assert job(composer, *overrides).names["scenario"] == name


def test_ones_own_data_is_known_by_content_not_by_place(composer: Composer, tmp_path: Path) -> None:
    first, second = tmp_path / "birds.npz", tmp_path / "elsewhere" / "birds.npz"
    second.parent.mkdir()
    first.write_bytes(b"content")
    second.write_bytes(b"content")
    words = ("scenario=split", "scenario/dataset=npz")
    jobs = [job(composer, *words, f"scenario.dataset.path={path}") for path in (first, second)]
    assert jobs[0].names["scenario"].endswith("birds") or "npz" in jobs[0].names["scenario"]
    assert jobs[0].specs()[0].id == jobs[1].specs()[0].id
    assert jobs[0].config["scenario"]["dataset"]["path"] == str(first)
    second.write_bytes(b"other content")
    assert job(composer, *words, f"scenario.dataset.path={second}").specs()[0].id != jobs[0].specs()[0].id


@pytest.mark.parametrize(
    "override",
    [
        "device=cpu",
        "results_dir=elsewhere",
        "runner.workers=3",
        "runner.threads=2",
        "save_models=true",
        "data.root=/x",
        "logger=console",
    ],
)
def test_what_cannot_change_a_result_is_no_part_of_its_identity(composer: Composer, override: str) -> None:
    assert job(composer, override).specs()[0].id == job(composer).specs()[0].id


@pytest.mark.parametrize(
    "override",
    [
        "trainer.epochs=3",
        "optimizer.lr=0.123",
        "scenario.setting=task",
        "method=er",
        "model=mlp_400",
        "eval.every=2",
        "seeds=[1]",
    ],
)
def test_what_can_change_a_result_is_part_of_its_identity(composer: Composer, override: str) -> None:
    assert job(composer, override).specs()[0].id != job(composer).specs()[0].id


def test_seeds_share_a_row_and_nothing_else_does(composer: Composer) -> None:
    specs = job(composer, "seeds=4").specs()
    assert len({spec.id for spec in specs}) == 4
    assert len({spec.config_id for spec in specs}) == 1
    assert {spec.id for spec in job(composer, "seeds=2").specs()} < {spec.id for spec in specs}
    assert specs[0].config_id != job(composer, "method=er").specs()[0].config_id
    assert RunSpec.from_dict(specs[0].to_dict()) == specs[0]


def test_a_key_at_its_neutral_value_is_left_out() -> None:
    nodes = {"method": {"a": 1}, "scenario": {"goal": None, "part": {"new": 0}}}
    older = resolve.identity({"method": {"a": 1}, "scenario": {"part": {}}}, {}, "0", 0, {})
    neutral = {"scenario.goal": None, "scenario.part.new": 0, "federated.rounds": 1}
    assert resolve.identity(nodes, {}, "0", 0, neutral) == older
    nodes["scenario"]["goal"] = "forget"
    assert resolve.identity(nodes, {}, "0", 0, neutral)["scenario"]["goal"] == "forget"
    assert nodes["scenario"]["part"] == {"new": 0}
