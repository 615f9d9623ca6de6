"""The shipped data sets: every node of conf/scenario/dataset makes a source, and its keys are that source's fields."""

from dataclasses import fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from clbench.data.content_digest import data_sha256
from clbench.data.sources import Source
from clbench.errors import ConfigError
from clbench.instantiate import instantiate, locate

CONF = Path(__file__).parents[2] / "conf" / "scenario" / "dataset"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
GENERATED = {"biography", "biography_tiny"}
"""Nodes of generators: nothing is read, and only their own scenario knows them."""


def node(name):
    """The data set's node, composed: features stand on another data set's."""
    with initialize_config_dir(str(CONF.parents[1]), version_base="1.3"):
        config = compose(overrides=[f"+scenario/dataset={name}"])
    return OmegaConf.to_container(config.scenario.dataset, resolve=True)


def test_all_are_there():
    assert {
        "digits",
        "mnist",
        "fashion_mnist",
        "cifar10",
        "cifar10_mobilenet",
        "cifar100",
        "svhn",
        "kmnist",
        "emnist",
        "animals",
        "notmnist",
        "miniimagenet",
        "npz",
        "folder",
        "sentiment",
        "sections",
        "presidents",
        "agnews",
        "amazon",
        "dbpedia",
        "yahoo",
        "yelp",
        "text_folder",
        "clinc",
        "question_folder",
        "choice_folder",
    } <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name in GENERATED])
def test_node_of_a_generator_holds_exactly_its_settings(name):
    config = node(name)
    made = instantiate(config, "scenario.dataset")
    assert made.name == name
    assert set(config) - {"_target_"} == {f.name for f in fields(made)}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in GENERATED])
def test_node_makes_a_source_with_its_keys(name):
    config = node(name)
    source = instantiate(config, "scenario.dataset")
    assert isinstance(source, Source)
    assert source.name == name
    assert set(config) - {"_target_"} <= {f.name for f in fields(locate(config["_target_"], "")) if f.init}
    assert {"n_classes", "mean", "std", "crop", "flip"} <= set(config)
    if source.mean is not None:
        assert all(0 < value < 1 for value in (*source.mean, *source.std))
        assert len(source.mean) == len(source.std)


@pytest.mark.parametrize("name", NAMES)
def test_sums_have_the_length_of_their_kind(name):
    config = node(name)
    for value in [
        *config.get("files", {}).values(),
        *config.get("folders", {}).values(),
        *filter(None, [config.get("content_sha256")]),
    ]:
        assert len(value) == 64
    for value in config.get("md5", {}).values():
        assert len(value) == 32


def test_identities_differ_and_need_no_files():
    declared = [name for name in NAMES if any(node(name).get(key) for key in ("content_sha256", "files", "md5", "folders"))]
    assert len(declared) >= 13
    assert len({data_sha256(node(name), []) for name in declared}) == len(declared)


def test_md5_are_those_of_torchvision():
    from torchvision import datasets

    for name, owner in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        known = {f"{owner.base_folder}/{file}": total for file, total in [*owner.train_list, *owner.test_list]}
        known[f"{owner.base_folder}/{owner.meta['filename']}"] = owner.meta["md5"]
        assert node(name)["md5"] == known
    assert node("svhn")["md5"] == {
        f"SVHN/{datasets.SVHN.split_list[s][1]}": datasets.SVHN.split_list[s][2] for s in ("train", "test")
    }
    assert node("kmnist")["md5"] == {f"KMNIST/raw/{file}": total for file, total in datasets.KMNIST.resources}
    assert node("emnist")["md5"] == {"EMNIST/raw/gzip.zip": datasets.EMNIST.md5}


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("digits", "scale", "much"),
        ("digits", "test_every", 1),
        ("mnist", "crop", -1),
        ("mnist", "mean", 0.1),
        ("mnist", "n_classes", 0),
        ("folder", "channels", 2),
        ("folder", "size", [28]),
        ("folder", "size", [0, 3]),
        ("npz", "path", 7),
        ("mnist", "flip", 1),
    ],
)
def test_wrong_values_are_refused_with_key_and_value(name, key, value):
    with pytest.raises(ConfigError, match=rf"scenario\.dataset\.{key}"):
        instantiate({**node(name), key: value}, "scenario.dataset")


def test_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="tst_every"):
        instantiate({**node("npz"), "tst_every": 5}, "scenario.dataset")
