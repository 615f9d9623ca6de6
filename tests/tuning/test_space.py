"""Search spaces: every shipped one fits its method, and values survive the way to Optuna and the command line."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.config.resolve import resolve
from clbench.errors import ConfigError
from clbench.tuning.options import load_tuning
from clbench.tuning.space import Distribution, Space
from clbench.tuning.space_checks import check_values
from clbench.tuning.space_file import BASE, load_space

COMPOSER = new_composer()
METHODS = [name for name in COMPOSER.loader.choices("method") if name != "compose"]
CLOSED_FORM = ("ncm", "slda", "ranpac")
UNLEARNING = ("bad_teacher", "ga", "gd", "kl_ga", "npo", "o3", "o3_authors", "random_labels", "retrain", "simnpo", "task_vector")
PLAIN = ("naive", "joint", "cumulative", "gdumb", *UNLEARNING)
"""Methods with nothing of their own to tune."""


def space(method: str, *words: str) -> Space:
    return load_space(COMPOSER, method, resolve(COMPOSER([f"method={method}", *words]), COMPOSER))


def test_every_method_has_a_file_and_every_file_a_method() -> None:
    assert {*COMPOSER.loader.choices("search")} == {*METHODS, "compose", BASE}


@pytest.mark.parametrize("method", METHODS)
def test_defaults_and_tuned_values_lie_inside(method: str) -> None:
    for kind, data, setting, tuned in product(
        ("split", "permuted", "rotated"), ("digits", "mnist"), ("task", "domain", "class"), ([], ["~tuned"])
    ):
        made = space(method, f"scenario={kind}_{data}", f"scenario.setting={setting}", *tuned)
        assert made.own
        inside = made.usual_inside()
        assert {key: made.usual[key] for key in inside} == inside, (kind, data, setting)


@pytest.mark.parametrize("method", METHODS)
def test_the_classes_take_every_value_and_every_space_has_rate_and_epochs(method: str) -> None:
    resolved = resolve(COMPOSER([f"method={method}", "scenario=split_digits"]), COMPOSER)
    made = load_space(COMPOSER, method, resolved)
    check_values(made, resolved, method)
    steps = {"optimizer.lr", "trainer.epochs"}
    assert steps <= set(made.dropped) if method in CLOSED_FORM else steps <= set(made.entries)
    own = set(made.entries) - steps
    assert bool(own) is (method not in PLAIN)
    assert len(own) <= 4
    assert not any(word in key for key in own for word in ("buffer_size", "rank", "samples"))


def test_what_does_not_act_is_left_out_with_the_reason() -> None:
    assert "one epoch" in space("er", "scenario.online=true").dropped["trainer.epochs"]
    assert "federated.local_epochs" in space("naive", "+federated=iid").dropped["trainer.epochs"]


def test_a_conditional_key_follows_its_condition() -> None:
    entries = {
        "method.mode": Distribution(choices=("offline", "online")),
        "method.decay": Distribution(low=0.5, high=1.0, when=("method.mode", "online")),
    }
    made = Space(entries, {"method.mode": "offline", "method.decay": 1.0}, {}, True)
    assert made.usual_inside() == {"method.mode": "offline"}
    assert made.decode(made.params({"method.mode": "online", "method.decay": 0.7})) == {
        "method.mode": "online",
        "method.decay": 0.7,
    }
    assert made.params({"method.mode": "offline"})["method.decay"] == 1.0


CHOICES = st.lists(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["a", "b c", "1", "null", "x,y"])
    | st.lists(st.integers(0, 3)),
    min_size=1,
    max_size=5,
    unique_by=repr,
)


@settings(deadline=None, max_examples=60)
@given(low=st.floats(1e-6, 10), factor=st.floats(1.5, 1e6), place=st.floats(0, 1), log=st.booleans(), choices=CHOICES)
def test_values_survive_the_way_to_optuna_and_back(
    low: float, factor: float, place: float, log: bool, choices: list[Any]
) -> None:
    high = low * factor
    number = Distribution(low=low, high=high, log=log)
    made = Space(
        {
            "method.a": number,
            "method.b": Distribution(choices=tuple(choices)),
            "method.n": Distribution(low=2, high=9, integer=True),
        },
        {"method.a": low, "method.b": choices[0], "method.n": 3},
        {},
        True,
    )
    drawn = {"method.a": low + place * (high - low), "method.b": choices[-1], "method.n": 2 + int(7 * place)}
    values = made.decode(made.params(drawn))
    assert low <= values["method.a"] <= high
    assert abs(values["method.a"] - drawn["method.a"]) <= 0.006 * drawn["method.a"]
    assert (values["method.b"], values["method.n"]) == (choices[-1], drawn["method.n"])
    assert made.decode(made.params(values)) == values
    for key, each in made.distributions().items():
        assert each._contains(each.to_internal_repr(made.params(values)[key]))
    for word, (key, value) in zip(made.words(values), values.items(), strict=True):
        parsed = COMPOSER.loader.parse([word])[0]
        assert parsed.key_or_group == key
        assert _plain(parsed.value()) == value


def _plain(value: Any) -> Any:
    return value.text if hasattr(value, "text") else [_plain(each) for each in value] if isinstance(value, list) else value


def test_values_outside_are_moved_to_the_nearest() -> None:
    number = Distribution(low=0.1, high=1.0, log=True)
    assert [number.inside(value) for value in (0.01, 0.512345, 3.0, None)] == [0.1, 0.512345, 1.0, 0.1]
    assert Distribution(choices=("a", "b")).inside("c") == "a"
    assert Distribution(choices=(0.8, 0.9, 0.99)).inside(0.98) == 0.99
    made = space("gpm", "method.threshold=0.98")
    assert made.moved() == {"method.threshold": 0.98}
    assert made.usual_inside()["method.threshold"] in (0.97, 0.99)
    assert space("gpm").moved() == {}


@pytest.mark.parametrize("rate", [1e-4, 5e-6, 0.5])
def test_the_range_of_the_rate_follows_the_configuration(rate: float) -> None:
    entry = space("er", f"optimizer.lr={rate}", "optimizer=adam").entries["optimizer.lr"]
    assert entry.low == pytest.approx(rate / 50)
    assert entry.high == pytest.approx(10 * rate)


@pytest.mark.parametrize("method", METHODS)
def test_no_draw_sets_a_key_that_another_value_of_the_draw_switches_off(method: str) -> None:
    """For every value alone, and for each value of a condition with the keys that depend on it."""
    base = [f"method={method}", "scenario=split_digits"]
    made = space(method, "scenario=split_digits")
    for key, entry in made.entries.items():
        for value in entry.choices if entry.choices is not None else (entry.low, entry.high):
            values = made.decode(made.params({key: value, **({} if entry.when is None else {entry.when[0]: entry.when[1]})}))
            assert make_job(COMPOSER([*base, *made.words(values)]), COMPOSER, named=False).seeds == (0,)


def test_a_file_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text("- method.strength\n")
    composer = new_composer([tmp_path])
    with pytest.raises(ConfigError, match="holds no keys with distributions"):
        load_space(composer, "mine", resolve(composer(["method=ewc"]), composer), True)


def test_a_key_that_is_switched_off_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text("method.decay: {low: 0.5, high: 1.0}\n")
    composer = new_composer([tmp_path])
    made = load_space(composer, "mine", resolve(composer(["method=ewc"]), composer), True)
    assert made.dropped == {"method.decay": "it has no effect with method.mode=offline"}


def test_a_space_has_a_name_of_its_content() -> None:
    assert space("ewc").sha256 == space("ewc").sha256 != space("ewc_online").sha256
    assert space("ewc", "trainer.epochs=20").sha256 != space("ewc").sha256  # factors are of the configured epochs


def test_every_protocol_can_be_read() -> None:
    for name in set(COMPOSER.loader.choices("tuning")) - {BASE}:
        made = load_tuning(COMPOSER, name, {})
        assert made.protocol in ("fixed", "first_k", "transfer", "end")
        assert made.search_seeds == (1000, 1001, 1002)
