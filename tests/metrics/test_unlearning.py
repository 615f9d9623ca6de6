"""Metrics of unlearning, against hand-made matrices and other libraries."""

import random

import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from clbench.metrics import unlearning

COLUMNS = [
    ("all", "task", None),
    ("a train", "forget_train", 1),
    ("a test", "forget_test", 1),
    ("b train", "forget_train", 2),
    ("c train", "forget_train", 3),
    ("c test", "forget_test", 3),
    ("retain", "retain", None),
    ("other", "utility", None),
]


def result(rows, losses=None, relearning=None, goal="retrain", claim=True):
    """Rows after learning and after each of three requests, in percent of 100 samples (retain: of 300)."""
    sizes = [100] * 6 + [300, 100]
    events = [("untrained", -1), ("task", 0), ("request", 1), ("request", 2), ("request", 3)]
    return {
        "n_tasks": 1,
        "unlearning": {"goal": goal, "requests": [1, 2, 3], "chance": 0.1},
        "columns": [
            {"name": name, "role": role, "metric": "accuracy"} | ({} if request is None else {"request": request})
            for name, role, request in COLUMNS
        ],
        "events": [{"kind": kind, "task": task, "step": None} for kind, task in events],
        "matrix": [[[round(v * n / 100), n] for v, n in zip(row, sizes)] for row in [[10] * 8, *rows]],
        "diagnostics": [
            {"conclusion": {"claim": claim}},
            {},
            {},
            {"losses": losses or [], **({"relearning": relearning} if relearning else {})},
        ],
    }


def test_detection_is_the_mean_over_requests():
    told = result(ROWS)
    told["diagnostics"][-1]["detection"] = [{"request": r, "retain": area, "utility": 1.0} for r, area in ((1, 0.9), (3, 0.7))]
    assert unlearning.detection_auc(told) == pytest.approx(80)


ROWS = [
    [90, 90, 90, 90, 90, 90, 90, 80],
    [80, 10, 20, 90, 90, 80, 90, 78],
    [80, 15, 50, 30, 90, 76, 88, 76],
    [70, 12, 10, 70, 0, 4, 86, 74],
]


def test_by_hand():
    found = unlearning.overall(result(ROWS))
    assert found["acc"] == 86
    assert found["forget_acc"] == pytest.approx((10 + 4) / 2)
    assert found["forget_train_acc"] == pytest.approx((12 + 70 + 0) / 3)
    assert found["utility_acc"] == 74
    assert found["revival"] == pytest.approx(((50 - 20) + (70 - 30)) / 2)
    assert found["relearning"] is None
    assert found["detection_auc"] is None
    assert found["membership_auc"] is None
    assert found["failure_rate"] is None


def test_retained_includes_what_later_requests_name():
    assert unlearning.retained(result(ROWS), after=1) == pytest.approx((300 * 90 + 100 * 80) / 400)
    assert unlearning.retained(result(ROWS), after=3) == 86


def test_revival_is_negative_where_forgetting_goes_on():
    rows = [ROWS[0], [80, 10, 20, 90, 90, 80, 90, 78], [80, 5, 10, 30, 90, 76, 88, 76], [70, 0, 0, 10, 0, 4, 86, 74]]
    assert unlearning.revival(result(rows)) == pytest.approx(((10 - 20) + (10 - 30)) / 2)


def test_relearning_leaves_the_start_out():
    told = {"steps": [0, 1, 2], "accuracy": [[0.9, 0.9], [0.1, 0.3], [0.5, 0.7]]}
    assert unlearning.relearning(result(ROWS, relearning=told)) == pytest.approx(40)


def test_failures_are_what_lacks_the_form():
    made = result(ROWS)
    made["columns"] += [{"name": "f", "role": "forget_test", "metric": "format", "request": 1}]
    made["matrix"] = [[*row, [75, 100]] for row in made["matrix"]]
    assert unlearning.failure_rate(made) == 25
    assert unlearning.forgotten(made, "forget_test") == pytest.approx(7), "the format is no accuracy"


def test_lower_losses_of_members_are_a_sign_of_membership():
    """Yeom et al. (CSF 2018): a model knows what it was trained on. Above 50 is a sign, below it the samples were unlearned."""
    told = [{"request": r, "members": [0.1, 0.2, 0.6], "others": [0.5, 0.7]} for r in (1, 2, 3)]
    assert unlearning.membership_auc(result(ROWS, told)) == pytest.approx(100 * 5 / 6)
    turned = [{"request": each["request"], "members": each["others"], "others": each["members"]} for each in told]
    assert unlearning.membership_auc(result(ROWS, turned)) == pytest.approx(100 / 6)


def test_a_gap_is_the_methods_value_minus_that_of_retraining():
    known = [{"request": r, "members": [0.1, 0.2], "others": [0.5, 0.7]} for r in (1, 2, 3)]
    never = [{"request": r, "members": [0.4, 0.6], "others": [0.5, 0.7]} for r in (1, 2, 3)]
    assert unlearning.gaps(result(ROWS, known), result(ROWS, never))["membership_gap"] == pytest.approx(25)


def numbers(n, shift, seed):
    draw = random.Random(seed)
    return [round(draw.gauss(shift, 1), 1) for _ in range(n)]


@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_auc_is_that_of_scikit_learn(shift):
    members, others = numbers(60, 0, 1), numbers(45, shift, 2)
    expected = roc_auc_score([1] * 60 + [0] * 45, [-x for x in members + others])
    assert unlearning.auc(members, others) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0.0, 0.7, -3.0])
def test_ks_is_that_of_scipy(shift):
    left, right = numbers(60, 0, 1), numbers(45, shift, 2)
    assert unlearning.ks_statistic(left, right) == pytest.approx(scipy.stats.ks_2samp(left, right).statistic)


def some_losses(shift):
    return [{"request": r, "members": numbers(30, shift, r), "others": numbers(20, 0, 9 + r)} for r in (1, 2, 3)]


def test_retraining_is_at_its_own_reference_on_every_metric():
    told = {"steps": [0, 1], "accuracy": [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]}
    made = result(ROWS, some_losses(0.0), told)
    gaps = unlearning.gaps(made, made)
    assert set(gaps) == set(unlearning.GAPS)
    assert all(value == 0 for value in gaps.values())


def test_gaps_have_a_sign_and_a_distance():
    better = [*ROWS[:3], [70, 2, 0, 60, 0, 0, 90, 74]]
    gaps = unlearning.gaps(result(ROWS, some_losses(0.0)), result(better, some_losses(5.0)))
    assert gaps["forget_gap"] == pytest.approx(7)
    assert gaps["retain_gap"] == pytest.approx(-4)
    assert gaps["utility_gap"] == 0
    assert gaps["retrain_distance"] > 0.9
    assert gaps["relearning_gap"] is None


def test_claims():
    assert unlearning.claims(result(ROWS))
    assert not unlearning.claims(result(ROWS, claim=False))
    assert unlearning.goal(result(ROWS)) == "retrain"
    assert unlearning.goal({"n_tasks": 1}) is None
