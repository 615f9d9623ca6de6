"""Other libraries' definitions, against the worked example and against the library where it can be asked."""

import random

import pytest

from clbench.metrics import variants as v
from clbench.metrics.matrix import bwt, forgetting, fwt, learning_accuracy

EXAMPLE = [[92], [85, 90], [87, 94, 88], [80, 86, 85, 91], [82, 95, 86, 84, 90]]


def matrices(count=30):
    draw = random.Random(1)
    for _ in range(count):
        T = draw.randint(2, 7)
        yield [[draw.random() for _ in range(T)] for _ in range(T)], [draw.random() for _ in range(T)]


def test_worked_example():
    assert v.avalanche_forgetting(EXAMPLE) == pytest.approx(3.5)
    assert v.fot_fgt(EXAMPLE) == pytest.approx(3.5)
    assert v.mammoth_forgetting(EXAMPLE) == pytest.approx(4.75)
    assert v.pycil_forgetting(EXAMPLE) == pytest.approx(4.75)
    assert v.rogo_omega_new(EXAMPLE) == pytest.approx((90 + 88 + 91 + 90) / 4)
    assert v.gem_program_bwt(EXAMPLE) == pytest.approx(-3.5 * 4 / 5)


def test_accuracy_before_learning():
    """97 % on the second task before it was learned enters Mammoth's maximum and nobody else's."""
    A = [[92, 97], *EXAMPLE[1:]]
    assert v.pycil_forgetting(A) == pytest.approx(4.75)
    assert v.avalanche_forgetting(A) == pytest.approx(3.5)
    assert v.mammoth_forgetting(A) == pytest.approx((10 + 2 + 2 + 7) / 4)


def test_order_of_the_definitions():
    for A, _ in matrices():
        assert v.avalanche_forgetting(A) == pytest.approx(-bwt(A))
        assert v.avalanche_forgetting(A) <= forgetting(A) + 1e-12
        assert forgetting(A) <= v.pycil_forgetting(A) + 1e-12 <= v.mammoth_forgetting(A) + 2e-12
        assert v.pycil_forgetting(A) >= 0


def test_averages_over_all_tasks():
    for A, b in matrices():
        T = len(A)
        assert v.gem_program_bwt(A) == pytest.approx(sum(A[-1][j] - A[j][j] for j in range(T)) / T)
        assert v.gem_program_fwt(A, b) == pytest.approx(sum(A[j - 1][j] - b[j] for j in range(1, T)) / T)
        assert v.rogo_omega_new(A) == pytest.approx((learning_accuracy(A) * T - A[0][0]) / (T - 1))


def test_one_task():
    assert {
        f([[0.9]])
        for f in (
            v.avalanche_forgetting,
            v.fot_fgt,
            v.pycil_forgetting,
            v.mammoth_forgetting,
            v.gem_program_bwt,
            v.rogo_omega_new,
        )
    } == {None}


def test_unmeasured_final_accuracy():
    A = [[0.9, 0.1], [None, 0.8]]
    assert v.pycil_forgetting(A) is None
    assert v.mammoth_forgetting(A) is None
    assert v.avalanche_forgetting(A) is None


def test_against_avalanche_itself():
    """Feed its own metric objects as its evaluation loop does: `initial` on the task just learned, else `last`."""
    library = pytest.importorskip("avalanche.evaluation.metrics.forgetting_bwt")
    transfer = pytest.importorskip("avalanche.evaluation.metrics.forward_transfer")
    for A, b in matrices(10):
        T = len(A)
        lost, gained = library.Forgetting(), transfer.ForwardTransfer()
        for j in range(T):
            gained.update(j, b[j], initial=True)
        for k in range(T):
            lost.reset_last()
            for j in range(T):
                lost.update(j, A[k][j], initial=j == k)
                if j == k + 1:
                    gained.update(j, A[k][j])
        assert sum(lost.result().values()) / len(lost.result()) == pytest.approx(v.avalanche_forgetting(A))
        assert len(lost.result()) == T - 1
        assert sum(gained.result().values()) / (T - 1) == pytest.approx(fwt(A, b))
