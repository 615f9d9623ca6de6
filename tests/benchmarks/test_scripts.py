"""The benchmark scripts run, at a size at which their figures mean nothing; and the floor is the step it claims to be."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.data.files import labelled_images, write_mnist

FOLDER = Path(__file__).parents[2] / "benchmarks"
METHODS = {path.stem for path in (FOLDER.parent / "conf" / "method").glob("*.yaml")}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


def run(name, *options):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), *options], capture_output=True, text=True, env={**os.environ, **threads}
    )
    assert done.returncode in (0, 1), done.stderr  # 1: timings of a busy machine are not flat
    return done.stdout


@pytest.fixture
def images(tmp_path):
    """Files as those of Fashion-MNIST, with few samples in them."""
    write_mnist(tmp_path / "FashionMNIST" / "raw", labelled_images(200, (28, 28), 10), labelled_images(100, (28, 28), 10))
    return tmp_path


def test_the_step_by_hand_is_that_of_autograd(scripts):
    import floor

    torch.manual_seed(0)
    weights = [torch.randn(b, a) / a**0.5 for a, b in pairwise(floor.WIDTHS)]
    biases = [torch.randn(b) for b in floor.WIDTHS[1:]]
    x, y = torch.randn(16, 784), torch.randint(0, 10, (16,))
    leaves = [part.clone().requires_grad_() for pair in zip(weights, biases) for part in pair]
    hidden = F.relu(F.linear(F.relu(F.linear(x, *leaves[:2])), *leaves[2:4]))
    found = torch.autograd.grad(F.cross_entropy(F.linear(hidden, *leaves[4:]), y), leaves)
    floor.step(x, y, weights, biases, 0.5)
    ours = [part for pair in zip(weights, biases) for part in pair]
    for moved, leaf, gradient in zip(ours, leaves, found):
        torch.testing.assert_close(moved, leaf.detach() - 0.5 * gradient)
        assert not torch.equal(moved, leaf)


def test_the_floor_and_a_lane_of_plain_loops_print_their_runs(images):
    (floor,) = map(json.loads, run("floor.py", "--root", str(images), "--batch", "16").splitlines())
    assert floor["steps"] == 15
    assert floor["products_us"] > 0
    lane = [json.loads(line) for line in run("seeds.py", "--root", str(images), "--batch", "16", "--lane", "0,2").splitlines()]
    assert [one["steps"] for one in lane] == [45, 45]  # three passes
    assert [len(one["accuracy"]) for one in [floor, *lane]] == [5, 5, 5]
    assert lane[0]["accuracy"] != lane[1]["accuracy"]


def test_throughput_is_runs_per_second(scripts):
    import seeds

    side = {"runs": [{"train_s": 3.0, "eval_s": 1.0}, {"train_s": 5.0, "eval_s": 1.0}], "wall_s": 10.0}
    assert list(seeds.throughputs(side, 2).values()) == [2 / 4.0, 2 / 5.0, 2 / 10.0]


def test_growth_compares_the_last_quarter_with_the_first_but_for_the_very_first(scripts):
    import scaling

    assert scaling.quarters([9.0, 1.0, 1.0, 1.0, 5.0, 5.0, 2.0, 2.0]) == (1.0, 2.0)
    assert scaling.growth({"by_task": [9.0, 1.0, 1.0, 1.0, 5.0, 5.0, 2.0, 2.0]}) == 2.0


def test_scaling_prints_a_row_for_each_method():
    options = ("--tasks", "4", "--methods", "naive,er", "--repeats", "1")
    lines = run("scaling.py", *options).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert [row[:2] for row in cells] == [["naive", "4"], ["er", "4"]]
    assert [row[6] for row in cells] == ["0.00", "0.02"]  # 200 samples of 64 bytes, and where they are
    assert all(float(row[7]) > 50 for row in cells)


def test_every_method_named_is_explained_and_there(scripts):
    import scaling
    import step_overhead
    import vs_avalanche

    assert {*step_overhead.WHY, *vs_avalanche.OPTIONS, *scaling.OPTIONS, *scaling.GROWS} <= METHODS
    assert vs_avalanche.OPTIONS.keys() == vs_avalanche.WORK.keys()
    assert [name for name, text in step_overhead.WHY.items() if not text] == ["naive"]


def test_the_difference_of_final_accuracies_has_its_standard_error(scripts):
    import vs_avalanche

    runs = {
        "clbench": [{"accuracy": [[90.0, 94.0]]}, {"accuracy": [[92.0, 96.0]]}],
        "Avalanche": [{"accuracy": [[90.0, 90.0]]}] * 2,
    }
    assert vs_avalanche.apart(runs) == "+3.00 ± 1.00 (standard error)"


def test_stacked_seeds_are_measured_as_one_and_learn_as_alone(scripts):
    import stacked

    one, two = (stacked.measure("digits", "naive", "cpu", count, 0) for count in (1, 2))
    assert (one["stacked"], two["stacked"]) == (1, 2)
    assert two["samples_per_s"] > 0
    assert one["busy"] is None or 0 <= one["busy"] <= 100
    gaps = [abs(a - b) for first, second in zip(one["accuracy"], two["accuracy"]) for a, b in zip(first, second)]
    assert max(gaps) < 3  # rounding moves single answers, a point or so; mixed seeds would differ by tens of points


def test_a_step_of_a_large_network_is_compared_with_the_one_it_builds_on():
    pytest.importorskip("peft")
    options = ("--pairs", "olora/seq_lora", "--models", "decoder", "--tasks", "2", "--batch", "2", "--length", "4")
    lines = run("llm_step.py", *options, "--repeats", "2").splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][:3] == ["olora/seq_lora", "decoder", "2"]
    assert float(lines[2].split("|")[5].split()[0]) > 0
    assert "2 x 4 tokens" in lines[-1]


def test_pairs_name_methods_that_are_there(scripts):
    import llm_step

    assert {side[0] for pair in llm_step.PAIRS.values() for side in (pair.above, pair.below)} <= METHODS


def test_clients_side_by_side_end_where_those_one_by_one_do():
    lines = run(
        "federated.py", "--clients", "3", "--chunk", "2", "--samples", "7", "--batch", "3", "--hidden", "4", "--repeats", "1"
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines() if line.startswith("|")][2:]
    assert [row[:2] for row in rows] == [["3", name] for name in ("bare loop", "one by one", "side by side")]
    assert all(float(row[2]) > 0 for row in rows)
    assert float(lines.split()[-1].rstrip(".")) < 1e-5


def test_a_secure_sum_is_timed_by_step():
    pytest.importorskip("cryptography")
    lines = run("secure_sum.py", "--entries", "500", "--clients", "4", "--turns", "1").splitlines()
    parts, *sums = map(json.loads, lines)
    assert min(parts["mask_aes_ns"], parts["mask_shake_ns"], parts["shares_ms"]) > 0
    assert [(line["neighbours"], line["keys"]) for line in sums] == [(n, k) for n in (None, 20) for k in ("simulated", "x25519")]
    assert all(line[step] >= 0 for line in sums for step in ("setup", "mask", "unmask"))
