"""Every picture says of how many seeds it shows how many."""

import pytest

from clbench.plots import plot_clients, plot_curves, plot_drift, plot_matrix, plot_subspaces
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure
from tests.plots.looks import check_readable, drawn, heading, projected, traced


def partitioned(seed):
    made = record(seed)
    made.result["partition"] = [["3 1", "0 4"]] * 2
    return made


def failure_like(made, seed):
    found = failure(seed)
    found.identity = {**made.identity, "seed": seed}
    return found


PICTURES = [(plot_matrix, record), (plot_curves, traced), (plot_drift, traced), (plot_subspaces, projected)]


@pytest.mark.parametrize(("picture", "make"), PICTURES)
def test_n_of_n_is_in_the_heading(picture, make):
    made = [make(0), make(1)]
    figure = drawn(picture.draw, made, [failure_like(made[0], seed) for seed in (2, 3, 4)])
    assert "over 2 of 5 seeds (3 failed)" in " ".join(heading(figure))
    check_readable(figure)
    (one,) = made[:1]
    assert "1 of 2 seeds (1 failed)" in " ".join(heading(drawn(picture.draw, [one], [failure_like(one, 3)])))
    assert "of" not in " ".join(heading(drawn(picture.draw, made))).split("mean")[-1].split()


def test_a_picture_of_one_seed_says_so_too():
    made = partitioned(0)
    figure = drawn(plot_clients.draw, [made, partitioned(1)], [failure_like(made, 5)])
    assert "2 of 3 seeds (1 failed)" in " ".join(heading(figure))
    assert "failed" not in " ".join(heading(drawn(plot_clients.draw, [made])))
