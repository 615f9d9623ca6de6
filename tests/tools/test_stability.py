"""What noise in products does to final accuracies: little at a stream's protocol, much at a rate that is too high."""

import subprocess
import sys

import pytest
import torch

from tools.stability import METHODS, STREAMS, changes, specs

CHAOTIC = ("optimizer.lr=0.2", "trainer.epochs=5", "model.init=default")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_noise_moves_no_seed_by_more_than_a_point_at_the_streams_own_protocol():
    found = changes("naive", "permuted_digits", 2)
    assert [change.seed for change in found] == [0, 1]
    assert all(change.points <= 1 for change in found)
    assert all(50 < change.without < 90 for change in found)  # learns, and forgets


def test_at_a_rate_on_the_edge_of_stability_noise_moves_a_seed():
    assert max(change.points for change in changes("naive", "permuted_digits", 3, overrides=CHAOTIC)) > 1


def test_without_noise_a_run_repeats_itself():
    (change,) = changes("er", "permuted_digits", 1, noise=0.0, overrides=(*CHAOTIC, "scenario.n_tasks=2"))
    assert change.points == 0


def test_every_pair_of_the_long_form_can_be_asked_for():
    for stream in STREAMS.split(","):
        for method in METHODS.split(","):
            (spec,) = specs(method, stream, 1)
            assert (
                f"{spec.config['scenario']['dataset']['name']}:{spec.config['scenario']['setting']}"
                == "digits:" + stream.partition(":")[2]
            )


@pytest.mark.parametrize(("limit", "status"), [("100", 0), ("-1", 1)])
def test_the_exit_status_says_whether_a_change_is_above_the_limit(limit, status):
    words = ["--methods", "naive", "--streams", "split_digits:task", "--seeds", "2", "--processes", "1", "--limit", limit]
    tiny = ["scenario.n_tasks=2", "trainer.epochs=1"]
    done = subprocess.run([sys.executable, "tools/stability.py", *words, *tiny], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "| naive | 0.00 |" in done.stdout
    assert done.stdout.endswith(f"{2 * status} of 2 runs change by more than {limit} points\n")
    assert ("naive on split_digits:task, seed 1: " in done.stdout) == bool(status)


def test_a_wrong_configuration_is_refused_with_its_message():
    words = ["--methods", "naive", "--streams", "split_digits:task", "--seeds", "1", "--processes", "1", "optimizer.lr=fast"]
    done = subprocess.run([sys.executable, "tools/stability.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "optimizer.lr='fast'" in done.stderr
    assert "Traceback" not in done.stderr
