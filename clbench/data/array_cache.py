"""Cache of computed arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clbench.errors import DataError
from clbench.utils import atomic


def store_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write named arrays as an .npz file that is either complete or absent; zip stores a checksum of every array.

    Args:
        arrays: by name, of any shapes and types that need no pickling.
        path: of the file; its folder exists.

    Raises:
        DataError: it cannot be written.
    """
    remedy = "free space, or give another folder: data.root=FOLDER"
    atomic.write(path, lambda file: np.savez(file, **arrays), remedy=remedy, error=DataError)  # type: ignore[arg-type]
