"""The content of a value, as a digest that another process computes too."""

from __future__ import annotations

import hashlib
import pickle
import sys
from types import FunctionType
from typing import Any

from clbench.sources.text import DIGITS


class _Hash:
    """A file that only computes the sha256 of what is written."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Add to the sum."""
        self.sha256.update(data)
        return len(data)


class _Pickler(pickle.Pickler):
    """Writes sets in a fixed order, tensors by their numbers, and classes and functions by their names."""

    def __init__(self, file: Any, reached: list[Any]) -> None:
        super().__init__(file, protocol=4)
        self.fast = True  # equal values give equal bytes, whether or not they are one object
        self.reached = reached

    def persistent_id(self, value: Any) -> Any:
        """Return what stands for a value; None: Python's own way of writing."""
        if isinstance(value, (type, FunctionType)):
            self.reached.append(value)
            return "named", value.__module__, value.__qualname__
        if type(value) in (set, frozenset):
            return "set", sorted(content(each, self.reached) for each in value)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            numbers = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return "tensor", str(value.dtype), tuple(value.shape), hashlib.sha256(numbers).hexdigest()
        return None


def content(value: Any, reached: list[Any]) -> str:
    """Return a digest of a value. A value that cannot be written (a lock, an open file) counts by its type alone.

    Args:
        value: anything.
        reached: gets the classes and functions within it.
    """
    file = _Hash()
    try:
        _Pickler(file, reached).dump(value)
    except Exception:  # a value's own __reduce__ may raise anything
        return f"{type(value).__module__} {type(value).__qualname__}"
    return file.sha256.hexdigest()[:DIGITS]
