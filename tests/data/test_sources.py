"""What all sources share: the split rule, statistics, digests, the checks after reading, and digits."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from clbench.data.pool import Pool
from clbench.data.sources import Data, Digits, Source
from clbench.data.sources.base import content_sha256, holdout, statistics
from clbench.errors import ConfigError, DataError

DIGITS = {"digits.csv.gz": "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"}


class Given(Source):
    """A source whose data is handed in."""

    def __init__(self, data, **kwargs):
        super().__init__(name="given", **kwargs)
        self.data = data

    def read(self, search, download):
        return self.data


def pool(labels, shape=(1, 2, 2), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (len(labels), *shape), dtype=torch.uint8, generator=generator)
    return Pool(images, torch.tensor(labels))


def test_holdout_takes_every_fifth_of_each_class_in_file_order():
    labels = np.array([7, 7, 3, 7, 7, 3, 7, 3, 3, 7, 3, 7, 7, 7])
    expected = np.zeros(len(labels), dtype=bool)
    for label in (3, 7):
        seen = 0
        for i, other in enumerate(labels):
            if other == label:
                seen += 1
                expected[i] = seen % 5 == 0
    assert (holdout(labels, 5) == expected).all()
    assert holdout(labels, 5).sum() == 2


def test_statistics_of_images_are_those_of_torch():
    images = torch.randint(256, (50, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = statistics(images.numpy(), chunk=7)
    scaled = images.double() / 255
    assert np.allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12, atol=0)
    assert np.allclose(std, scaled.std((0, 2, 3), correction=0), rtol=1e-12, atol=0)


def test_statistics_of_features_are_per_feature_and_a_constant_one_gets_std_one():
    features = np.array([[1, 5, -1], [3, 5, 1]], dtype=np.float32)
    assert statistics(features) == ((2, 5, 0), (1, 1, 1))
    assert statistics(np.full((4, 2, 3, 3), 51, dtype=np.uint8)) == ((0.2, 0.2), (1, 1))


def test_content_digest_sees_values_types_shapes_and_parts():
    base = Data(pool([0, 1, 1]), pool([0, 1], seed=1))
    other_pixel = base.train.inputs.clone()
    other_pixel[2, 0, 1, 1] ^= 1
    variants = [
        base,
        Data(base.test, base.train),
        Data(Pool(other_pixel, base.train.targets), base.test),
        Data(Pool(base.train.inputs.reshape(3, 1, 4, 1), base.train.targets), base.test),
        Data(Pool(base.train.inputs, base.train.targets.flip(0)), base.test),
    ]
    digests = [content_sha256(data) for data in variants]
    assert len(set(digests)) == len(variants)
    strided = base.train.inputs.transpose(2, 3).contiguous().transpose(2, 3)
    assert content_sha256(Data(Pool(strided, base.train.targets), base.test)) == digests[0]


def test_load_fills_in_what_was_not_declared():
    source = Given(Data(pool([0, 1, 2, 2], (3, 2, 2)), pool([2, 1, 0], (3, 2, 2))))
    data = source.load([], download=False)
    assert source.n_classes == 3
    assert source.image
    assert (source.mean, source.std) == statistics(data.train.inputs.numpy())


def test_load_keeps_what_was_declared():
    source = Given(Data(pool([0, 1]), pool([0, 1])), n_classes=2, mean=(0.5,), std=(0.25,))
    source.load([])
    assert (source.n_classes, source.mean, source.std) == (2, (0.5,), (0.25,))


def test_features_are_no_images():
    part = Pool(torch.rand(4, 5), torch.tensor([0, 1, 0, 1]))
    source = Given(Data(part, part))
    source.load([])
    assert not source.image
    assert len(source.mean) == 5


@pytest.mark.parametrize(
    ("train", "test", "n_classes", "message"),
    [
        ([0, 1, 2], [0, 1], None, "test part has no sample of class 2"),
        ([0, 2], [0, 2], None, "training part has no sample of class 1"),
        ([0, 1], [0, 1], 3, "training part has no sample of class 2"),
        ([0, 1, 2], [0, 1, 2], 2, "training part has class 2, the declared ones are 0 to 1"),
        ([0, 1], [0, 1, 5], None, "test part has class 5"),
    ],
)
def test_labels_must_be_as_declared(train, test, n_classes, message):
    with pytest.raises(DataError, match=message):
        Given(Data(pool(train), pool(test)), n_classes=n_classes).load([])


def test_half_a_normalisation_is_refused():
    with pytest.raises(ConfigError, match="mean="):
        Given(Data(pool([0]), pool([0])), mean=(0.5,)).load([])


def test_content_must_be_the_declared_one():
    data = Data(pool([0, 1]), pool([0, 1]))
    Given(data, content_sha256=content_sha256(data)).load([])
    with pytest.raises(DataError, match="its content differs from the declared one"):
        Given(data, content_sha256="0" * 64).load([])


class TestDigits:
    def make(self, **changes):
        return Digits(**{"name": "digits", "files": DIGITS, "scale": 15, "test_every": 5, **changes})

    def test_is_the_data_of_scikit_learn(self):
        from sklearn.datasets import load_digits

        data, official = self.make().load([]), load_digits()
        held = holdout(official.target, 5)
        for pool_, rows in ((data.train, ~held), (data.test, held)):
            assert pool_.inputs.dtype == torch.uint8
            assert torch.equal(pool_.inputs[:, 0], torch.from_numpy(official.images[rows] * 15).to(torch.uint8))
            assert torch.equal(pool_.targets, torch.from_numpy(official.target[rows]))
        assert (len(data.train), len(data.test)) == (1442, 355)
        assert int(data.train.inputs.max()) == 240

    def test_is_read_without_importing_scikit_learn(self):
        code = (
            f"import sys; from clbench.data.sources import Digits; "
            f"Digits(name='digits', files={DIGITS}, scale=15, test_every=5).load([]); "
            "sys.exit(any(m in sys.modules for m in ('sklearn', 'torchvision', 'scipy')))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_another_table_is_refused(self):
        with pytest.raises(DataError, match=r"digits\.csv\.gz is damaged"):
            self.make(files={"digits.csv.gz": "0" * 64}).load([])

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(DataError) as caught:
            self.make().load([])
        assert "pip install scikit-learn" in caught.value.remedy
