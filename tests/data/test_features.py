"""Frozen features: computed once, kept, checked; the real MobileNetV2 where its weights are at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clbench.config.resolve import identity
from clbench.data.array_cache import OWN_NAME
from clbench.data.content_digest import data_sha256
from clbench.data.integrity import search_path
from clbench.data.sources import Features, Npz
from clbench.data.sources import frozen_features as module
from clbench.errors import ConfigError, DataError
from clbench.instantiate import instantiate
from clbench.utils import one_time
from tests.data.files import labelled_images, sha256
from tests.data.test_conf import node

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CALLS = []


class Tiny(nn.Module):
    """Features that depend on the mode: running statistics, dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x):
        CALLS.append(len(x))
        return self.layers(x)


class Flat(Tiny):
    """No features: one number per image."""

    def forward(self, x):
        return super().forward(x)[:, 0]


class Broken(Tiny):
    def forward(self, x):
        return super().forward(x) / 0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with images and weights; torchvision's own cache is empty."""
    CALLS.clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (x, y), (x_test, y_test) = labelled_images(24, (8, 7, 3)), labelled_images(9, (8, 7, 3), seed=1)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    torch.manual_seed(0)
    weights = Tiny().state_dict()
    weights["layers.1.running_mean"] += 0.3
    torch.save(weights, tmp_path / "tiny.pth")
    return tmp_path


def source(place, **changes):
    of = Npz(name="own", path=str(place / "own.npz"))
    given = {"network": f"{__name__}.Tiny", "size": 12}
    if "files" not in changes:
        given["files"] = {"tiny.pth": sha256(place / "tiny.pth")}
    return Features(**{"name": "tiny", "of": of, "input_mean": MEAN, "input_std": STD, "mean": (), "std": (), **given, **changes})


def kept(place):
    return sorted((place / "features").glob("*.npz"))


