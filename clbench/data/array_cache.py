"""What took long to compute, kept in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clbench.errors import DataError


def store_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write named arrays as an .npz file that is either whole or absent; zip keeps a checksum of every array.

    Args:
        arrays: by name, of any shapes and types that need no pickling.
        path: of the file; its folder exists.

    Raises:
        DataError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "free space, or give another folder: data.root=FOLDER"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
