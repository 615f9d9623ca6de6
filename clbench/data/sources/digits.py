"""Digits: the 1,797 handwritten digits of 8x8 pixels in scikit-learn."""

from __future__ import annotations

import gzip
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from clbench.data.integrity import verify
from clbench.data.sources.base import Data, Every, Source, divide
from clbench.errors import DataError


@dataclass(kw_only=True)
class Digits(Source):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak, UCI, 1998; its test part), from scikit-learn.

    Args:
        files: sha256 by path below scikit-learn's `datasets/data`; the only entry is the table.
        scale: factor from the stored grey levels 0..16 to uint8; above 15 the lightest grey would not fit.
        test_every: if k, every k-th image of each class, in file order, is a test image.
    """

    files: dict[str, str]
    scale: Annotated[int, Field(ge=1, le=15)]
    test_every: Every

    def read(self, search: Sequence[Path], download: bool) -> Data:
        """Return both parts from the installed package; `search` and `download` are unused."""
        spec = importlib.util.find_spec("sklearn")  # its path, without the import, which takes a second
        remedy = "reinstall scikit-learn: pip install --force-reinstall scikit-learn"
        if spec is None or not spec.submodule_search_locations:
            raise DataError("digits: scikit-learn contains this data set and is not installed", "pip install scikit-learn")
        ((name, expected),) = self.files.items()
        path = Path(spec.submodule_search_locations[0], "datasets", "data", name)
        verify(path, expected, how_to_get=remedy)
        table = np.loadtxt(io.BytesIO(gzip.decompress(path.read_bytes())), delimiter=",", dtype=np.int64)
        images = (table[:, :-1] * self.scale).astype(np.uint8).reshape(-1, 1, 8, 8)
        return divide(images, table[:, -1], self.test_every)
