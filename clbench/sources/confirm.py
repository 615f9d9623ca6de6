"""Before a run, and after: is the code in this process the source that names the run?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

from clbench.errors import ConfigError, StoreError
from clbench.sources import import_clock, modules
from clbench.sources.text import Import, Parsed, parsed
from clbench.sources.trace import absolute, read

_KNOWN: dict[str, tuple[ModuleSpec | None, Parsed | None]] = {}
"""For each module that was looked at: the load (a reload has another spec), and its text."""


def confirm(sources: Mapping[str, Mapping[str, str]], finished: bool = False) -> None:
    """Check that a run of this process uses the source that its identity names.

    A file that was edited after its import changes nothing here: the loaded code counts. Two looks, one before the classes are
    imported and one after, bind the loaded code to a text.

    Args:
        sources: of the run's identity.
        finished: whether the run has ended; modules that it did not import then do not matter.

    Raises:
        ConfigError: this process has another text of a module, or would import another one.
        StoreError: the same after the run: its result belongs to no source.
    """
    try:
        _confirm(sources, finished)
    except ConfigError as error:
        if not finished:
            raise
        raise StoreError(error.what, error.remedy) from error


def _confirm(sources: Mapping[str, Mapping[str, str]], finished: bool) -> None:
    expected = {module: text for node in sources.values() for module, text in node.items() if not text.startswith("version ")}
    for module, text in expected.items():
        loaded = sys.modules.get(module)
        if loaded is None:
            if not finished:
                _check_file(module, text)
        elif getattr(loaded, "__file__", None) is not None and module != "__main__":
            _check_loaded(module, loaded, text)
    for module in expected:
        _check_order(module, expected)


def _check_file(module: str, expected: str) -> None:
    place, path = "", None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = modules.find(".".join(parts[:end]), path)
        path = list(spec.submodule_search_locations or ()) if spec is not None else []
        place = str(spec.origin) if spec is not None else ""
    if not place or modules.is_compiled(place):
        return
    if parsed(read(place), place).digest != expected:
        raise _changed_since(module, place)


def _check_loaded(module: str, loaded: ModuleType, expected: str) -> None:
    place = str(loaded.__file__)
    if modules.is_compiled(place):
        return
    spec, known = _KNOWN.get(module, (None, None))
    if known is None or spec is not loaded.__spec__:
        known = parsed(read(place), place)
        if _edited_since_import(module, loaded, place):
            raise _outdated(module, place)
        _KNOWN[module] = loaded.__spec__, known
    if known.digest == expected:
        return
    if parsed(read(place), place).digest == expected:
        raise _outdated(module, place)
    raise _changed_since(module, place)


def _edited_since_import(module: str, loaded: ModuleType, place: str) -> bool:
    """Return whether a file is newer than what was loaded from it."""
    plain = loaded.__spec__ is not None and type(loaded.__spec__.loader) is SourceFileLoader
    if not plain and not import_clock.was_noted(module):
        return False  # another program's finder came first, and its time is unknown
    state = os.stat(place)
    return max(state.st_mtime_ns, state.st_ctime_ns) > import_clock.last(module)


def _check_order(module: str, expected: Mapping[str, Any]) -> None:
    """Check that a module does not hold parts of another one from before that one was loaded again."""
    _, known = _KNOWN.get(module, (None, None))
    loaded = sys.modules.get(module)
    if known is None or loaded is None:
        return
    for statement in known.imports:
        other = absolute(statement, module, hasattr(loaded, "__path__"))
        source = sys.modules.get(other)
        if source is None or other not in expected or import_clock.last(other) < import_clock.last(module):
            continue
        if import_clock.times(other) > 1 and _holds_earlier(vars(loaded), statement, source):
            raise ConfigError(
                f"{other} was loaded again, and {module} still holds its earlier parts",
                f"importlib.reload(sys.modules[{module!r}]), restart Python, or give workers=1: a new process",
            )


def _holds_earlier(values: Mapping[str, Any], statement: Import, source: ModuleType) -> bool:
    """Return whether names that an import statement has bound stand for other objects than in the module today."""
    if not statement.names:
        return any(name in values and values[name] is not source for name in statement.bound if "." not in name)
    today = vars(source)
    pairs = list(zip(statement.names, statement.bound, strict=True))
    if statement.names == ("*",):
        pairs = [(name, name) for name in today if not name.startswith("_")]
    return any(name in today and bound in values and not _same(values[bound], today[name]) for name, bound in pairs)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and isinstance(one, (int, float, str, bytes)) and one == other)


def _outdated(module: str, place: str) -> ConfigError:
    return ConfigError(
        f"{place} was changed after this Python process imported it, and its classes here are the earlier ones",
        f"importlib.reload(sys.modules[{module!r}]), restart Python, or give workers=1: a new process imports the file as it is",
    )


def _changed_since(module: str, place: str) -> ConfigError:
    return ConfigError(
        f"{place} was changed after this command had named its runs",
        "start the command again: finished runs of the earlier text are kept",
    )
