"""Jobs that differ in plain values: the quick way gives what Hydra gives."""

import pytest

from clbench.config.hydra_compose import CONFIG_NAME, Composer, new_composer, of, plain
from clbench.config.quick_values import KEY
from clbench.errors import ClbenchError
from clbench.records import flatten

GROUPS = [
    (),
    ("method=er", "scenario=permuted_digits"),
    ("method=gpm", "scenario=split_cifar10_mobilenet"),
    ("scenario=biography_tiny", "model=biography_tiny", "method=osft"),
    ("scenario=sentiment_domains", "model=tiny_bert"),
    ("+federated=iid", "federated/server=fot", "scenario.setting=task"),
    ("trainer/schedule=cosine", "optimizer=adam", "runner.workers=0"),
    ("+experiment=gpm_paper",),
]
VALUES = [
    "3",
    "0.5",
    "null",
    "true",
    "word",
    "'a, b'",
    "''",
    "-1",
    "1e-3",
    "[1,2]",
    "{a:1}",
    "${seeds}",
    "???",
    "'${device}'",
    "nan",
]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return new_composer()


def slow(composer, overrides):
    """Return what Hydra composes, or its error."""
    try:
        return of(composer.loader.load_configuration(CONFIG_NAME, overrides))
    except Exception as error:
        return type(error)


def same(one, other):
    return repr(one) == repr(other)  # NaN differs from itself


@pytest.mark.parametrize("groups", GROUPS, ids=" ".join)
def test_every_key_with_every_kind_of_value_composes_as_hydra_does(composer, groups):
    base = slow(composer, [*groups])
    if isinstance(base, type):
        pytest.skip(f"no such choices: {base.__name__}")
    keys = [key for key, _ in flatten(base.config) if KEY.fullmatch(key)]
    served = 0
    for number, key in enumerate(keys):
        overrides = [*groups, f"{key}={VALUES[number % len(VALUES)]}"]
        try:
            quick = composer.loader.quick(CONFIG_NAME, overrides, plain)
        except ClbenchError:
            continue  # a value is missing: Hydra composes
        if quick is not None:
            expected = slow(composer, overrides)
            assert same((expected.config, expected.choices, expected.overrides), quick), overrides
            served += 1
    assert served > len(keys) / 4


@pytest.mark.parametrize(
    "words",
    [
        "~method.missing",
        "+trainer.more=1",
        "++trainer.lr=1",
        "trainer.nothing=1",
        "~trainer.epochs",
        "trainer@x=1",
        "method={lr:1}",
    ],
)
def test_other_overrides_are_left_to_hydra(composer, words):
    expected = slow(composer, [words])
    if words.startswith("trainer@"):
        with pytest.raises(expected):
            composer.loader.quick(CONFIG_NAME, [words], plain)
    else:
        assert composer.loader.quick(CONFIG_NAME, [words], plain) is None


def test_several_values_and_their_order(composer):
    words = ["trainer.epochs=3", "method=ewc", "optimizer.lr=0.1", "trainer.epochs=4"]
    assert composer(words) == slow(composer, words)
    assert composer(words).config["trainer"]["epochs"] == 4


def test_jobs_share_nothing_that_one_could_change(composer):
    first = composer(["optimizer.lr=0.1"])
    first.config["trainer"]["epochs"] = "changed"
    first.choices["method"] = "changed"
    second = composer(["optimizer.lr=0.2"])
    assert second.config["trainer"]["epochs"] != "changed"
    assert second.choices["method"] == "naive"


def test_a_key_that_an_interpolation_mentions_is_left_to_hydra(composer):
    groups = ["scenario=biography_tiny", "model=biography_tiny", "method=osft"]
    if isinstance(slow(composer, groups), type):
        pytest.skip("no such choices")
    words = [*groups, "model.form=answers"]
    assert composer.loader.quick(CONFIG_NAME, words, plain) is None
    assert composer(words).config["scenario"]["form"] == "answers"
