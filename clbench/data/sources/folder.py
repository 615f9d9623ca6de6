"""Data sets as a folder of images per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from clbench.data.content_digest import data_sha256
from clbench.data.integrity import find_own, visible_files
from clbench.data.pool import Pool
from clbench.data.sources.base import Array, Data, Every, Source, holdout, make_pool
from clbench.data.sources.decoded import decoded
from clbench.errors import ConfigError, DataError
from clbench.utils.one_time import one_time
from clbench.utils.system import available_memory

IN_MEMORY = 0.5
"""Default share of the available memory up to which decoded images stay in memory."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
Positive = Annotated[int, Field(ge=1)]


@dataclass(kw_only=True)
class Folder(Source):
    """`train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` with a rule for the test images.

    Classes are numbered in the order of their names, and images are sorted by name (compared as plain text).
    Hidden files do not count; any other file in a class folder must be an image. Frames after the first are ignored,
    and transparency is dropped.

    Args:
        path: the folder, absolute, or relative to the working folder or the search path.
        size: (height, width); other images are resized (Pillow, bilinear, antialiased); None: all images must have one size.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB); images are converted.
        test_every: without `train/` and `test/`: if k, every k-th image of each class is a test image.
        per_class: instead of `test_every`, (train, test): the first `train` images of each class, and the next `test`.
        skip: images to leave out, as paths below the folder; for broken files.
        mapped: whether the decoded images are in a file (`clbench.data.sources.decoded`) instead of in memory; None: if they
            exceed the share `IN_MEMORY` of the memory. The program sets it by `data.residence`.
    """

    path: str | None
    size: tuple[Positive, Positive] | None = None
    channels: Literal[1, 3]
    test_every: Every | None = None
    per_class: tuple[Positive, Positive] | None = None
    skip: tuple[str, ...] = ()
    mapped: bool | None = None

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts; there is nothing to download."""
        root = find_own(self.path, search, self.name)
        if (root / "train").is_dir() and (root / "test").is_dir():
            train, test = self._classes(root, root / "train"), self._classes(root, root / "test")
            if train.keys() != test.keys():
                odd = min(train.keys() ^ test.keys())
                raise DataError(f"{root}: class {odd} is in only one of train/ and test/", "both need a folder for every class")
        else:
            train, test = self._divided(root)
        shape = self.size or _size_of(next(iter(train.values()))[0])
        mapped, available = self.mapped, available_memory()
        if mapped is None:
            images = sum(len(paths) for part in (train, test) for paths in part.values())
            mapped = available is not None and images * self.channels * math.prod(shape) > IN_MEMORY * available
        if not mapped:
            return Data(self._pool(train, shape), self._pool(test, shape))
        content = data_sha256(vars(self), search)
        return Data(self._mapped_pool(train, shape, root, content, search), self._mapped_pool(test, shape, root, content, search))

    def _divided(self, root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """Return (train, test) by the declared rule."""
        if (self.test_every is None) == (self.per_class is None):
            raise ConfigError(
                f"data set {self.name}: test_every={self.test_every}, per_class={self.per_class}, and "
                f"{root} has no train/ and test/",
                "give one of the two rules (scenario.dataset.test_every=5 holds out every fifth image of "
                "each class), or make both folders",
            )
        train: dict[str, list[Path]] = {}
        test: dict[str, list[Path]] = {}
        for name, images in self._classes(root, root).items():
            if self.per_class is not None:
                first, second = self.per_class
                if len(images) < first + second:
                    raise DataError(
                        f"{root / name} has {len(images)} images, per_class={[first, second]} needs {first + second}",
                        "add the missing images, or change scenario.dataset.per_class",
                    )
                train[name], test[name] = images[:first], images[first : first + second]
            elif self.test_every is not None:
                held = holdout(np.zeros(len(images)), self.test_every)
                train[name] = [path for path, out in zip(images, held) if not out]
                test[name] = [path for path, out in zip(images, held) if out]
                if not test[name]:
                    raise DataError(
                        f"{root / name} has {len(images)} images, too few for test_every={self.test_every}",
                        f"every class needs at least {self.test_every} images",
                    )
        return train, test

    def _classes(self, root: Path, place: Path) -> dict[str, list[Path]]:
        """Return the images of each class folder of `place`, both in the order of their names."""
        if not place.is_dir():
            raise DataError(
                f"data set {self.name}: {place} is not a folder",
                "scenario.dataset.path must be a folder with one folder per class",
            )
        folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise DataError(f"data set {self.name}: {place} has no folders of classes", "make one folder of images per class")
        found = {}
        for folder in folders:
            images = [path for path in visible_files(folder) if path.relative_to(root).as_posix() not in self.skip]
            strange = [path for path in images if path.suffix.lower() not in SUFFIXES]
            if strange:
                raise DataError(
                    f"{strange[0]} is not an image",
                    f"move it out of the class folder; images end in {' '.join(sorted(SUFFIXES))}",
                )
            if not images:
                raise DataError(f"{folder} has no images", "add images, or remove the folder")
            found[folder.name] = images
        return found

    def _pool(self, classes: dict[str, list[Path]], shape: tuple[int, int]) -> Pool:
        paths = [(path, label) for label, images in enumerate(classes.values()) for path in images]
        images = np.empty((len(paths), self.channels, *shape), dtype=np.uint8)
        with one_time(f"{self.name}: decoding images", len(paths)) as advance:
            for row, (path, _) in enumerate(paths):
                images[row] = read_image(path, self.channels, shape, resize=self.size is not None)
                advance(1)
        return make_pool(images, np.array([label for _, label in paths]))

    def _mapped_pool(
        self, classes: dict[str, list[Path]], shape: tuple[int, int], root: Path, content: str, search: Sequence[Path]
    ) -> Pool:
        """As `_pool`, with the images in a file, named by the folder's digest, the choice of images and their size."""
        paths = [(path, label) for label, images in enumerate(classes.values()) for path in images]
        recipe = {
            "content": content,
            "images": [path.relative_to(root).as_posix() for path, _ in paths],
            "channels": self.channels,
            "size": shape,
            "resize": self.size is not None,
        }
        images = (read_image(path, self.channels, shape, resize=self.size is not None) for path, _ in paths)
        array = decoded(self.name, recipe, search, (len(paths), self.channels, *shape), images)
        return make_pool(array, np.array([label for _, label in paths]))


def read_image(path: Path, channels: int, shape: tuple[int, int], resize: bool) -> Array:
    """Return one image as uint8 `[channels, *shape]`.

    Raises:
        DataError: it cannot be decoded, has more than 8 bits per channel, or has another size without `resize`.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path} has more than 8 bits per channel (mode {image.mode})", "save it with 8 bits per channel")
            plain = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error
    if plain.size != (shape[1], shape[0]):
        if not resize:
            raise DataError(
                f"{path} is {plain.height}x{plain.width}, the first image is {shape[0]}x{shape[1]}",
                "give scenario.dataset.size=[HEIGHT,WIDTH], to which all images are resized",
            )
        plain = plain.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(plain).reshape(*shape, channels).transpose(2, 0, 1)


def _size_of(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as an image: {error}", "replace it, or name it in scenario.dataset.skip")
