"""The shipped files: each composes, holds exactly its function's arguments, and fits the data set it names."""

import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from clbench.data.integrity import search_path
from clbench.errors import ConfigError, DataError
from clbench.instantiate import locate, parameters
from clbench.scenarios.scenario_options import DataAccess, make_stream, options_class

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "scenario").glob("*.yaml"))
SETTINGS = {
    "split": "class",
    "permuted": "domain",
    "rotated": "domain",
    "sequence": "class",
    "texts": "class",
    "unlearn": "class",
}
SETTINGS["biography"] = "domain"
BIOGRAPHY = {"biography", "biography_tiny"}
UNLEARN = {
    "unlearn",
    "unlearn_digits",
    "unlearn_mnist",
    "unlearn_fashion_mnist",
    "unlearn_debian",
    "unlearn_presidents",
    "unlearn_biography",
}
UNLEARN |= {"unlearn_clinc", "unlearn_scienceqa", "unlearn_tofu"}
TEXTS = {"debian_sections", "sentiment_domains", "standard_cl", "long_sequence", "trace"}


def node(*overrides):
    """Return the composed scenario node; the first override is the scenario's name."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+scenario={overrides[0]}", *overrides[1:]])
    return OmegaConf.to_container(config.scenario, resolve=True)


def make(config, search=()):
    return make_stream(config, DataAccess(0, "", list(search)))


def test_everything_promised_is_there():
    sets = ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "kmnist", "animals"]
    promised = {f"{kind}_{name}" for kind in ("split", "permuted", "rotated") for name in sets}
    others = {"split", "permuted", "rotated", "sequence", "split_miniimagenet", "split_cifar10_mobilenet", "four_datasets"}
    others |= UNLEARN
    promised |= others | {"five_datasets", "split_cifar100_superclass", "texts"} | TEXTS | BIOGRAPHY
    assert promised <= set(NAMES)
    datasets = {path.stem for path in (CONF / "scenario" / "dataset").glob("*.yaml")}
    of_one_set = {f"{kind}_{name}" for kind in ("split", "permuted", "rotated") for name in datasets}
    assert set(NAMES) - promised <= of_one_set, "a further file is a scenario of a data set, named after both"


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_the_options(name):
    config = node(name)
    kind = config["_target_"].rpartition(".")[2]
    accepted, _ = parameters(options_class(locate(config["_target_"], "scenario")))
    assert set(config) - {"_target_", "task_range"} == set(accepted)
    assert config["setting"] == ("domain" if name in ("sentiment_domains", "trace", "unlearn_tofu") else SETTINGS[kind])
    assert name.startswith(kind) or name.endswith("_datasets") or name in TEXTS
    for key, dataset in config.get("datasets", {}).items():
        assert dataset["name"] == key
    if name in BIOGRAPHY:
        assert config["dataset"]["name"] == name
    elif "dataset" in config and name not in TEXTS:
        assert name.removesuffix("_superclass") in (kind, f"{kind}_{config['dataset']['name']}")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("split")])
def test_tasks_divide_the_classes(name):
    config = node(name)
    assert config["dataset"]["n_classes"] % config["n_tasks"] == 0


def test_superclasses_of_cifar100():
    """Every class once; and the superclass of each fine label as in the data set's own files (coarse label by fine label)."""
    coarse = (
        "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 "
        "6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 "
        "16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 "
        "12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
    )
    groups = node("split_cifar100_superclass")["groups"]
    assert groups == [[fine for fine, own in enumerate(coarse.split()) if int(own) == label] for label in range(20)]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("permuted")])
def test_permuted_pixels_are_not_cropped(name):
    dataset = node(name)["dataset"]
    assert not dataset.get("crop")
    assert not dataset.get("flip")


