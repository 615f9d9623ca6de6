"""The real files, where CLBENCH_DATA has them: sums, sizes, statistics as declared in conf."""

import os
from pathlib import Path

import pytest
import torch

from clbench.data.integrity import search_path
from clbench.data.sources.base import statistics
from clbench.instantiate import instantiate
from tests.data.test_conf import node

EXPECTED = {  # name: (what must be there, train samples, test samples, shape)
    "digits": (None, 1442, 355, (1, 8, 8)),
    "mnist": ("MNIST/raw", 60000, 10000, (1, 28, 28)),
    "fashion_mnist": ("FashionMNIST/raw", 60000, 10000, (1, 28, 28)),
    "cifar10": ("cifar10/cifar10.npz", 50000, 10000, (3, 32, 32)),
    "animals": ("animals/animals.npz", 7775, 1941, (1, 28, 28)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_data_is_as_declared(name):
    needed, n_train, n_test, shape = EXPECTED[name]
    search = search_path(os.environ.get("CLBENCH_DATA") or os.devnull)
    if needed is not None and not any(Path(folder, needed).exists() for folder in search):
        pytest.skip(f"{needed} is not in CLBENCH_DATA")
    source = instantiate(node(name), "scenario.dataset")
    data = source.load(search, download=False)
    assert data.train.inputs.shape == (n_train, *shape)
    assert data.test.inputs.shape == (n_test, *shape)
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.targets.dtype == torch.int64
    mean, std = statistics(data.train.inputs.numpy())
    assert mean == pytest.approx(source.mean, abs=5.1e-5)
    assert std == pytest.approx(source.std, abs=5.1e-5)
    if name == "cifar10":
        assert data.train.targets.bincount().tolist() == [5000] * 10
        assert data.test.targets.bincount().tolist() == [1000] * 10
