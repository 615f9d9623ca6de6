"""What a run is called: names of parts, and the shortest difference from the defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import make_job
from clbench.config.variant import differences
from clbench.errors import ConfigError
from clbench.records import flatten
from tests.config.test_resolve import job


@pytest.mark.parametrize(
    ("overrides", "variant"),
    [
        (("method=er", "method.buffer_size=50"), "buffer_size=50"),
        (("method=er", "method.buffer_size=50", "trainer.epochs=3"), "buffer_size=50, epochs=3"),
        (("scenario.setting=task",), ""),
        (("scenario=stream", "method=er", "scenario.setting=task"), ""),
        (("model=mlp_400",), ""),
        (("scenario=split", "scenario/dataset=mnist"), ""),
        (("optimizer=adam",), "optimizer=adam"),
        (("optimizer=adam", "optimizer.lr=0.123"), "optimizer=adam, lr=0.123"),
        (("trainer/schedule=cosine",), "schedule=cosine"),
        (("scenario.online=true",), "online=true"),
        (("model.bias=false",), "model.bias=false"),
        (("model.hidden=[9,9]",), "hidden=[9,9]"),
        (("method=compose", "+method@method.parts.er=er"), "parts.er=er"),
        (("seeds=3", "device=cpu", "runner.workers=1"), ""),
    ],
)
def test_the_variant_is_the_shortest_difference(composer: Composer, overrides: tuple[str, ...], variant: str) -> None:
    assert job(composer, *overrides).variant == variant


def test_an_override_that_says_the_default_is_no_variant(composer: Composer) -> None:
    for overrides in (("method=er",), ("scenario=stream", "method=er"), ("method=er_ewc", "scenario.setting=task")):
        plain = job(composer, *overrides)
        number = plain.config["optimizer"]["lr"]
        told = job(composer, *overrides, f"optimizer.lr={number}")
        assert replace(told, tuned_by=plain.tuned_by) == plain


KEYS = st.text("abc", min_size=1, max_size=2)
TREES = st.dictionaries(KEYS, st.dictionaries(KEYS, st.one_of(st.integers(0, 2), st.none()), min_size=1, max_size=3), max_size=3)


@settings(deadline=None)
@given(TREES, TREES)
def test_differences_are_none_only_between_equals_and_name_one_key_each(first: Any, second: Any) -> None:
    found, default = dict(flatten(first)), dict(flatten(second))
    texts = differences(found, default)
    assert differences(found, found) == []
    assert len(texts) == len({key for key in {*found, *default} if found.get(key, "-") != default.get(key, "-")})
    for text in texts:
        ending = text.partition("=")[0]
        meant = [key for key in {*found, *default} if f".{key}".endswith(f".{ending}")]
        assert len(meant) == 1


def job_of(*overrides):

    composer = new_composer()
    return make_job(composer(overrides), composer)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["scenario=split_mnist"], "split_mnist"),
        (["scenario=split", "scenario/dataset=mnist"], "split_mnist"),
        (["scenario=split_mnist", "scenario/dataset=fashion_mnist"], "split_mnist_fashion_mnist"),
        (["scenario=split_fashion_mnist", "scenario/dataset=mnist"], "split_fashion_mnist_mnist"),
    ],
)
def test_a_scenario_is_never_named_after_data_that_it_does_not_hold(overrides, name):
    assert job_of(*overrides).names["scenario"] == name


def test_a_class_named_on_the_command_line_sheds_the_chosen_files_values_and_goes_by_its_own_name():
    job = job_of("model._target_=my_nets.Wide", "+model.width=3")
    assert job.config["model"] == {"_target_": "my_nets.Wide", "width": 3, "head": {"bias": True}}
    assert job.names["model"] == "Wide"


@pytest.mark.parametrize(
    ("overrides", "variant"),
    [
        (("model._target_=my_nets.Wide", "+model.width=64"), "model._target_=my_nets.Wide, width=64"),
        (("method=er", "method._target_=mine.Mine", "+method.weight=2"), "method._target_=mine.Mine, weight=2"),
        (("optimizer._target_=mine.Step", "optimizer.lr=0.2"), "optimizer._target_=mine.Step, lr=0.2"),
        (("model.hidden=[9]", "~model.dropout"), "hidden=[9], dropout=null"),
    ],
)
def test_what_another_class_does_not_take_is_no_difference(composer: Composer, overrides: tuple[str, ...], variant: str) -> None:
    assert job_of(*overrides).variant == variant


@pytest.mark.parametrize(
    "word",
    [
        "runner.compile=fast",
        "runner.stack=0",
        "runner.stack=many",
        "runner.graph=perhaps",
        "runner.products=blas",
        "runner.wait=-1",
        "data.residence=cloud",
        "data.share=2",
    ],
)
def test_how_a_run_is_run_is_checked_before_it_runs(word):

    composer = new_composer()
    with pytest.raises(ConfigError, match=word.split("=")[0].replace(".", r"\.")):
        make_job(composer([word]), composer)
