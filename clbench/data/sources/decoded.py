"""Decoded images in one file; pools map it into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from clbench.data.integrity import writable
from clbench.data.sources.base import Array
from clbench.errors import DataError
from clbench.utils import atomic
from clbench.utils.disk import size
from clbench.utils.folder_lock import folder_lock
from clbench.utils.one_time import one_time

FOLDER = "decoded"
"""Subfolder for decoded images, below a folder of the search path."""


def decoded(
    name: str, recipe: Mapping[str, Any], search: Sequence[Path], shape: tuple[int, ...], images: Iterable[Array]
) -> Array:
    """Return uint8 images `[N, C, H, W]` as a memory-mapped file, written first if no folder has it yet.

    Args:
        name: of the data set.
        recipe: everything that determines the content, as plain values; its digest names the file.
        search: folders to search; the last writable one gets a new file.
        shape: of the whole array.
        images: `[C, H, W]` each, in order; iterated only to write the file.

    Raises:
        DataError: no folder is writable, or the disk is full.
    """
    digest = hashlib.sha256(json.dumps(dict(recipe), sort_keys=True).encode()).hexdigest()[:16]
    relative = Path(FOLDER, f"{name}-{digest}.npy")
    path = next((folder / relative for folder in search if (folder / relative).is_file()), None)
    if path is None:
        place = writable(search, FOLDER, name)
        with folder_lock(place / FOLDER):
            path = place / relative
            if not path.exists():  # else another process was faster
                _write(name, path, shape, images)
    return map_file(path)


def map_file(path: Path) -> Array:
    """Return the array of a .npy file, mapped; writes to the array stay in this process.

    Raises:
        DataError: the file cannot be mapped.
    """
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be mapped as .npy: {error}",
            "the file is cut short or damaged: delete it, or write it again with numpy.save",
        ) from error


def _write(name: str, path: Path, shape: tuple[int, ...], images: Iterable[Array]) -> None:
    def write(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with one_time(f"{name}: decoding images", shape[0]) as advance:
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                advance(1)

    remedy = f"give another data.root, or data.residence=host (the file takes {size(float(np.prod(shape, dtype=np.int64)))})"
    atomic.write(path, write, remedy=remedy, error=DataError)
