"""The source behind a configuration: every module from outside the package that its classes reach, followed through imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from clbench.errors import ConfigError
from clbench.sources import modules
from clbench.sources.session import describe
from clbench.sources.text import Import, bytes_digest, digest, parsed

Sources = dict[str, dict[str, str]]
"""For each node of a configuration (`method`): the digest of each module from outside that its classes reach."""


def sources(config: Mapping[str, Any]) -> Sources:
    """Return the source behind a configuration: {node: {module: digest}}; nodes with classes of clbench alone are left out.

    A module counts if it belongs neither to Python, nor to clbench, nor to an installed library. It counts wholly: its own
    text, and that of every module that it imports anywhere, packages above included. An installed plug-in counts like a file
    of one's own; any other installed package that a `_target_` names counts by its version. Nothing is imported.

    Args:
        config: nodes with `_target_` at any depth.

    Raises:
        ConfigError: a file is no Python, or a session holds an outdated part of a module.
    """
    found: Sources = {}
    for node, values in config.items():
        named = list(dict.fromkeys(targets(values)))
        if any(name.split(".")[0] not in modules.OWN for name in named):
            importlib.invalidate_caches()  # a helper may have been written a moment ago
            trace = Trace()
            for name in named:
                trace.target(name)
            if trace.found:
                found[node] = dict(sorted(trace.found.items()))
    return found


def targets(node: Any) -> Iterator[str]:
    """Yield the dotted names of the classes and functions that a node names: `_target_`, and the `network` of features."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, str) and "." in value and (key == "_target_" or (key == "network" and "_target_" in node)):
                yield value
            yield from targets(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from targets(item)


class Trace:
    """Follows imports from any number of classes and collects digests."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        """{module: digest}."""
        self.own: set[str] = set()
        """Packages at the top of the targets: installed, but counted."""
        self._specs: dict[str, ModuleSpec | None] = {}
        self._visited: set[str] = set()

    def target(self, name: str) -> None:
        """Follow a class or function by its dotted name."""
        module = name.rpartition(".")[0]
        top = module.split(".")[0]
        if top in modules.OWN:
            return
        if _is_of_session(module):
            if hasattr(sys.modules[module], name.rpartition(".")[2]):
                described = f"{self.found.get(module, '')}{describe(name, self)}"
                self.found[module] = digest(described) if module in self.found else described
            return  # a class that the session lacks is refused with its name when the object is made
        spec = self._spec(top)
        if spec is not None and not modules.is_part_of_python(spec) and modules.is_installed(spec):
            if top not in modules.plugins() and not self._imports_clbench(module):
                if top not in modules.LIBRARIES:
                    self.found[top] = f"version {modules.version_of(top)}"
                return
            self.own |= modules.siblings(top)
        self.follow(module)

    def follow(self, name: str) -> bool:
        """Follow a module, and return whether it exists and counts. Packages above count too."""
        parts = name.split(".")
        if parts[0] in modules.OWN:
            return False
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            spec = self._spec(module)
            if spec is None or not self._counts(spec):
                return False
            if module not in self._visited:
                self._visited.add(module)
                self._visit(module, spec)
        return True

    def follow_import(self, statement: Import, module: str, is_package: bool) -> None:
        """Follow an import statement of a module."""
        base = absolute(statement, module, is_package)
        if base and self.follow(base):
            for name in statement.names:
                for each in self._public(base) if name == "*" else (name,):
                    spec = self._spec(base)
                    if spec is not None and spec.submodule_search_locations is not None:
                        self.follow(f"{base}.{each}")

    def _visit(self, name: str, spec: ModuleSpec) -> None:
        if not spec.has_location or not spec.origin:
            return
        if modules.is_compiled(spec.origin):
            top = name.split(".")[0]
            self.found[name] = f"version {modules.version_of(top)}" if top in self.own else bytes_digest(read(spec.origin))
            return
        content = parsed(read(spec.origin), spec.origin)
        if content.digest != digest(""):
            self.found[name] = content.digest
        for statement in content.imports:
            self.follow_import(statement, name, spec.submodule_search_locations is not None)

    def _public(self, package: str) -> tuple[str, ...]:
        spec = self._spec(package)
        if spec is None or not spec.has_location or not spec.origin or modules.is_compiled(spec.origin):
            return ()
        return parsed(read(spec.origin), spec.origin).public

    def _imports_clbench(self, module: str) -> bool:
        """Return whether a file of an installed package imports clbench by itself: then the package is a plug-in."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            spec = self._spec(".".join(parts[:end]))
            if spec is None:
                return False
        if spec is None or not spec.origin or not spec.has_location or modules.is_compiled(spec.origin):
            return False
        return any(each.module.split(".")[0] == "clbench" for each in parsed(read(spec.origin), spec.origin).imports)

    def _counts(self, spec: ModuleSpec) -> bool:
        if modules.is_part_of_python(spec):
            return False
        top = spec.name.split(".")[0]
        return not modules.is_installed(spec) or top in self.own or top in modules.plugins()

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            above = name.rpartition(".")[0]
            path = None
            if above:
                package = self._spec(above)
                path = list(package.submodule_search_locations or ()) if package is not None else []
            self._specs[name] = modules.find(name, path) if path is None or path else None
        return self._specs[name]


def absolute(statement: Import, module: str, is_package: bool) -> str:
    """Return the dotted name of the module that an import statement of `module` names; empty if it leaves the package."""
    if not statement.level:
        return statement.module
    parts = module.split(".")
    above = parts[: len(parts) - statement.level + is_package]
    return ".".join([*above, statement.module] if statement.module else above) if above else ""


def _is_of_session(name: str) -> bool:
    """Return whether a module has no file that another process could import: a notebook, a script, a prompt."""
    if name == "__main__":
        return True
    loaded = sys.modules.get(name)
    return (
        loaded is not None
        and name not in sys.builtin_module_names
        and getattr(loaded, "__file__", None) is None
        and not hasattr(loaded, "__path__")
    )


def read(path: str) -> bytes:
    """Return the content of a source file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}",
            "check the file's permissions: its text is part of what names a run",
        ) from error
