"""Whether the classes take the values of a space: found before any run, not at the first trial that draws a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.config.quick_values import copied
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.tuning.space import Space


def check_values(space: Space, config: Mapping[str, Any], file: str) -> None:
    """Make the objects of the configuration with both ends, or every choice, of each entry; this imports torch.

    Args:
        space: whose values are tried.
        config: resolved nodes `method`, `optimizer` and `trainer`.
        file: name of the space, for messages.

    Raises:
        ConfigError: a class refuses a value.
    """
    for key, entry in space.entries.items():
        name, *parents, last = key.split(".")
        if name not in ("method", "optimizer", "trainer"):
            continue
        for value in entry.choices if entry.choices is not None else (entry.low, entry.high):
            node: Any = copied(dict(config[name]))
            place = node
            for parent in parents:
                place = place[parent]
            place[last] = value
            try:
                instantiate(node, name)
            except ConfigError as error:
                raise ConfigError(f"the space search={file} offers what the class refuses: {error.what}", error.remedy) from error
