"""Stand-ins for evaluation sets while a method learns: name and size are known, samples are out of reach."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

from clbench.data.pool import Split
from clbench.errors import ClbenchError


class HiddenDataError(ClbenchError, AttributeError):
    """Evaluation data was asked for where a method learns."""


class HiddenSplit(Split):
    """Stands for the samples of an evaluation set: it has a size and a task, and nothing else."""

    def __init__(self, name: str, size: int, tasks: int | Tensor) -> None:
        """Keep no sample.

        Args:
            name: of the evaluation set, for the message.
            size: number of its samples.
            tasks: the task of all samples; a tensor, one task per sample, is left out.
        """
        known = {"_name": name, "_size": size, "tasks": tasks if isinstance(tasks, int) else -1}
        for key, value in known.items():
            object.__setattr__(self, key, value)  # a Split is frozen

    def __len__(self) -> int:
        return int(self._size)

    def __repr__(self) -> str:
        return f"HiddenSplit({self._name!r}, {self._size} samples)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenSplit) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._name, self._size))

    def __getattribute__(self, name: str) -> Any:
        """Refuse `view`, too: its default stands on the class, so that `__getattr__` would not be asked."""
        if name == "view":
            self._refuse(name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        """Refuse everything that is not known.

        Raises:
            HiddenDataError: always, except for Python's own protocols.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise HiddenDataError(
            f"stream.evaluation: the test data {self._name!r} is not available while a method learns (asked for: {name})",
            "learn from task.train and from history; of each evaluation set the name, the role and len(set.split) are known",
        )
