"""Decoded images kept in one file, of which a pool maps into memory what it uses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clbench.data.integrity import lock, writable
from clbench.data.sources.base import Array
from clbench.errors import DataError

FOLDER = "decoded"
"""Where such files are kept, below a folder of the search path."""


def decoded(
    name: str, recipe: Mapping[str, Any], search: Sequence[Path], shape: tuple[int, ...], images: Iterable[Array]
) -> Array:
    """Return uint8 images `[N, C, H, W]` as a memory-mapped file, written first if no folder has it yet.

    Args:
        name: of the data set.
        recipe: everything that the content depends on, as plain values; the file is named by it.
        search: folders that may have it; it is written into the last one that can be.
        shape: of the whole array.
        images: `[C, H, W]` each, in order; asked for only to write the file.

    Raises:
        DataError: the file can be written nowhere, or not to its end (the disk is full).
    """
    digest = hashlib.sha256(json.dumps(dict(recipe), sort_keys=True).encode()).hexdigest()[:16]
    relative = Path(FOLDER, f"{name}-{digest}.npy")
    path = next((folder / relative for folder in search if (folder / relative).is_file()), None)
    if path is None:
        place = writable(search, FOLDER, name)
        with lock(place / FOLDER):
            path = place / relative
            if not path.exists():  # else another process was faster
                _write(path, shape, images)
    return map_file(path)


def map_file(path: Path) -> Array:
    """Return the array of a .npy file, mapped; what is written to it stays in this process.

    Raises:
        DataError: the file cannot be read as such.
    """
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be mapped as .npy: {error}",
            "the file is cut short or damaged: delete it, or write it again with numpy.save",
        ) from error


def _write(path: Path, shape: tuple[int, ...], images: Iterable[Array]) -> None:
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image in images:
                file.write(np.ascontiguousarray(image).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error} (it takes {np.prod(shape, dtype=np.int64):,} bytes)",
            "free space, or give another data.root, or data.residence=host",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
