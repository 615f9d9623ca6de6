"""Loggers: they take the events of a run. Records do not depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.loggers.base import Logger, Say


def build_loggers(config: Mapping[str, Any] | None, say: Say) -> list[Logger]:
    """Make the loggers of one run.

    Args:
        config: the node `logger`: name -> node with `_target_`; there may be several. None or empty: no logger.
        say: prints text above the live display.

    Raises:
        ConfigError: a node cannot be built.
    """
    loggers = []
    for name, node in (config or {}).items():
        if not isinstance(node, Mapping):
            raise ConfigError(
                f"logger.{name}={node!r} is not a logger", f"give logger.{name}._target_=..., or remove it: '~logger.{name}'"
            )
        made = instantiate(node, f"logger.{name}", say=say)
        if not isinstance(made, Logger):
            raise ConfigError(
                f"logger.{name}._target_={node['_target_']} is not a Logger", "derive it from clbench.loggers.base.Logger"
            )
        loggers.append(made)
    return loggers
