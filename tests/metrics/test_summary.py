"""The summary of a stored result: all tasks count alike, whatever the sizes of their test sets."""

import pytest

from clbench.metrics import matrix as m
from tests.metrics.test_matrix import result


def of_sizes(A, sizes):
    """Return a result with these accuracies (fractions) and these sizes of the test sets."""
    made = result(A)
    made["matrix"] = [[[round(hits / n * size), size] for (hits, n), size in zip(row, sizes)] for row in made["matrix"]]
    return made


def test_every_task_has_the_same_weight_whatever_the_size_of_its_test_set():
    values = m.summary(of_sizes([[0.5, 0.1], [0.2, 0.9]], (1000, 10)))
    assert values["acc"] == pytest.approx((20 + 90) / 2)
    assert values["learning_accuracy"] == pytest.approx((50 + 90) / 2)
    assert values["average_incremental"] == pytest.approx((50 + 55) / 2)
    assert values["forgetting"] == pytest.approx(30)
    assert values == m.summary(of_sizes([[0.5, 0.1], [0.2, 0.9]], (10, 1000)))
