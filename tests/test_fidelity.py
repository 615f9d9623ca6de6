"""What the field knows must come out: naive forgets, joint bounds from above, replay and projection forget far less."""

import os
from pathlib import Path

import pytest

from clbench.metrics.matrix import summary
from clbench.testing import make_spec, run

SEEDS = (0, 1)
FAST = {
    "mnist": ["trainer.batch_size=64", "optimizer.lr=0.1"],
    "fashion_mnist": ["trainer.batch_size=64", "optimizer.lr=0.1"],
    "digits": ["trainer.epochs=5", "optimizer.lr=0.1", "model.init=default"],
}


def means(tmp_path, scenario, setting, method, *overrides):
    """Return the metrics in percent, averaged over seeds."""
    found = []
    for seed in SEEDS:
        options = [f"scenario={scenario}", f"scenario.setting={setting}", *overrides]
        spec = make_spec(method, options, seed=seed, results_dir=tmp_path / f"{method}{seed}")
        found.append(summary(run(spec).result))
    return {key: None if found[0][key] is None else sum(f[key] for f in found) / len(found) for key in found[0]}


def present(data):
    folders = [Path(part) for part in os.environ.get("CLBENCH_DATA", "").split(os.pathsep) if part]
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}.get(data)
    return folder is None or any((root / folder / "raw").is_dir() for root in folders)


@pytest.mark.parametrize("setting", ["task", "domain"])
@pytest.mark.parametrize("data", ["digits", *(pytest.param(d, marks=pytest.mark.slow) for d in ("mnist", "fashion_mnist"))])
def test_split(tmp_path, data, setting):
    if not present(data):
        pytest.skip(f"{data} is not in CLBENCH_DATA")
    scenario = f"split_{data}"
    naive, joint, er, gpm = (means(tmp_path, scenario, setting, m, *FAST[data]) for m in ("naive", "joint", "er", "gpm"))
    assert naive["learning_accuracy"] > 90
    assert naive["forgetting"] > 2
    assert er["forgetting"] < 0.6 * naive["forgetting"]
    assert gpm["forgetting"] < 0.6 * naive["forgetting"]
    assert er["learning_accuracy"] > naive["learning_accuracy"] - 3
    assert gpm["learning_accuracy"] > naive["learning_accuracy"] - 8
    assert joint["acc"] >= max(er["acc"], gpm["acc"]) - 2
    assert joint["acc"] > naive["acc"]
    assert joint["forgetting"] is None


@pytest.mark.parametrize("data", ["digits", pytest.param("mnist", marks=pytest.mark.slow)])
def test_permuted(tmp_path, data):
    if not present(data):
        pytest.skip(f"{data} is not in CLBENCH_DATA")
    options = {"mnist": ["trainer.batch_size=128", "optimizer.lr=0.2"], "digits": ["trainer.epochs=5"]}[data]
    naive, joint, er, gpm = (means(tmp_path, f"permuted_{data}", "domain", m, *options) for m in ("naive", "joint", "er", "gpm"))
    assert naive["forgetting"] > 10
    assert gpm["forgetting"] < 0.5 * naive["forgetting"]
    assert er["forgetting"] < 0.7 * naive["forgetting"]
    assert joint["acc"] > max(er["acc"], gpm["acc"], naive["acc"])


def test_in_the_class_setting_penalties_alone_end_near_naive(tmp_path):
    """The literature (van de Ven et al. 2022; Buzzega et al. 2020): regularisers do not help when classes must be told apart."""
    naive, er = (means(tmp_path, "split_digits", "class", m, "trainer.epochs=5") for m in ("naive", "er"))
    for penalty in ("ewc", "si", "lwf"):
        assert abs(means(tmp_path, "split_digits", "class", penalty, "trainer.epochs=5")["acc"] - naive["acc"]) < 5
    assert naive["acc"] < 25
    assert er["acc"] > 70


@pytest.mark.parametrize("method", ["der", "derpp", "er_ace", "gem", "agem", "icarl", "gdumb", "ncm", "slda"])
def test_what_stores_samples_or_classes_beats_naive_where_classes_must_be_told_apart(tmp_path, method):
    naive, found = (means(tmp_path, "split_digits", "class", m, "trainer.epochs=5") for m in ("naive", method))
    assert found["acc"] > naive["acc"] + (20 if method != "agem" else 3)
    assert found["learning_accuracy"] > 60
