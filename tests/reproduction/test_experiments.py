"""Every shipped experiment composes, means what it says, and is not touched by values made for other purposes."""

import pytest

from clbench.config.hydra_compose import conf_dir, new_composer
from clbench.config.job import make_job
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.reproduction.experiments import claim, find, rows

COMPOSER = new_composer()
EXPERIMENTS = find(COMPOSER, conf_dir())


def test_there_are_experiments_of_every_source():
    assert {name.partition("/")[0] for name in EXPERIMENTS} == {"mammoth", "vandeven", "continualai", "gpm", "adam_nscl", "fot"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_composes_in_every_setting_that_has_a_number(name):
    made = rows(COMPOSER, name)
    assert [row.setting for row in made] == list(made[0].claim.accuracy)
    assert len({file for row in made for file in row.files}) == sum(len(row.files) for row in made)
    for row in made:
        assert row.composed.config["scenario"]["setting"] == row.setting
        assert len(row.files) >= 5
        assert row.claim.title
        assert row.claim.source
        assert row.published.value == row.claim.accuracy[row.setting]


def test_values_of_an_experiment_and_of_the_file_it_stands_on_win_over_the_scenarios_protocol():
    (row, _) = rows(COMPOSER, "mammoth/s_mnist_er_200")
    assert row.job.config["optimizer"]["lr"] == 0.01  # the protocol of split_mnist says .03
    (row, *_) = rows(COMPOSER, "vandeven/s_mnist_none")
    assert row.job.config["trainer"]["batch_size"] == 128  # stands in vandeven/s_mnist; the protocol says 10
    assert row.job.config["optimizer"]["_target_"].endswith("Adam")


def test_a_value_that_depends_on_the_setting():
    strengths = {row.setting: row.job.config["method"]["strength"] for row in rows(COMPOSER, "vandeven/s_mnist_ewc")}
    assert strengths == {"task": 1e5, "domain": 1e10, "class": 1e9}


def test_whoever_overrides_wins_over_the_experiment():
    (row, _) = rows(COMPOSER, "mammoth/s_mnist_er_200", ["method.buffer_size=7", "seeds=1"])
    assert row.job.config["method"]["buffer_size"] == 7
    assert row.job.seeds == (0,)


def test_what_is_judged_is_what_the_command_line_trains():
    """The name of a variant costs a composition more and belongs to no identity; nor does composing a setting by hand."""
    for row in rows(COMPOSER, "vandeven/s_mnist_si"):
        words = ["+experiment=vandeven/s_mnist_si", f"scenario.setting={row.setting}"]
        job = make_job(COMPOSER(words), COMPOSER)
        assert [spec.id for spec in job.specs()] == [file.stem for file in row.files]
        assert row.job == job


def test_patterns():
    assert find(COMPOSER, conf_dir(), ["mammoth/s_mnist_gem_*"]) == ["mammoth/s_mnist_gem_200", "mammoth/s_mnist_gem_500"]
    with pytest.raises(ConfigError, match="nothing_like_this"):
        find(COMPOSER, conf_dir(), ["nothing_like_this"])


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"title": "ER", "source": "a", "accuracy": {"class": 180.0}}, "accuracy"),
        ({"title": "ER", "source": "a", "accuracy": {"class": 80.0}, "sdt": {}}, "sdt"),
        ({"source": "a", "accuracy": {"class": 80.0}}, "title"),
        (None, "published"),
    ],
)
def test_a_claim_that_is_not_as_it_should_be(node, word):
    with pytest.raises(ConfigError, match=word):
        claim(node, "mine")


LANGUAGE = ["olora/t5_standard_cl", "olora/t5_long_sequence", "olora/llama2_standard_cl", "osft/t5_standard_cl"]
LANGUAGE += ["olora/t5_long_order6", "osft/t5_long_sequence", "osft/trace_llama2", "freeze/trace_llama2"]


@pytest.mark.parametrize("name", LANGUAGE)
def test_protocols_of_language_models_compose_and_their_parts_can_be_made(name):
    """They are trained, not judged: no number of theirs was found in a readable source."""
    assert name not in EXPERIMENTS
    config = COMPOSER([f"+experiment={name}"]).config
    method, trainer = instantiate(config["method"], "method"), instantiate(config["trainer"], "trainer")
    assert type(method).__name__.lower() == name.partition("/")[0]
    assert trainer.micro_batch_size is None or trainer.batch_size % trainer.micro_batch_size == 0
    tasks = len(config["scenario"]["datasets"])
    assert tasks == {"standard_cl": 4, "long_sequence": 15, "trace": 8}[COMPOSER([f"+experiment={name}"]).choices["scenario"]]
    for per_task in (trainer.epochs, getattr(method, "fraction", None)):
        assert not isinstance(per_task, list) or len(per_task) == tasks
