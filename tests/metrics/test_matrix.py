"""Metrics: the worked example, the identities that hold for every matrix, and what is undefined."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import StoreError
from clbench.metrics import matrix as m

EXAMPLE = [[92], [85, 90], [87, 94, 88], [80, 86, 85, 91], [82, 95, 86, 84, 90]]
"""Rows after each task in percent; forgetting 4.50, BWT -3.5 (10, -1, 2, 7 and -10, 5, -2, -7 over four tasks)."""

fractions = st.floats(0, 1).map(lambda x: round(x, 6))
close = {"rel": 1e-9, "abs": 1e-9}


def square(n_min=2, n_max=6):
    return st.integers(n_min, n_max).flatmap(
        lambda n: st.lists(st.lists(fractions, min_size=n, max_size=n), min_size=n, max_size=n)
    )


def test_worked_example():
    assert m.forgetting(EXAMPLE) == pytest.approx(4.5)
    assert m.forgettings(EXAMPLE) == [10, -1, 2, 7]
    assert m.bwt(EXAMPLE) == pytest.approx(-3.5)
    assert m.acc(EXAMPLE) == pytest.approx(87.4)
    assert m.learning_accuracy(EXAMPLE) == pytest.approx(90.2)
    assert m.average_incremental(EXAMPLE) == pytest.approx((92 + 87.5 + 269 / 3 + 85.5 + 87.4) / 5)


def test_accuracy_before_learning_is_not_forgotten():
    """The same with 97 % on the second task before it was learned."""
    assert m.forgetting([[92, 97], *EXAMPLE[1:]]) == pytest.approx(4.5)


def test_metrics_after_fewer_tasks_are_those_of_the_first_rows():
    assert m.acc(EXAMPLE[:2]) == pytest.approx(87.5)
    assert m.forgetting(EXAMPLE[:2]) == pytest.approx(7)
    full = [[*row, *[50] * (5 - len(row))] for row in EXAMPLE]
    assert m.acc(full[:2]) == pytest.approx(87.5)
    assert m.forgetting(full[:4]) == pytest.approx(m.forgetting(EXAMPLE[:4]))


@settings(deadline=None)
@given(square())
def test_accuracy_is_learning_accuracy_plus_transfer(A):
    T = len(A)
    assert m.acc(A) == pytest.approx(m.learning_accuracy(A) + (T - 1) / T * m.bwt(A), **close)


@settings(deadline=None)
@given(square())
def test_forgetting_bounds(A):
    assert m.forgetting(A) >= -m.bwt(A) - 1e-12
    assert -1 <= m.forgetting(A) <= 1
    assert m.forgetting(A) == pytest.approx(sum(m.forgettings(A)) / (len(A) - 1), **close)


@settings(deadline=None)
@given(square(), square())
def test_only_fwt_reads_above_the_diagonal(A, noise):
    T = min(len(A), len(noise))
    A = [row[:T] for row in A[:T]]
    other = [[noise[k][j] if j > k else A[k][j] for j in range(T)] for k in range(T)]
    triangle = [row[: k + 1] for k, row in enumerate(A)]
    for metric in (m.acc, m.forgetting, m.bwt, m.learning_accuracy, m.average_incremental):
        assert metric(A) == metric(other) == metric(triangle)


@settings(deadline=None)
@given(square(), st.randoms())
def test_rows_between_may_swap_and_forgetting_stays(A, shuffle):
    """When the best of a task was reached does not matter: its column may be permuted, all but the last row."""
    B = [list(row) for row in A]
    for j in range(len(A) - 1):
        between = [A[k][j] for k in range(j, len(A) - 1)]
        shuffle.shuffle(between)
        for k, value in zip(range(j, len(A) - 1), between):
            B[k][j] = value
    assert m.forgetting(B) == pytest.approx(m.forgetting(A), **close)


@settings(deadline=None)
@given(square(), st.floats(0.1, 10), st.floats(-1, 1))
def test_units_and_offsets(A, scale, offset):
    moved = [[scale * value + offset for value in row] for row in A]
    assert m.acc(moved) == pytest.approx(scale * m.acc(A) + offset, **close)
    assert m.forgetting(moved) == pytest.approx(scale * m.forgetting(A), **close)
    assert m.bwt(moved) == pytest.approx(scale * m.bwt(A), **close)


@settings(deadline=None)
@given(square(), st.data())
def test_an_entry_that_was_not_measured_makes_what_needs_it_undefined(A, data):
    T = len(A)
    j = data.draw(st.integers(0, T - 2))
    k = data.draw(st.integers(j, T - 1))
    A[k][j] = None
    assert m.forgetting(A) is None
    assert m.average_incremental(A) is None
    assert (m.bwt(A) is None) == (k in (j, T - 1))
    assert (m.learning_accuracy(A) is None) == (k == j)
    assert (m.acc(A) is None) == (k == T - 1)


def test_one_task():
    A = [[0.9]]
    assert (m.acc(A), m.learning_accuracy(A), m.average_incremental(A)) == (0.9, 0.9, 0.9)
    assert [m.forgetting(A), m.bwt(A), m.fwt(A, [0.1]), m.forgettings(A)] == [None, None, None, []]
    alone = [("within", 0, [0.5]), ("task", 0, [0.9])]
    assert [m.min_acc(alone), m.stability_gap(alone), m.worst_case_accuracy(alone)] == [None, None, None]
    assert m.anytime(alone) == pytest.approx(0.7)


def test_forward_transfer():
    A = [[0.9, 0.3, 0.2], [0.8, 0.9, 0.6], [0.7, 0.8, 0.9]]
    assert m.fwt(A, [0.1, 0.1, 0.3]) == pytest.approx(((0.3 - 0.1) + (0.6 - 0.3)) / 2)
    assert m.fwt(A, None) is None
    assert m.fwt(A, [0.1, None, 0.3]) is None
    assert m.fwt([row[: k + 1] for k, row in enumerate(A)], [0.1] * 3) is None


TRAJECTORY = [
    ("within", 0, [0.5, 0.0, 0.0]),
    ("task", 0, [0.9, 0.1, 0.0]),
    ("within", 1, [0.4, 0.6, 0.0]),
    ("task", 1, [0.8, 0.9, 0.1]),
    ("within", 2, [0.7, 0.5, 0.4]),
    ("within", 2, [0.9, 0.6, 0.7]),
    ("task", 2, [0.85, 0.7, 0.8]),
]


def test_within_tasks_by_hand():
    assert m.anytime(TRAJECTORY) == pytest.approx((0.5 + 0.9 + 0.5 + 0.85 + 1.6 / 3 + 2.2 / 3 + 2.35 / 3) / 7)
    assert m.min_acc(TRAJECTORY) == pytest.approx((0.4 + 0.5) / 2)
    assert m.worst_case_accuracy(TRAJECTORY) == pytest.approx(0.8 / 3 + 2 / 3 * 0.45)
    # task 0 during 1: ends .9 .8, low .4; task 0 during 2: ends .8 .85, low .7; task 1 during 2: ends .9 .7, low .5
    assert m.stability_gap(TRAJECTORY) == pytest.approx((0.4 + 0.1 + 0.2) / 3)


def test_lasting_loss_is_no_stability_gap():
    falling = [("within", 0, [0.5, 0]), ("task", 0, [0.9, 0]), ("within", 1, [0.7, 0.2]), ("task", 1, [0.3, 0.9])]
    assert m.stability_gap(falling) == pytest.approx(0)
    assert m.min_acc(falling) == pytest.approx(0.3)


def test_without_measurements_within_every_later_task():
    ends = [point for point in TRAJECTORY if point[0] == "task"]
    assert [metric(ends) for metric in (m.anytime, m.min_acc, m.worst_case_accuracy, m.stability_gap)] == [None] * 4
    partly = [point for point in TRAJECTORY if point[:2] != ("within", 1)]
    assert m.min_acc(partly) is None
    assert m.stability_gap(partly) is None
    assert m.anytime(partly) is not None


@settings(deadline=None)
@given(square(), st.randoms(use_true_random=False))
def test_more_measurements_only_deepen_the_worst_case(A, draw):
    def trajectory(points):
        rows = []
        for task, row in enumerate(A):
            rows += [("within", task, [draw.random() for _ in row]) for _ in range(points)]
            rows.append(("task", task, row))
        return rows

    longer = trajectory(3)
    shorter = [point for i, point in enumerate(longer) if point[0] == "task" or i % 4 == 0]
    assert m.min_acc(longer) <= m.min_acc(shorter) + 1e-12
    assert m.min_acc(longer) <= sum(A[-1][:-1]) / (len(A) - 1) + 1e-12
    assert m.stability_gap(longer) >= m.stability_gap(shorter) - 1e-12 >= -1e-12
    assert m.worst_case_accuracy(longer) <= m.acc(A) + 1e-12


def result(A, n=1000, setting="domain", untrained=None, sequential=True, within=()):
    """Return a `Record.result` of a matrix in fractions."""
    T = len(A[-1])
    events = [("untrained", -1, None, untrained or [0.1] * T)]
    for task, row in enumerate(A):
        index = task if sequential else T - 1
        events += [("within", index, step, row) for t, step, row in within if t == index]
        events.append(("task", index, None, row))
    return {
        "setting": setting,
        "n_tasks": T,
        "sequential": sequential,
        "access": "current",
        "columns": [{"name": f"task {j}", "role": "task", "metric": "accuracy"} for j in range(T)],
        "events": [{"kind": kind, "task": task, "step": step} for kind, task, step, _ in events],
        "matrix": [[[round(value * n), n] for value in row] for *_, row in events],
    }


def full(percent=EXAMPLE):
    return [[*(value / 100 for value in row), *[0.5] * (len(percent) - len(row))] for row in percent]


def test_summary_is_in_percent():
    values = m.summary(result(full()))
    assert values["forgetting"] == pytest.approx(4.5)
    assert values["bwt"] == pytest.approx(-3.5)
    assert values["acc"] == pytest.approx(87.4)
    assert values["learning_accuracy"] == pytest.approx(90.2)
    assert values["fwt"] == pytest.approx(40)
    assert [values[key] for key in ("anytime", "min_acc", "worst_case_accuracy", "stability_gap")] == [None] * 4


@pytest.mark.parametrize("setting", ["task", "class"])
def test_forward_transfer_needs_shared_labels(setting):
    assert m.summary(result(full(), setting=setting))["fwt"] is None


def test_summary_with_measurements_within_tasks():
    within = [(task, 10, [0.4] * 5) for task in range(5)]
    values = m.summary(result(full(), within=within))
    assert values["min_acc"] == pytest.approx(40)
    assert values["worst_case_accuracy"] == pytest.approx(90 / 5 + 40 * 4 / 5)
    assert values["anytime"] is not None
    assert values["stability_gap"] > 0


def test_all_tasks_at_once():
    values = m.summary(result([[0.9, 0.8, 0.7]], sequential=False))
    assert values.pop("acc") == pytest.approx(80)
    assert set(values.values()) == {None}


def test_further_columns_are_no_tasks():
    made = result(full())
    made["columns"].append({"name": "utility", "role": "utility", "metric": "accuracy"})
    made["matrix"] = [[*row, [0, 10]] for row in made["matrix"]]
    assert m.summary(made) == m.summary(result(full()))


def test_entries_without_samples_are_not_measured():
    made = result(full())
    made["matrix"][3][0] = [0, 0]
    made["matrix"][2][1] = None
    values = m.summary(made)
    assert values["forgetting"] is None
    assert values["acc"] == pytest.approx(87.4)


def _drop(key):
    return lambda made: made.pop(key)


@pytest.mark.parametrize(
    "break_it",
    [
        _drop("matrix"),
        _drop("events"),
        _drop("n_tasks"),
        lambda made: made.update(matrix=7),
        lambda made: made.update(matrix=[["a"]]),
        lambda made: made.update(n_tasks=4),
        lambda made: made.update(n_tasks=6),
        lambda made: made["matrix"].pop(),
        lambda made: (made["matrix"].pop(2), made["events"].pop(2)),
        lambda made: made["events"][2].update(task=4),
        lambda made: made["matrix"][1].pop(),
        lambda made: made.update(events=[{}] * 6),
        dict.clear,
    ],
)
def test_a_result_that_contradicts_itself_is_refused(break_it):
    made = result(full())
    break_it(made)
    with pytest.raises(StoreError, match="matrix"):
        m.summary(made)


def test_exact_integers_survive():
    """Counts, not rounded percentages: 1/3 stays 1/3."""
    made = result([[0.0, 0.0], [0.0, 0.0]])
    made["matrix"] = [[[1, 3], [1, 3]], [[3, 3], [0, 3]], [[2, 3], [1, 3]]]
    assert m.summary(made)["acc"] == pytest.approx(50)
    assert m.summary(made)["forgetting"] == pytest.approx(100 / 3)


def test_seeded_random_matrices_against_a_second_formula():
    """Loops written the other way round, over the definition in words."""
    draw = random.Random(0)
    for _ in range(50):
        T = draw.randint(2, 8)
        A = [[draw.random() for _ in range(T)] for _ in range(T)]
        drops = 0.0
        for task in range(T - 1):
            best = A[task][task]
            for later in range(task + 1, T - 1):
                best = max(best, A[later][task])
            drops += best - A[T - 1][task]
        assert m.forgetting(A) == pytest.approx(drops / (T - 1))
