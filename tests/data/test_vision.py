"""torchvision's data sets, on tiny files in the formats of the real ones."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from clbench.data.sources import Vision
from clbench.data.sources.base import content_sha256
from clbench.errors import ConfigError, DataError
from tests.data.files import idx, labelled_images, md5, sha256, write_mnist

TRAIN, TEST = labelled_images(12, (5, 4)), labelled_images(6, (5, 4), seed=1)
NAMES = [f"{prefix}-{kind}-ubyte" for prefix in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def mnist(place, dataset="MNIST", **changes):
    """A source whose declared sums are those of the tiny files in `place`."""
    write_mnist(place / dataset / "raw", TRAIN, TEST)
    files = {f"{dataset}/raw/{name}": sha256(place / dataset / "raw" / name) for name in NAMES}
    return Vision(
        **{
            "name": "tiny",
            "dataset": dataset,
            "train_args": {"train": True},
            "test_args": {"train": False},
            "files": files,
            **changes,
        }
    )


def check(data, train=TRAIN, test=TEST):
    for pool, (images, labels) in ((data.train, train), (data.test, test)):
        assert torch.equal(
            pool.inputs,
            torch.from_numpy(images)[:, None] if images.ndim == 3 else torch.from_numpy(images).permute(0, 3, 1, 2),
        )
        assert pool.targets.tolist() == labels.tolist()
        assert pool.inputs.is_contiguous()


@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST"])
def test_raw_files_are_enough(tmp_path, network, dataset):
    check(mnist(tmp_path, dataset).load([tmp_path / "elsewhere", tmp_path]))
    assert not network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])], ids=["cut short", "altered"])
def test_damaged_file_is_named_and_not_read(tmp_path, network, name, damage):
    source = mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        source.load([tmp_path])
    assert str(path) in caught.value.what
    assert source.files[f"MNIST/raw/{name}"] in caught.value.what
    assert "data.download=true" in caught.value.remedy
    assert not network


def test_missing_file_is_named_with_all_ways_to_get_it(tmp_path, network):
    source = mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / NAMES[2]).unlink()
    with pytest.raises(DataError, match=f"{NAMES[2]} is missing in") as caught:
        source.load([tmp_path, tmp_path / "last"])
    assert f"data.download=true fetches it into {tmp_path / 'last'}" in caught.value.remedy
    assert "CLBENCH_DATA" in caught.value.remedy
    assert not network


def test_offline_is_the_default_and_download_asks_the_network(tmp_path, network, monkeypatch):
    source = mnist(tmp_path / "other")
    monkeypatch.setattr(datasets.MNIST, "download", lambda self: pytest.fail("download was called"))
    with pytest.raises(DataError, match="was not found"):
        source.load([tmp_path / "here"])
    assert not network


def test_a_failing_download_is_one_clear_error(tmp_path, network, capsys):
    source = mnist(tmp_path / "other")
    with pytest.raises(DataError, match="tiny could not be downloaded"):
        source.load([tmp_path / "here"], download=True)
    assert network
    assert f"tiny: downloading into {tmp_path / 'here'}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "here").iterdir()] == [".lock"]


def fake_download(monkeypatch, train=TRAIN, calls=None):
    def download(self):
        if calls is not None:
            calls.append(self.root)
        write_mnist(Path(self.raw_folder), train, TEST)

    monkeypatch.setattr(datasets.MNIST, "download", download)


def test_download_goes_into_the_last_folder_once(tmp_path, monkeypatch, network):
    source, calls = mnist(tmp_path / "other"), []
    fake_download(monkeypatch, calls=calls)
    check(source.load([tmp_path / "first", tmp_path / "last"], download=True))
    assert sorted(path.name for path in (tmp_path / "last" / "MNIST" / "raw").iterdir()) == sorted(NAMES)
    assert not (tmp_path / "first").exists()
    assert not [path for path in (tmp_path / "last").iterdir() if path.name.startswith(".download-")]
    made = len(calls)
    check(source.load([tmp_path / "first", tmp_path / "last"], download=True))
    assert len(calls) == made


def test_a_download_that_is_not_as_declared_is_not_kept(tmp_path, monkeypatch):
    source = mnist(tmp_path / "other")
    fake_download(monkeypatch, train=labelled_images(12, (5, 4), seed=7))
    with pytest.raises(DataError, match="is damaged or another file"):
        source.load([tmp_path / "here"], download=True)
    assert not (tmp_path / "here" / "MNIST").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    source = mnist(tmp_path / "other")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be stored in"):
        source.load([tmp_path / "file"], download=True)


def test_an_unverifiable_old_copy_is_refused(tmp_path):
    source = mnist(tmp_path)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(2, 5, 4, dtype=torch.uint8), torch.zeros(2)), processed / name)
    with pytest.raises(DataError, match="by an old torchvision"):
        source.load([tmp_path])


def test_unknown_torchvision_data_set(tmp_path):
    source = mnist(tmp_path)
    source.dataset = "MNISTT"
    with pytest.raises(ConfigError, match="torchvision has no dataset='MNISTT'"):
        source.load([tmp_path])


def test_kmnist_by_its_archives(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    write_mnist(raw, TRAIN, TEST, packed=True)
    source = mnist(
        tmp_path,
        "KMNIST",
        files={},
        md5={f"KMNIST/raw/{name}.gz": md5(raw / f"{name}.gz") for name in NAMES},
        unpacked={f"KMNIST/raw/{name}": f"KMNIST/raw/{name}.gz" for name in NAMES},
    )
    check(source.load([tmp_path]))
    (raw / NAMES[0]).write_bytes(idx(labelled_images(12, (5, 4), seed=7)[0]))
    with pytest.raises(DataError, match=f"{NAMES[0]} is damaged"):
        source.load([tmp_path])


def test_emnist_by_its_archive(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    write_mnist(raw, TRAIN, TEST, packed=True)
    unpacked = {}
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        for name in NAMES:
            own = f"emnist-balanced-{name.replace('t10k', 'test')}"
            (raw / name).rename(raw / own)
            archive.write(raw / f"{name}.gz", f"gzip/{own}.gz")
            unpacked[f"EMNIST/raw/{own}"] = f"EMNIST/raw/gzip.zip!gzip/{own}.gz"
    source = Vision(
        name="tiny",
        dataset="EMNIST",
        train_args={"split": "balanced", "train": True},
        test_args={"split": "balanced", "train": False},
        md5={"EMNIST/raw/gzip.zip": md5(raw / "gzip.zip")},
        unpacked=unpacked,
    )
    check(source.load([tmp_path]))


def test_svhn(tmp_path, monkeypatch):
    parts = {"train": labelled_images(12, (32, 32, 3)), "test": labelled_images(6, (32, 32, 3), seed=1)}
    (tmp_path / "SVHN").mkdir()
    sums, lists = {}, {}
    for part, (images, labels) in parts.items():
        path = tmp_path / "SVHN" / f"{part}_32x32.mat"
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)})
        sums[f"SVHN/{path.name}"] = md5(path)
        lists[part] = ["", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    source = Vision(
        name="tiny", dataset="SVHN", folder="SVHN", train_args={"split": "train"}, test_args={"split": "test"}, md5=sums
    )
    check(source.load([tmp_path]), *parts.values())


class TestCifar10:
    @pytest.fixture
    def parts(self):
        return {"train": labelled_images(12, (32, 32, 3)), "test": labelled_images(6, (32, 32, 3), seed=1)}

    @pytest.fixture
    def source(self, tmp_path, monkeypatch, parts):
        """A source of both forms: torchvision's in `tmp_path / "batches"`, the .npz file in `tmp_path / "npz"`."""
        folder = tmp_path / "batches" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        (train, labels), (test, test_labels) = parts.values()
        for name, images, own in (
            ("data_batch_1", train[:6], labels[:6]),
            ("data_batch_2", train[6:], labels[6:]),
            ("test_batch", test, test_labels),
        ):
            content = {"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": own.tolist()}
            (folder / name).write_bytes(pickle.dumps(content))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b", "c"]}))
        sums = {path.name: md5(path) for path in folder.iterdir()}
        monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, sums[n]] for n in ("data_batch_1", "data_batch_2")])
        monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": sums["batches.meta"]})
        (tmp_path / "npz").mkdir()
        np.savez_compressed(tmp_path / "npz" / "c.npz", x_train=train, y_train=labels, x_test=test, y_test=test_labels)
        return Vision(
            name="tiny",
            dataset="CIFAR10",
            train_args={"train": True},
            test_args={"train": False},
            md5={f"cifar-10-batches-py/{name}": total for name, total in sums.items()},
            npz="c.npz",
        )

    def test_both_forms_are_the_same_data(self, tmp_path, source, parts):
        forms = [source.load([tmp_path / form]) for form in ("batches", "npz")]
        for data in forms:
            check(data, *parts.values())
        assert content_sha256(forms[0]) == content_sha256(forms[1])

    def test_the_npz_form_is_checked_by_its_content(self, tmp_path, source, parts):
        source.content_sha256 = content_sha256(source.load([tmp_path / "batches"]))
        source.load([tmp_path / "npz"])
        (train, labels), (test, test_labels) = parts.values()
        train = train.copy()
        train[3, 2, 1, 0] ^= 1
        np.savez(tmp_path / "npz" / "c.npz", x_train=train, y_train=labels, x_test=test, y_test=test_labels)
        with pytest.raises(DataError, match="its content differs from the declared one"):
            source.load([tmp_path / "npz"])

    def test_neither_form(self, tmp_path, source):
        with pytest.raises(DataError, match="was not found") as caught:
            source.load([tmp_path])
        assert "c.npz" in caught.value.remedy

    def test_a_pickle_that_was_changed_is_never_opened(self, tmp_path, source):
        path = tmp_path / "batches" / "cifar-10-batches-py" / "data_batch_2"
        path.write_bytes(pickle.dumps({"data": [], "labels": []}))
        with pytest.raises(DataError, match="data_batch_2 is damaged"):
            source.load([tmp_path / "batches"])
