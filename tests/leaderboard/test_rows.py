"""Rows: one per configuration, never two that look the same, numbers from the definitions."""

import random

import pytest
import scipy.stats

from clbench.errors import StoreError
from clbench.leaderboard.entries import usable
from clbench.leaderboard.rows import KEYS, METRICS, NAMES, UNLEARNING, distinguishing, rows
from clbench.records import Record
from tests.leaderboard.factory import record


def names(row):
    return tuple(row[key] for key in NAMES)


def test_keys_that_scripts_rely_on():
    needed = {
        "scenario",
        "setting",
        "model",
        "method",
        "server",
        "variant",
        "access",
        "config_id",
        "n_seeds",
        "seeds",
        "acc",
        "acc_ci95",
        "forgetting",
        "forgetting_ci95",
        "learning_accuracy",
        "learning_accuracy_ci95",
        "bwt",
        "bwt_ci95",
        "fwt",
        "seconds",
        "samples_per_second",
        "method_state_bytes",
        "parameters",
    }
    (row,) = rows([record()])
    assert needed <= set(row)
    assert tuple(row) == KEYS


def test_numbers_over_seeds():
    finals = [80.0, 70.0, 90.0]
    (row,) = rows(
        record(seed, [[90.0], [final, 95.0]], setting="domain", untrained=[10.0, 4.0]) for seed, final in zip([7, 3, 5], finals)
    )
    low, high = scipy.stats.t.interval(0.95, 2, loc=80.0, scale=10 / 3**0.5)
    assert (row["n_seeds"], row["seeds"]) == (3, [3, 5, 7])
    assert row["acc"] == pytest.approx(87.5)
    assert row["acc_ci95"] == pytest.approx((high - low) / 4)  # half of it: one of two tasks varies
    assert row["forgetting"] == pytest.approx(10)
    assert row["forgetting_ci95"] == pytest.approx((high - low) / 2)
    assert row["bwt"] == pytest.approx(-10)
    assert row["learning_accuracy"] == pytest.approx(92.5)
    assert row["learning_accuracy_ci95"] == pytest.approx(0)
    assert row["fwt"] == pytest.approx(6)  # 10 measured before learning, 4 untrained
    assert row["seconds"] == pytest.approx(7)
    assert row["samples_per_second"] == 1000
    assert row["method_state_bytes"] == 256 * 5
    assert (row["parameters"], row["access"], row["server"], row["variant"]) == (1000, "current", None, "")


def test_one_seed_has_no_interval():
    (row,) = rows([record()])
    assert row["acc"] is not None
    widths = [row[key] for key in row if key.endswith("_ci95")]
    assert widths == [None] * len(widths)
    assert len(widths) == len(METRICS) + len(UNLEARNING)


def test_all_tasks_at_once_has_no_forgetting():
    (row,) = rows([record(method="joint", A=[[90.0, 80.0]], sequential=False, access="all")])
    assert row["acc"] == pytest.approx(85)
    assert [row[key] for key in ("forgetting", "bwt", "learning_accuracy", "fwt")] == [None] * 4


def test_costs_that_were_not_measured():
    (row,) = rows([record(0), record(1, cost={"seconds": None})])
    assert row["seconds"] is None
    assert row["parameters"] == 1000


def test_different_configurations_never_melt():
    def sized(size, seeds):
        configuration = {"method": {"buffer_size": size}}
        return [record(seed, variant=f"buffer_size={size}", identity=configuration) for seed in range(seeds)]

    tasks = [record(seed, setting="task", identity={"scenario": {"setting": "task"}}) for seed in range(4)]
    made = rows(sized(50, 3) + sized(200, 2) + tasks)
    assert [(row["setting"], row["variant"], row["n_seeds"]) for row in made] == [
        ("class", "buffer_size=200", 2),
        ("class", "buffer_size=50", 3),
        ("task", "", 4),
    ]


def test_rows_that_would_look_the_same_name_what_differs():
    made = rows([record(), record(identity={"optimizer": {"lr": 0.01}})])
    assert sorted(row["variant"] for row in made) == ["optimizer.lr=0.01", "optimizer.lr=0.1"]


def test_variant_is_completed_not_replaced():
    made = rows(record(variant="size=200", identity={"method": {"size": 200, "sampling": s}}) for s in "ab")
    assert sorted(row["variant"] for row in made) == ["size=200 sampling=a", "size=200 sampling=b"]


