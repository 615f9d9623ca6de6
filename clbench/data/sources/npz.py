"""Data sets in one .npz file, shipped or your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clbench.data.array_cache import UNREADABLE
from clbench.data.integrity import find_own
from clbench.data.sources.base import Array, Data, Every, Source, divide, make_pool
from clbench.data.sources.decoded import map_file
from clbench.errors import DataError

CHUNK = 65536
"""Features checked at a time (memory only)."""
PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(kw_only=True)
class Npz(Source):
    """Arrays in a file of `numpy.savez` or `numpy.savez_compressed`, or in a folder of `numpy.save` files.

    The files of a folder are mapped into memory, so they may be larger than the memory.

    Images are uint8 `[N, H, W]` (grey) or `[N, H, W, C]` with C from 1 to 4, on 0..255; features are floats `[N, d]`.
    Labels are any integers `[N]`; the sorted distinct training labels become classes 0 .. K-1.

    Args:
        path: the file or folder, absolute, or relative to the working folder or the search path.
        test_every: None: the file has `x_train, y_train, x_test, y_test`; k: it has `x, y`, and every k-th sample of each
            class, in file order, is a test sample.
    """

    path: str | None
    test_every: Every | None = None

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts; there is nothing to download."""
        return read_npz(find_own(self.path, search, self.name), self.test_every)


def read_npz(file: Path, test_every: int | None = None) -> Data:
    """Return both parts of a file or folder in the layout of `Npz`, with its `test_every`.

    Raises:
        DataError: the file is damaged, lacks an array, or an array has another layout.
    """
    wanted = PARTS if test_every is None else ("x", "y")
    arrays = _arrays(file, wanted)
    if test_every is not None:
        x, y = _inputs(file, "x", arrays["x"]), _labels(file, "y", arrays["y"], arrays["x"])
        return divide(x, np.searchsorted(np.unique(y), y), test_every)
    sides = []
    for side in ("train", "test"):
        x = arrays[f"x_{side}"]
        sides.append((_inputs(file, f"x_{side}", x), _labels(file, f"y_{side}", arrays[f"y_{side}"], x)))
    (x_train, y_train), (x_test, y_test) = sides
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise DataError(
            f"{file}: x_train is {_layout(arrays['x_train'])}, x_test is {_layout(arrays['x_test'])}",
            "both need samples of one shape and type",
        )
    classes = np.unique(y_train)
    strange = np.setdiff1d(y_test, classes)
    if len(strange):
        raise DataError(
            f"{file}: y_test has label {strange[0]}, which y_train lacks", "leave out those samples, or add training samples"
        )
    return Data(make_pool(x_train, np.searchsorted(classes, y_train)), make_pool(x_test, np.searchsorted(classes, y_test)))


def _arrays(file: Path, wanted: Sequence[str]) -> dict[str, Array]:
    if file.is_dir():
        missing = [key for key in wanted if not (file / f"{key}.npy").is_file()]
        if missing:
            held = ", ".join(sorted(path.name for path in file.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{file} cannot be read: it lacks {missing[0]}.npy (it has {held})",
                f"it needs {', '.join(wanted)}, each as NAME.npy",
            )
        return {key: map_file(file / f"{key}.npy") for key in wanted}
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{file} has a single array", f"save {', '.join(wanted)} with numpy.savez_compressed")
        with archive:
            missing = [key for key in wanted if key not in archive]
            if missing:
                held = ", ".join(archive.files) or "nothing"
                whole = {"x", "y"} <= set(archive.files)
                hint = ", or scenario.dataset.test_every=5, which holds out every fifth sample of each class of x, y"
                raise DataError(
                    f"{file} lacks the array {missing[0]} (it has {held})",
                    f"it needs {', '.join(wanted)}{hint if whole else ''}",
                )
            return {key: archive[key] for key in wanted}
    except UNREADABLE as error:
        raise DataError(
            f"{file} cannot be read as .npz: {error}",
            "the file is cut short, damaged, or holds Python objects: write it again with numpy.savez_compressed",
        ) from error


def _inputs(file: Path, key: str, x: Array) -> Array:
    """Return images as `[N, C, H, W]` and features as float32 `[N, d]`, or raise a DataError."""
    if x.dtype == np.uint8 and x.ndim == 3 and x.size:
        return x[:, None]
    if x.dtype == np.uint8 and x.ndim == 4 and x.size and x.shape[3] <= 4:
        return x.transpose(0, 3, 1, 2)
    if x.dtype.kind == "f" and x.ndim == 2 and x.size:
        with np.errstate(over="ignore"):
            features = x.astype(np.float32, copy=False)
        if not all(np.isfinite(features[start : start + CHUNK]).all() for start in range(0, len(features), CHUNK)):
            raise DataError(f"{file}: {key} has numbers that are not finite in float32", "replace NaN and infinity")
        return features
    hint = "save a uint8 [N, H, W] or [N, H, W, C] array of images on 0..255, or a float [N, d] array of features"
    if x.ndim == 4 and x.shape[1] <= 4 < x.shape[3]:
        hint += "; channels come last: x.transpose(0, 2, 3, 1)"
    raise DataError(f"{file}: {key} is {_layout(x)}", hint)


def _labels(file: Path, key: str, y: Array, x: Array) -> Array:
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise DataError(
            f"{file}: {key} is {_layout(y)} for {len(x)} samples", f"labels are integers of shape [{len(x)}], one per sample"
        )
    return y


def _layout(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"