@pytest.mark.parametrize("name", ["split", "permuted", "rotated", "split_digits", "permuted_digits", "rotated_digits"])
def test_digits_need_nothing(name):
    stream = make(node(name))
    assert stream.input_shape == (1, 8, 8)
    assert len(stream) == len(stream.evaluation) == node(name)["n_tasks"]
    images = sum(len(task.train) for task in stream.tasks) + sum(len(column.split) for column in stream.evaluation)
    assert images == 1797 * (1 if name.startswith("split") else len(stream))


def test_data_set_can_be_exchanged(tmp_path):
    assert node("split_mnist", "scenario/dataset=fashion_mnist")["dataset"]["name"] == "fashion_mnist"
    own = node("split", "scenario/dataset=npz", f"scenario.dataset.path={tmp_path / 'own.npz'}", "scenario.n_tasks=2")
    assert own["dataset"]["path"] == str(tmp_path / "own.npz")
    import numpy as np

    arrays = {"x_train": np.arange(8 * 9, dtype=np.uint8).reshape(8, 3, 3), "y_train": np.array([3, 5, 7, 9] * 2)}
    np.savez(tmp_path / "own.npz", x_test=arrays["x_train"][:4], y_test=arrays["y_train"][:4], **arrays)
    stream = make(own)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    sequence = node("four_datasets", "scenario/dataset@scenario.datasets.mnist=kmnist")
    assert list(sequence["datasets"]) == ["mnist", "fashion_mnist", "animals", "cifar10"]
    assert sequence["datasets"]["mnist"]["name"] == "kmnist"


def test_unknown_data_set_is_refused():
    with pytest.raises(HydraException):
        node("split", "scenario/dataset=nothing_of_this_name")


def test_a_sequence_without_data_sets():
    with pytest.raises(ConfigError, match=r"scenario\.datasets is empty") as caught:
        make(node("sequence"))
    assert "four_datasets" in caught.value.remedy


def test_order_of_the_sequences():
    assert list(node("four_datasets")["datasets"]) == ["mnist", "fashion_mnist", "animals", "cifar10"]
    assert list(node("five_datasets")["datasets"]) == ["cifar10", "mnist", "svhn", "notmnist", "fashion_mnist"]


def test_normalisation_of_five_data_sets():
    """Moments of the pairs in dataloader/five_datasets.py of the GPM authors' program, equally weighted."""
    means = torch.tensor(
        [[125.3 / 255, 123.0 / 255, 113.9 / 255], [0.1] * 3, [0.4377, 0.4438, 0.4728], [0.4254] * 3, [0.2190] * 3]
    )
    stds = torch.tensor([[63.0 / 255, 62.1 / 255, 66.7 / 255], [0.2752] * 3, [0.198, 0.201, 0.197], [0.4501] * 3, [0.3318] * 3])
    mean = means.mean(0)
    std = ((means**2 + stds**2).mean(0) - mean**2).sqrt()
    config = node("five_datasets")
    assert config["mean"] == pytest.approx(mean.tolist(), abs=6e-5)
    assert config["std"] == pytest.approx(std.tolist(), abs=6e-5)


@pytest.mark.slow
def test_four_data_sets_on_real_files():
    """Forty classes, and the normalisation that the file states, measured again."""
    if "CLBENCH_DATA" not in os.environ:
        pytest.skip("CLBENCH_DATA does not say where MNIST, Fashion-MNIST, animals and CIFAR-10 are")
    config = node("four_datasets")
    try:
        stream = make(config, search_path(None))
    except DataError as error:
        pytest.skip(str(error))
    assert stream.head_sizes == (40,)
    first, second = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for task in stream.tasks:
        counts = torch.zeros(3, 256, dtype=torch.float64)
        for rows in task.train.rows.split(5000):
            images = task.train.pool.inputs[rows]
            for channel in range(3):
                counts[channel] += torch.bincount(images[:, channel].flatten(), minlength=256)
        share, values = counts / counts.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
        first += share @ values / 4
        second += share @ values**2 / 4
    assert config["mean"] == pytest.approx(first.tolist(), abs=1e-4)
    assert config["std"] == pytest.approx((second - first**2).sqrt().tolist(), abs=1e-4)
