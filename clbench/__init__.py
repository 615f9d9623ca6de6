"""clbench: a continual-learning benchmark suite. `run` trains, `load` reads results; the command line is `clbench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clbench.contract import old_modules
from clbench.sources import import_clock

if TYPE_CHECKING:
    from clbench.api import load as load
    from clbench.api import run as run

    __version__: str

__all__ = ["__version__", "load", "run"]
old_modules.install()
import_clock.install()


def __getattr__(name: str) -> Any:
    """Import `run`, `load` and `__version__` when they are asked for: Hydra and the rest take their time."""
    if name in ("run", "load"):
        from clbench import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("clbench")
        except PackageNotFoundError:  # a source tree that was not installed
            return "unknown"
    raise AttributeError(f"module 'clbench' has no attribute {name!r}")
