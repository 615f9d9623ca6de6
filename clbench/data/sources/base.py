"""The base of all data sets: a source loads two pools and checks them against the declaration."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from clbench.data.pool import Pool
from clbench.errors import ConfigError, DataError
from clbench.utils.one_time import long_call

Array = NDArray[Any]
Every = Annotated[int, Field(ge=2)]
"""If k, every k-th sample of each class, in file order, is a test sample."""


@dataclass(frozen=True)
class Data:
    """The two fixed parts of a data set, on the CPU: `train` for learning, `test` only for measuring."""

    train: Pool
    test: Pool


@dataclass(kw_only=True)
class Source(ABC):
    """A data set as its configuration declares it; subclasses read it.

    Args:
        name: for messages and tables.
        n_classes: number of classes, which count from 0; None: counted.
        mean: per channel (features: per feature), in units of full scale (uint8 255 = 1); None: computed from the
            training part.
        std: as `mean`; population standard deviation; a constant channel gets 1.
        crop: pixels of zero padding for a random crop in training; 0: none.
        flip: mirror training images left-right with probability 1/2.
        content_sha256: digest of the loaded data (see `content_sha256`), independent of the file format.

    After `load`, `n_classes`, `mean`, `std` and `image` have their final values.
    """

    name: str
    n_classes: Annotated[int, Field(ge=1)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    content_sha256: str | None = None
    image: bool = field(init=False, default=True)
    """Whether inputs are images."""
    chance: float | None = field(init=False, default=None)
    """Accuracy of a guess, 0 to 1, known after loading; None: a guess among all classes, or all label words."""

    @abstractmethod
    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts as stored in the files; arguments and errors as for `load`."""

    def load(self, search: Sequence[Path], download: bool = False) -> Data:
        """Return the data: images uint8 `[N, C, H, W]` of 0..255, float32 features `[N, d]`, or int64 tokens `[N, L]`.

        Targets are int64 and count from 0.

        Args:
            search: folders to search, in order (`clbench.data.integrity.search_path`).
            download: whether missing files may be downloaded; otherwise no network is used.

        Raises:
            DataError: a file is missing, damaged, or not as declared.
            ConfigError: the declared values contradict each other.
        """
        self._check_constants()
        with long_call(f"reading the data set {self.name}"):
            data = self.read(search, download)
        self._check_labels({"training": data.train, "test": data.test})
        if self.content_sha256 and (found := content_sha256(data)) != self.content_sha256:
            raise DataError(
                f"data set {self.name}: its content differs from the declared one (sha256 of the arrays {found}, "
                f"expected {self.content_sha256})",
                "replace its files by the original ones (docs/data.md says how to get them)",
            )
        self._complete_declaration(data.train)
        return data

    def read_train(self, search: Sequence[Path], download: bool) -> Pool | None:
        """Return the training part alone, verified, without a look at the test part; None where both are read together.

        Arguments and errors as for `load`.
        """
        return None

    def load_train(self, search: Sequence[Path], download: bool = False) -> Pool:
        """Return the training part alone. The test part is not kept, and where it has files of its own, they are not read.

        Arguments and errors as for `load`; `content_sha256` is checked where both parts are read together.
        """
        self._check_constants()
        with long_call(f"reading the data set {self.name}"):
            train = self.read_train(search, download)
        if train is None:
            return self.load(search, download).train
        self._check_labels({"training": train})
        self._complete_declaration(train)
        return train

    def _check_constants(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ConfigError(
                f"data set {self.name}: mean={self.mean}, std={self.std}", "give both, or neither (then both are computed)"
            )

    def _complete_declaration(self, train: Pool) -> None:
        """Give `mean`, `std` and `image` their final values."""
        self.image = train.inputs.dim() == 4
        if self.mean is None and train.inputs.dtype == torch.int64:  # tokens are names, not amounts
            self.mean, self.std = (), ()
        elif self.mean is None:
            self.mean, self.std = statistics(train.inputs.numpy(), mapped=train.mapped)

    def _check_labels(self, parts: Mapping[str, Pool]) -> None:
        if self.n_classes is None:
            self.n_classes = int(parts["training"].targets.max()) + 1
        everyone = set(range(self.n_classes))
        for place, pool in parts.items():
            met = set(np.unique(pool.targets.numpy()).tolist())
            if met - everyone:
                raise DataError(
                    f"data set {self.name}: the {place} part has class {max(met - everyone)}, "
                    f"the declared ones are 0 to {self.n_classes - 1}",
                    f"set n_classes to {max(met) + 1} or null (counted), or correct the labels",
                )
            if everyone - met:
                raise DataError(
                    f"data set {self.name}: the {place} part has no sample of class {min(everyone - met)} (of {self.n_classes})",
                    "every class needs samples in both parts: add them, or correct n_classes",
                )


def make_pool(inputs: Array, targets: Array) -> Pool:
    """Return a pool of images `[N, C, H, W]` or features `[N, d]`: a copy in memory, or mapped if `inputs` is."""
    targets = np.ascontiguousarray(targets, dtype=np.int64)
    if isinstance(inputs, np.memmap):
        return Pool(torch.from_numpy(inputs), torch.from_numpy(targets), mapped=True)
    return Pool(torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(targets))


def holdout(labels: Array, every: int) -> NDArray[np.bool_]:
    """Return the mask of test samples, bool `[N]`: of each class the `every`-th, `2 * every`-th, ... in file order."""
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        test[np.flatnonzero(labels == label)[every - 1 :: every]] = True
    return test


def divide(inputs: Array, targets: Array, every: int) -> Data:
    """Split a data set without an official test part by `holdout`; return both parts."""
    test = holdout(targets, every)
    return Data(make_pool(inputs[~test], targets[~test]), make_pool(inputs[test], targets[test]))


def content_sha256(data: Data) -> str:
    """Return a digest of the loaded data, independent of the file format.

    The sha256 over, for the training inputs and targets and then the test inputs and targets, a line `dtype shape`
    and the array's bytes in C order (little-endian).
    """
    total = hashlib.sha256()
    for pool in (data.train, data.test):
        for tensor in (pool.inputs, pool.targets):
            array = np.ascontiguousarray(tensor.numpy())
            total.update(f"{array.dtype.name} {list(array.shape)}\n".encode())
            total.update(array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def statistics(inputs: Array, chunk: int = 4096, mapped: bool = False) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std): of images per channel in units of full scale, from exact counts; of features per feature.

    Args:
        inputs: uint8 `[N, C, H, W]` or float `[N, d]`.
        chunk: samples counted at a time; bounds the memory and, for images, changes nothing else.
        mapped: whether features, too, are read in chunks because they do not fit; their sums then differ in the last bits.
    """
    if inputs.dtype == np.uint8:
        counts = np.zeros((inputs.shape[1], 256), dtype=np.int64)
        for start in range(0, len(inputs), chunk):
            for channel, total in enumerate(counts):
                total += np.bincount(inputs[start : start + chunk, channel].reshape(-1), minlength=256)
        values, share = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
        mean = share @ values
        std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    elif mapped:
        parts = [slice(start, start + chunk) for start in range(0, len(inputs), chunk)]
        mean = sum(inputs[part].sum(axis=0, dtype=np.float64) for part in parts) / len(inputs)
        std = np.sqrt(sum(np.square(inputs[part] - mean).sum(axis=0) for part in parts) / len(inputs))
    else:
        mean, std = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
