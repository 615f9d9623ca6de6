"""Cache of computed arrays in a file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clbench.errors import DataError
from clbench.utils import atomic
from clbench.utils.safe_json import brief

OWN_NAME = "stored_as"
"""Key of the file's own name."""
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    SyntaxError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of numpy and zipfile for damaged files (tests/data/test_npz.py damages every byte)."""


def store_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write named arrays as an .npz file that is either complete or absent; zip stores a checksum of every array.

    The file's name says what was computed. The file holds this name too, so that `check_name` notices a renamed copy.

    Args:
        arrays: by name, of any shapes and types that need no pickling.
        path: of the file; its folder exists.

    Raises:
        DataError: it cannot be written.
    """
    remedy = "give another folder at the end of the search path: data.root=DATA_FOLDERS:FOLDER"
    whole: dict[str, Any] = {**arrays, OWN_NAME: np.array(path.stem)}
    atomic.write(path, lambda file: np.savez(file, **whole), remedy=remedy, error=DataError)


def check_name(path: Path) -> None:
    """Check that a file of `store_arrays` has the name under which it was stored. Files of earlier versions do not tell.

    Raises:
        DataError: the file has another name, or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            name = str(file[OWN_NAME]) if OWN_NAME in file.files else path.stem
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {error}", "delete the file; it is then computed again") from error
    if name != path.stem:
        raise DataError(f"{path} holds what was stored as {brief(name)}", "delete the file; it is then computed again")