def test_features_are_the_networks_in_evaluation_mode(place):
    features = source(place)
    data = features.load([place])
    network = Tiny()
    network.load_state_dict(torch.load(place / "tiny.pth", weights_only=True))
    network.eval()
    arrays = np.load(place / "own.npz")
    for pool, side in ((data.train, "train"), (data.test, "test")):
        x = torch.from_numpy(arrays[f"x_{side}"]).permute(0, 3, 1, 2) / 255
        x = nn.functional.interpolate(x, (12, 12), mode="bilinear", align_corners=False)
        with torch.no_grad():
            expected = network((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
        torch.testing.assert_close(pool.inputs, expected, rtol=1e-4, atol=1e-5)
        assert pool.targets.tolist() == arrays[f"y_{side}"].tolist()
        assert not pool.inputs.is_inference()
    assert (features.n_classes, features.image, features.mean) == (3, False, ())


def test_grey_images_are_seen_as_rgb(place):
    x, y = labelled_images(12, (8, 7))
    for name, images in (("grey.npz", x), ("rgb.npz", np.repeat(x[..., None], 3, axis=3))):
        np.savez(place / name, x_train=images, y_train=y, x_test=images[:6], y_test=y[:6])
    grey, rgb = (source(place, of=Npz(name=n, path=str(place / f"{n}.npz"))).load([place]) for n in ("grey", "rgb"))
    assert torch.equal(grey.train.inputs, rgb.train.inputs)


def test_computed_once_and_then_neither_images_nor_weights_are_needed(place):
    first = source(place).load([place])
    assert sum(CALLS) == 24 + 9
    (file,) = kept(place)
    written = file.read_bytes()
    (place / "tiny.pth").rename(place / "moved.pth")
    again = source(place, files={"tiny.pth": sha256(place / "moved.pth")})
    data = again.load([place])
    assert sum(CALLS) == 24 + 9
    assert torch.equal(first.train.inputs, data.train.inputs)
    assert torch.equal(first.test.inputs, data.test.inputs)
    assert data.test.targets.tolist() == first.test.targets.tolist()
    assert file.read_bytes() == written
    assert not [path for path in file.parent.iterdir() if path.name.startswith(f".{file.name}")]


def test_the_progress_is_shown(place, monkeypatch):
    monkeypatch.setattr(one_time, "EVERY", 0.0)
    monkeypatch.setattr(module, "BATCHES", {"cpu": 10, "cuda": 10})
    said = []
    with one_time.listening(said.append):
        source(place).load([place])
    shown = [text for text in said if text.startswith("tiny: features")]
    training = [f"tiny: features of the training images: {done}/24" for done in (10, 20, 24)]
    assert shown == [*training, "tiny: features of the test images: 9/9"]


@pytest.mark.parametrize("damage", ["cut short", "altered", "empty"])
def test_a_damaged_file_is_noticed_and_computed_again(place, capsys, damage):
    first = source(place).load([place])
    (file,) = kept(place)
    whole = file.read_bytes()
    altered = bytearray(whole)
    altered[whole.index(first.train.inputs.numpy().tobytes()) + 5] ^= 4
    file.write_bytes({"cut short": whole[: len(whole) // 2], "altered": bytes(altered), "empty": b""}[damage])
    capsys.readouterr()
    data = source(place).load([place])
    said = capsys.readouterr().err
    assert "damaged" in said
    assert str(file) in said
    assert torch.equal(first.train.inputs, data.train.inputs)
    assert file.read_bytes() == whole


def test_features_of_another_network_under_this_name_are_noticed_and_computed_again(place, capsys):
    first = source(place).load([place])
    (file,) = kept(place)
    source(place, size=9).load([place])
    (other,) = [path for path in kept(place) if path != file]
    other.replace(file)
    capsys.readouterr()
    data = source(place).load([place])
    said = capsys.readouterr().err
    assert f"{file} holds what was stored as {other.stem}" in said
    assert torch.equal(first.train.inputs, data.train.inputs)


def test_features_of_earlier_versions_which_hold_no_name_are_taken(place, capsys):
    source(place).load([place])
    (file,) = kept(place)
    with np.load(file) as arrays:
        plain = {key: arrays[key] for key in arrays.files if key != OWN_NAME}
        assert len(plain) == len(arrays.files) - 1
    np.savez(file, **plain)
    CALLS.clear()
    source(place).load([place])
    assert CALLS == []
    assert "damaged" not in capsys.readouterr().err


def test_other_weights_than_declared_are_refused(place):
    features = source(place)
    torch.save({name: value + 1 for name, value in Tiny().state_dict().items()}, place / "tiny.pth")
    with pytest.raises(DataError, match=r"tiny\.pth is damaged or another file"):
        features.load([place])
    assert not kept(place)


@pytest.mark.parametrize(
    "changes",
    [{"size": 11}, {"input_mean": (0.5, 0.4, 0.31)}, {"input_std": (0.2, 0.3, 0.41)}, {"of": "other"}, {"files": "other"}],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_changes_the_features_changes_the_file(place, changes):
    source(place).load([place])
    if changes.get("of"):
        x, y = labelled_images(24, (8, 7, 3), seed=2)
        np.savez(place / "other.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        changes = {"of": Npz(name="own", path=str(place / "other.npz"))}
    if changes.get("files"):
        torch.save(Tiny().state_dict(), place / "other.pth")
        changes = {"files": {"other.pth": sha256(place / "other.pth")}}
    source(place, **changes).load([place])
    assert len(kept(place)) == 2


def test_the_digest_is_that_of_the_node_and_needs_no_torch():
    shipped = node("cifar10_mobilenet")
    made = instantiate(shipped, "scenario.dataset")
    assert data_sha256(shipped, []) == data_sha256(vars(made), [])
    assert data_sha256(shipped, []) not in (data_sha256(shipped["of"], []), data_sha256({**shipped, "size": 64}, []))
    assert data_sha256({**shipped, "of": node("mnist")}, []) != data_sha256(shipped, [])
    code = f"from clbench.data.content_digest import data_sha256; data_sha256({shipped!r}, [])"
    code += "; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_where_the_images_lie_is_no_part_of_the_identity():
    dataset = {"name": "tiny", "of": {"name": "own", "path": "here/own.npz"}}
    found = identity({"scenario": {"dataset": dataset}}, {}, "", 0, {})
    assert found["scenario"]["dataset"] == {"name": "tiny", "of": {"name": "own"}}


def test_kept_in_the_last_folder_that_can_be_written(place, monkeypatch):
    other = place / "second"
    source(place).load([place, other])
    assert kept(other)
    assert not kept(place)
    source(place).load([other, place])
    assert sum(CALLS) == 24 + 9
    (place / "file").write_text("")
    source(place, size=5).load([place, place / "file"])
    assert kept(place)
    with pytest.raises(DataError, match="no folder of the search path is writable"):
        source(place, size=6).load([place / "file"])


def test_missing_weights_are_named_with_all_ways_to_get_them(place, network):
    (place / "tiny.pth").rename(place / "moved.pth")
    features = source(place, files={"w/tiny.pth": sha256(place / "moved.pth")})
    with pytest.raises(DataError, match=r"w/tiny\.pth were not found") as caught:
        features.load([place])
    assert "data.download=true" in caught.value.remedy
    with pytest.raises(DataError, match=r"torchvision has no weights tiny\.pth"):
        features.load([place], download=True)
    assert not network
    (place / "hub" / "checkpoints").mkdir(parents=True)
    (place / "moved.pth").rename(place / "hub" / "checkpoints" / "tiny.pth")
    assert len(features.load([place]).train) == 24


def test_download_asks_for_torchvisions_own_file(place, network, monkeypatch):
    shipped = node("cifar10_mobilenet")
    features = source(place, network="mobilenet_v2", files=shipped["files"])
    with pytest.raises(DataError, match="were not found"):
        features.load([place])
    assert not network
    with pytest.raises(DataError, match=r"download\.pytorch\.org/models/mobilenet_v2-b0353104\.pth could not be downloaded"):
        features.load([place], download=True)
    assert network
    assert not list((place / "mobilenet").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "no_such_net"}, "network=no_such_net"),
        ({"network": "tests.data.test_features.Absent"}, "has no Absent"),
        ({"network": "resnet18"}, r"tiny\.pth has no weights of resnet18"),
        ({"network": "tests.data.test_features.Flat"}, r"does not return float features \[B, d\]"),
        ({"files": {}}, "files names 0 files"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(place, changes, message):
    with pytest.raises(ConfigError, match=message):
        source(place, **changes).load([place])
    assert not kept(place)


def test_features_that_are_not_finite_are_never_kept(place):
    with pytest.raises(DataError, match="not finite"):
        source(place, network=f"{__name__}.Broken").load([place])
    assert not kept(place)


def test_only_images_have_features(place):
    features = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    np.savez(place / "flat.npz", x_train=features, y_train=np.arange(12) % 3, x_test=features, y_test=np.arange(12) % 3)
    with pytest.raises(ConfigError, match=r"a sample of flat has shape \[5\]"):
        source(place, of=Npz(name="flat", path=str(place / "flat.npz"))).load([place])


def real(needed):
    """The search path, if it has the file `needed`; else the test is skipped."""
    search = search_path(os.environ.get("CLBENCH_DATA") or None)
    if not any((folder / needed).is_file() for folder in search):
        pytest.skip(f"{needed} is not in CLBENCH_DATA or the user's cache folder")
    return search


def test_real_mobilenet_on_a_few_images_of_cifar10(tmp_path):
    """Against torchvision's own preprocessing and the input of the network's own classifier."""
    from torchvision import models
    from torchvision.transforms import functional

    shipped = node("cifar10_mobilenet")
    (weights,) = shipped["files"]
    (folder,) = [folder for folder in real(weights) if (folder / weights).is_file()][:1]
    images = next(place / "cifar10/cifar10.npz" for place in real("cifar10/cifar10.npz") if (place / "cifar10").is_dir())
    with np.load(images) as arrays:
        x, y = arrays["x_test"][:30], arrays["y_test"][:30]
    np.savez(tmp_path / "few.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    few = {"_target_": "clbench.data.sources.Npz", "name": "few", "path": str(tmp_path / "few.npz")}
    found = instantiate({**shipped, "of": few}, "scenario.dataset").load([folder, tmp_path]).train.inputs
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(folder / weights, weights_only=True))
    entered = []
    network.eval().classifier.register_forward_pre_hook(lambda part, inputs: entered.append(inputs[0]))
    pixels = functional.resize(torch.from_numpy(x).permute(0, 3, 1, 2) / 255, [96, 96], antialias=True)
    with torch.no_grad():
        network(functional.normalize(pixels, shipped["input_mean"], shipped["input_std"]))
    assert found.shape == (30, 1280)
    torch.testing.assert_close(found, entered[0], rtol=1e-3, atol=1e-3)


def test_kept_features_of_cifar10_give_the_known_accuracy():
    """Nearest class mean in angle, first 2,000 training images, first 1,000 test images: 73.6 %, measured independently."""
    shipped = node("cifar10_mobilenet")
    name = Path(module.FOLDER, f"cifar10_mobilenet-{data_sha256(shipped, [])[:16]}.npz")
    data = instantiate(shipped, "scenario.dataset").load(real(name))
    assert data.train.inputs.shape == (50000, 1280)
    assert data.test.targets.bincount().tolist() == [1000] * 10
    x, y = data.train.inputs[:2000], data.train.targets[:2000]
    means = torch.stack([x[y == label].mean(0) for label in range(10)])
    chosen = (data.test.inputs[:1000] @ nn.functional.normalize(means, dim=1).T).argmax(1)
    assert float((chosen == data.test.targets[:1000]).float().mean()) == pytest.approx(0.736, abs=0.003)
