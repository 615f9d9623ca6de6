"""Keys that other values switch off: refused, with a remedy that works; or left out, where a method takes no steps."""

from __future__ import annotations

import logging
import re

import pytest

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import Job, make_job
from clbench.errors import ConfigError


@pytest.fixture(scope="module")
def composer() -> Composer:
    return new_composer()


def job(composer: Composer, *words: str) -> Job:
    return make_job(composer(["scenario=split_digits", *words]), composer)


@pytest.mark.parametrize(
    ("words", "said", "remedy"),
    [
        (["method=ewc", "method.decay=0.5"], "method.mode=offline", "method.mode=online"),
        (["method=er_ewc", "method.parts.ewc.decay=0.5"], "method.parts.ewc.mode=offline", "method.parts.ewc.mode=online"),
        (["method=agem", "method.policy=reservoir"], "method.fill=end", "method.fill=stream"),
        (["method=owm", "method.batch=50"], "method.inputs=all", "method.inputs=means"),
        (["method=osft", "method.fraction=0.3"], "method.schedule=importance", "method.schedule=fixed"),
        (["method=der", "method.alpha=0", "method.replay_batch=8"], "method.alpha=0", "method.alpha=0.2"),
        (["optimizer.carry=true"], "optimizer.momentum=0.0", "optimizer.momentum=0.9"),
        (["optimizer=adam", "optimizer.decoupled=true"], "optimizer.weight_decay=0.0", "optimizer.weight_decay=0.01"),
        (["trainer.iterations=9", "trainer.epochs=2"], "trainer.iterations=9", "trainer.iterations=null"),
        (["trainer.online_batch_size=5"], "scenario.online=false", "scenario.online=true"),
        (["scenario.setting=domain", "scenario.outputs=all"], "scenario.setting=domain", "scenario.setting=class"),
        (["+federated=iid", "federated.straggler_work=0.1"], "federated.stragglers=0.0", "federated.stragglers=0.2"),
        (["+federated=shards", "federated.clients=1", "federated.partition.per_client=1"], "clients=1", "federated.clients=2"),
        (["scenario=rotated_digits", "scenario.angles=[0,9]", "scenario.n_tasks=2", "scenario.max_angle=9"], "angles", None),
        (["scenario=unlearn_digits", "method=ga", "scenario.datasets.scrambled_digits.mean=[0.1]"], "further data set", None),
        (["scenario.online=true", "trainer.batch_size=5", "trainer.online_batch_size=5"], "trainer.batch_size", None),
        (["scenario.metric=exact_match"], "model.form=null", None),
    ],
)
def test_a_key_that_is_switched_off_is_refused_and_the_remedy_works(composer, words, said, remedy):
    with pytest.raises(ConfigError, match=f"has no effect with .*{re.escape(said)}") as refused:
        job(composer, *words)
    key = words[-1].split("=")[0]
    assert f"leave {key} out" in str(refused.value)
    job(composer, *words[:-1])
    if remedy is not None:
        assert remedy in str(refused.value)
        name = remedy.split("=")[0]
        job(composer, *(word for word in words if not word.startswith(f"{name}=")), remedy)


@pytest.mark.parametrize(
    "words",
    [
        ["method=ewc", "method.decay=1.0"],
        ["scenario.setting=domain", "scenario.outputs=seen"],
        ["method=derpp", "method.alpha=0", "method.replay_batch=8"],
        ["optimizer=adamw", "optimizer.weight_decay=0"],
        ["trainer.iterations=null", "trainer.epochs=2"],
    ],
)
def test_a_value_that_the_files_have_or_that_acts_is_taken(composer, words):
    job(composer, *words)


@pytest.mark.parametrize("method", ["ncm", "slda", "ranpac"])
def test_a_method_without_steps_is_one_run_at_every_rate_and_it_is_said(composer, caplog, method):
    words = ("optimizer.lr=0.2", "optimizer=adam", "trainer/schedule=cosine", "trainer.epochs=9", "eval.every=5")
    plain = job(composer, f"method={method}")
    with caplog.at_level(logging.WARNING):
        other = job(composer, f"method={method}", *words)
    assert [spec.id for spec in other.specs()] == [spec.id for spec in plain.specs()]
    assert other.variant == plain.variant
    assert all(word in caplog.text for word in words)
    assert f"method={method} takes no gradient steps" in caplog.text
    batches = job(composer, f"method={method}", "trainer.batch_size=7")
    assert batches.specs()[0].id != plain.specs()[0].id


def test_a_method_with_steps_is_a_run_of_its_own_at_every_rate(composer):
    ids = {job(composer, "method=naive", f"optimizer.lr={rate}").specs()[0].id for rate in (0.1, 0.2)}
    assert len(ids) == 2
