"""Where a module lies, and whether its source counts. Own modules do; Python and libraries do not. Nothing is imported."""

from __future__ import annotations

import pkgutil
import sys
import sysconfig
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path

from clbench.sources import import_clock

OWN = ("clbench", "hydra_plugins")
"""Packages of this program; `version` in a configuration tells their states apart."""
LIBRARIES = ("torch", "torchvision", "numpy", "transformers", "tokenizers", "peft", "sklearn", "scipy")
"""Libraries that clbench itself computes with. A record's provenance names their versions."""
ENTRY_POINTS = "clbench.methods"
"""Group of entry points by which an installed package says that it is a plug-in."""
PLACES = ("site-packages", "dist-packages")
"""Names of folders with installed packages."""


def find(name: str, path: list[str] | None = None) -> ModuleSpec | None:
    """Return where a module lies; None if there is none.

    Args:
        name: dotted name.
        path: folders of the package above; None for a module at the top.
    """
    if path is not None:
        return _find_below(name, path) or _loaded(name)
    for finder in sys.meta_path:
        if not isinstance(finder, import_clock.Clock) and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, None)
            if spec is not None:
                return spec
    return _loaded(name)


def _find_below(name: str, path: list[str]) -> ModuleSpec | None:
    """Return where a module of a package lies. Python's own search would import the package."""
    portions: list[str] = []
    for folder in path:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions += list(spec.submodule_search_locations or ())
    if not portions:
        return None
    package = ModuleSpec(name, None, is_package=True)
    package.submodule_search_locations = portions
    return package


def _loaded(name: str) -> ModuleSpec | None:
    """Return where a loaded module comes from, if a file is known."""
    loaded = sys.modules.get(name)
    if loaded is None or not getattr(loaded, "__file__", None):
        return None
    spec = ModuleSpec(name, None, origin=loaded.__file__, is_package=hasattr(loaded, "__path__"))
    spec.has_location = True
    if spec.submodule_search_locations is not None:
        spec.submodule_search_locations.extend(loaded.__path__)
    return spec


def is_compiled(origin: str) -> bool:
    """Return whether a file is no source text."""
    return origin.endswith((*EXTENSION_SUFFIXES, ".pyc"))


def is_part_of_python(spec: ModuleSpec) -> bool:
    """Return whether a module belongs to Python's own library."""
    if spec.origin in ("built-in", "frozen"):
        return True
    return spec.has_location and not is_installed(spec) and any(folder in Path(str(spec.origin)).parents for folder in _library())


def is_installed(spec: ModuleSpec) -> bool:
    """Return whether a module lies where packages are installed. An editable installation lies elsewhere."""
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return any(_installed(_root(Path(place).absolute(), spec.name)) for place in places)


def _root(place: Path, name: str) -> Path:
    """Return the folder of the search path that a module was found in."""
    above = name.count(".") + (place.stem == "__init__")
    return place.parents[min(above, len(place.parents) - 1)]


@cache
def _installed(folder: Path) -> bool:
    return any(part in PLACES for part in folder.parts) or next(folder.glob("*.dist-info"), None) is not None


@cache
def _library() -> list[Path]:
    return [Path(folder) for name in ("stdlib", "platstdlib") if (folder := sysconfig.get_path(name))]


@cache
def plugins() -> frozenset[str]:
    """Return the packages at the top of installed plug-ins: those that entry points name."""
    return frozenset(entry.module.split(".")[0] for entry in entry_points(group=ENTRY_POINTS))


def siblings(top: str) -> frozenset[str]:
    """Return the packages at the top that the same distribution installs, itself included."""
    shipped = _shipped()
    mine = set(shipped.get(top, ()))
    return frozenset({top, *(name for name, distributions in shipped.items() if mine & set(distributions))})


def version_of(top: str) -> str:
    """Return the version of the distribution of a package; `unknown` if there is none."""
    for name in (top, *_shipped().get(top, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


@cache
def _shipped() -> dict[str, list[str]]:
    return {name: list(distributions) for name, distributions in packages_distributions().items()}