def test_shortest_difference_is_named():
    """Two keys differ, either suffices: the shorter text wins; other rows keep their variant."""
    both = {"optimizer": {"lr": 0.01}, "trainer": {"epochs": 1, "schedule": "plateau"}}
    made = rows([record(), record(identity=both), record(method="naive")])
    assert sorted((row["method"], row["variant"]) for row in made) == [
        ("er", ""),
        ("er", "trainer.schedule=plateau"),
        ("naive", ""),
    ]


def test_two_keys_where_one_does_not_suffice():
    found = distinguishing([{"a": 1, "b": 1, "c": 5}, {"a": 1, "b": 2, "c": 5}, {"a": 2, "b": 1, "c": 5}])
    assert found == ["a=1,b=1", "a=1,b=2", "a=2,b=1"]


def test_long_values_are_cut_but_still_tell_apart():
    hashes = ["a" * 64, "a" * 63 + "b"]
    made = rows(record(identity={"data_sha256": value}) for value in hashes)
    assert len({names(row) for row in made}) == 2
    assert all("config_id=" in row["variant"] for row in made)  # the cut texts are equal, the rows' own names are not
    made = rows(record(identity={"data_sha256": value * 64}) for value in "ab")
    assert sorted(row["variant"] for row in made) == ["data_sha256=aaaaaaaaaaaa…", "data_sha256=bbbbbbbbbbbb…"]


def test_no_two_rows_share_their_names():
    draw = random.Random(0)
    many = [
        record(
            variant=draw.choice(["", "lr=0.1", "optimizer.lr=0.1"]),
            method=draw.choice(["er", "ewc"]),
            identity={
                "optimizer": {"lr": draw.choice([0.1, 0.2, "0.1"])},
                "method": {"x": draw.choice([[1], [2], None, {}])},
                "trainer": draw.choice([{}, {"epochs": 1}, {"epochs": 2}]),
            },
        )
        for _ in range(200)
    ]
    made = rows({each.id: each for each in many}.values())
    assert len({names(row) for row in made}) == len(made) == len({each.config_id for each in many})


def test_server_is_named():
    made = rows([record(names={"server": "fot"}), record(names={"server": "fedavg"})])
    assert sorted(row["server"] for row in made) == ["fedavg", "fot"]
    assert {row["variant"] for row in made} == {""}


def test_order():
    made = rows(
        [
            record(method="low", A=[[90.0], [10.0, 90.0]]),
            record(method="high"),
            record(method="x", scenario="permuted_digits"),
            record(method="y", setting="task"),
        ]
    )
    assert [(row["scenario"], row["setting"], row["method"]) for row in made] == [
        ("permuted_digits", "class", "x"),
        ("split_digits", "class", "high"),
        ("split_digits", "class", "low"),
        ("split_digits", "task", "y"),
    ]


def test_order_of_records_does_not_matter():
    many = [record(seed, method=method, A=[[90.0], [70.0 + seed, 95.0]]) for seed in range(4) for method in "abc"]
    expected = rows(many)
    for i in range(5):
        random.Random(i).shuffle(many)
        assert rows(many) == expected


def test_differing_variants_of_one_configuration_make_one_row():
    (row,) = rows([record(0, variant="a long spelling"), record(1, variant="short")])
    assert (row["variant"], row["n_seeds"]) == ("short", 2)


def test_no_records():
    assert rows([]) == []


@pytest.mark.parametrize(
    "bad",
    [
        Record({"seed": 0}, record().result),
        Record({"seed": 0, "names": {"method": "er"}}, record().result),
        Record(record().identity, {}),
        Record(record().identity, {"n_tasks": 2, "events": [], "matrix": []}),
    ],
)
def test_records_that_cannot_be_shown_are_sorted_out(bad):
    good = record(1)
    assert usable(good).record is good
    with pytest.raises(StoreError, match=bad.id) as refused:
        usable(bad)
    assert refused.value.remedy
    with pytest.raises(StoreError):
        rows([bad, good])


def test_two_sources_of_one_configuration_are_two_rows_with_a_mark_and_one_source_needs_none():
    named = [{"sources": {"method": {"mine": digit * 16}}} for digit in "12"]
    first, second = (record(method="mine", identity=identity) for identity in named)
    before = record(method="mine")
    assert [row["variant"] for row in rows([first])] == [""]
    variants = {row["config_id"]: row["variant"] for row in rows([first, second, before])}
    assert len(set(variants.values())) == 3
    assert variants[before.config_id] == "source=unknown"
    assert all(variants[each.config_id].startswith("source=") for each in (first, second))
