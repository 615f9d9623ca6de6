"""Data sets that torchvision can read and download."""

from __future__ import annotations

import http.client
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clbench.data.integrity import find_all, verify, verify_unpacked
from clbench.data.pool import Pool
from clbench.data.sources.base import Data, Source, make_pool
from clbench.data.sources.npz import read_npz
from clbench.errors import ConfigError, DataError
from clbench.utils import notify
from clbench.utils.folder_lock import folder_lock
from clbench.utils.one_time import long_call, size_of


@dataclass(kw_only=True)
class Vision(Source):
    """One of `torchvision.datasets`, verified before reading.

    The first folder of the search path with the data set, as torchvision's files or as .npz, is used.

    Args:
        dataset: name of the class, whose objects have `data` and `targets` (or `labels`).
        train_args: arguments of the class for the training part.
        test_args: arguments for the test part.
        folder: its `root`, below the folder of the search path.
        files: sha256 by path below the folder of the search path.
        md5: the same with md5, if the source publishes no sha256.
        unpacked: files without a published digest that torchvision unpacks, with their origin: `ARCHIVE` (.gz) or
            `ARCHIVE!MEMBER` (.zip of .gz). Each is compared with its archive.
        npz: the same data as an .npz file (see `clbench.data.sources.npz.Npz`), which `content_sha256` checks.
    """

    dataset: str
    train_args: dict[str, Any]
    test_args: dict[str, Any]
    folder: str = ""
    files: dict[str, str] = field(default_factory=dict)
    md5: dict[str, str] = field(default_factory=dict)
    unpacked: dict[str, str] = field(default_factory=dict)
    npz: str | None = None

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts; with `download` missing data is fetched into the last folder of `search`."""
        for place in search:
            if self._complete(place):
                return self._read(place)
            if self.npz is not None and (place / self.npz).is_file():
                return read_npz(place / self.npz)
        if not download or not search:
            find_all(search, self._needed, self.name, self._remedy(search))
        self._fetch(search[-1])
        return self._read(search[-1])

    def read_train(self, search: Sequence[Path], download: bool) -> Pool | None:
        """Return the training part: files of the test part are neither verified nor read."""
        place = next((place for place in search if self._complete(place)), None)
        if place is None or any(self.npz is not None and (other / self.npz).is_file() for other in search[: search.index(place)]):
            return None
        self._verify(place, tested=False)
        self._refuse_old_copy(place)
        return self._part(place, self.train_args)

    @property
    def _needed(self) -> list[str]:
        return [*self.files, *self.md5, *self.unpacked]

    def _complete(self, place: Path) -> bool:
        return all(os.path.exists(place / relative) for relative in self._needed)

    def _remedy(self, search: Sequence[Path]) -> str:
        into = f" into {search[-1]}" if search else ""
        other = f", or {self.npz}" if self.npz is not None else ""
        return (
            f"data.download=true fetches it{into}; or put {', '.join(self._needed)}{other} into a folder of the "
            "search path (data.root=FOLDER or CLBENCH_DATA)"
        )

    def _read(self, place: Path) -> Data:
        self._verify(place)
        self._refuse_old_copy(place)
        return Data(self._part(place, self.train_args), self._part(place, self.test_args))

    def _refuse_old_copy(self, place: Path) -> None:
        old = place / self.folder / self.dataset / "processed"
        if old.is_dir():  # torchvision would read it instead of the verified files
            raise DataError(
                f"{old} is a copy of {self.name} by an old torchvision and cannot be verified", f"delete the folder {old}"
            )

    def _part(self, place: Path, arguments: dict[str, Any]) -> Pool:
        part = self._open(place, arguments, download=False)
        images, targets = np.asarray(part.data), np.asarray(part.targets if hasattr(part, "targets") else part.labels)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[1] > 4:  # channels last
            images = images.transpose(0, 3, 1, 2)
        return make_pool(images, targets)

    def _open(self, place: Path, arguments: dict[str, Any], download: bool) -> Any:
        from torchvision import datasets

        if not hasattr(datasets, self.dataset):
            raise ConfigError(
                f"data set {self.name}: torchvision has no dataset={self.dataset!r}", "name a class of torchvision.datasets"
            )
        try:
            return getattr(datasets, self.dataset)(root=str(place / self.folder), download=download, **arguments)
        except (
            RuntimeError,
            OSError,
            ValueError,
            EOFError,
            zlib.error,
            tarfile.TarError,
            zipfile.BadZipFile,
            http.client.HTTPException,
        ) as error:
            if not download:
                raise DataError(f"{self.name} cannot be read from {place}: {error}", self._remedy([place])) from error
            raise DataError(
                f"{self.name} could not be downloaded: {error}",
                f"check the network and try again, or fetch by hand: {', '.join(self._needed)}",
            ) from error

    def _verify(self, place: Path, tested: bool = True) -> None:
        """Verify the files; without `tested` those of the test part are left out."""
        remedy = self._remedy([place])
        for algorithm, sums in (("sha256", self.files), ("md5", self.md5)):
            for relative, expected in sums.items():
                if tested or not _of_the_test_part(relative):
                    verify(place / relative, expected, algorithm, remedy)
        for relative, origin in self.unpacked.items():
            if not tested and _of_the_test_part(relative):
                continue
            archive, _, member = origin.partition("!")
            verify_unpacked(place / relative, place / archive, member, remedy)

    def _fetch(self, place: Path) -> None:
        """Download into a scratch folder, verify, and only then move into `place`: files there are always complete."""
        try:
            place.mkdir(parents=True, exist_ok=True)
            with folder_lock(place), tempfile.TemporaryDirectory(prefix=".download-", dir=place) as scratch:
                if self._complete(place):  # another process was faster
                    return
                notify.say(f"{self.name}: downloading into {place}")
                with long_call(f"{self.name}: downloading and unpacking", lambda: size_of(Path(scratch)), unit="MB"):
                    for arguments in (self.train_args, self.test_args):
                        self._open(Path(scratch), arguments, download=True)
                self._verify(Path(scratch))
                for file in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
                    target = place / file.relative_to(scratch)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)
        except OSError as error:
            raise DataError(
                f"{self.name} cannot be stored in {place}: {error.strerror or error}",
                "free space, or give a writable folder: data.root=FOLDER",
            ) from error


def _of_the_test_part(relative: str) -> bool:
    """Return whether a file holds test samples alone, by its name: `t10k-images-idx3-ubyte`, `test_32x32.mat`."""
    name = Path(relative).name
    return "t10k" in name or "test" in name
