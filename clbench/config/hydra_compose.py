"""Everything that touches Hydra's composition: from overrides to plain dictionaries, and its errors made readable."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.default_element import ConfigDefault
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from clbench.config.hydra_cache import SharedLoader
from clbench.errors import ClbenchError, ConfigError
from clbench.records import flatten

CONFIG_NAME = "config"
"""The primary configuration, without `.yaml`."""

VERSION_BASE = "1.3"
"""The version of Hydra whose behaviour the configuration was written for."""

ENTRY_POINTS = "clbench.methods"
"""Group of entry points by which installed packages bring their configuration."""

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
"""What Hydra and OmegaConf raise; `explain` turns it into one of clbench's errors."""


@dataclass(frozen=True)
class Composed:
    """A configuration as composed.

    Args:
        config: all nodes and keys but Hydra's own, resolved.
        choices: what was chosen in each group (`scenario/dataset`: `digits`); None where nothing was.
        overrides: what the user (or sweeper) asked for, one `key=value` each.
    """

    config: dict[str, Any]
    choices: dict[str, Any]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Override:
    """One override, parsed: `name` is its key or group, with `@package` where given; `group` tells which of the two."""

    name: str
    value: Any
    group: bool


@dataclass
class Composer:
    """Composes configurations, any number of them, from files that do not change meanwhile.

    Args:
        loader: see `new_composer`; `SharedLoader` of a running sweep's.
    """

    loader: SharedLoader
    _known: dict[tuple[str, ...], Composed] = field(default_factory=dict, repr=False)
    _files: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def __call__(self, overrides: Sequence[str], hydra_overrides: Sequence[str] = (), partial: bool = False) -> Composed:
        """Compose one job.

        Args:
            overrides: as on the command line.
            hydra_overrides: those about Hydra itself.
            partial: whether keys that must be given may lack a value; they then hold `???`.

        Raises:
            ConfigError: no such group, choice or key, or a key without a value.
        """
        try:
            loaded = self.loader.load_configuration(CONFIG_NAME, [*hydra_overrides, *overrides])
            return of(loaded, partial)
        except (*COMPOSITION_ERRORS, ValueError, YAMLError) as error:
            raise explain(error, self, overrides) from error

    def cached(self, overrides: Sequence[str]) -> Composed:
        """Compose as `self(overrides, partial=True)` does, once for the same overrides; the result must not be changed."""
        key = tuple(overrides)
        if key not in self._known:
            self._known[key] = self(key, partial=True)
        return self._known[key]

    def file(self, path: str) -> dict[str, Any]:
        """Return what the file of a choice itself says (`experiment/gpm_paper`), without its defaults; {} if absent."""
        if path not in self._files:
            found = self.loader.repository.load_config(path)
            content = OmegaConf.to_container(found.config) if found is not None else {}
            self._files[path] = content if isinstance(content, dict) else {}  # type: ignore[assignment]
        return self._files[path]

    def files(self, path: str) -> list[dict[str, Any]]:
        """Return what `file` does, and before it the same of the files of its group that its defaults name."""
        found = self.loader.repository.load_config(path)
        group = path.partition("/")[0]
        parents = [f"{group}/{d.path}" for d in (found.defaults_list or ()) if _same_group(d)] if found is not None else []
        return [content for parent in parents for content in self.files(parent)] + [self.file(path)]

    def parse(self, overrides: Sequence[str], choices: dict[str, Any]) -> list[Override]:
        """Return the overrides with their values; `choices` (of the composed result) tells groups from keys."""
        groups = {name.split("@")[0] for name in choices}
        parsed = self.loader.parse(overrides)
        return [
            Override(
                p.key_or_group + (f"@{p.package}" if p.package else ""),
                p.value(),
                p.key_or_group in groups and not isinstance(p.value(), dict),
            )
            for p in parsed
        ]


def _same_group(default: Any) -> bool:
    """Return whether an entry of a defaults list names a file of the group that the list is in."""
    return isinstance(default, ConfigDefault) and not str(default.path).startswith("/") and default.path != "_self_"


def of(loaded: DictConfig, partial: bool = False) -> Composed:
    """Return what Hydra composed, as plain values.

    Raises:
        ConfigError: a key that must be given has no value.
    """
    hydra = loaded.hydra
    return Composed(plain(loaded, partial), dict(hydra.runtime.choices), tuple(hydra.overrides.task))


def plain(loaded: DictConfig, partial: bool = False) -> dict[str, Any]:
    """Return all keys but `hydra`, interpolations resolved.

    Raises:
        ConfigError: a key that must be given has no value.
    """
    values: dict[str, Any] = {}
    try:
        for key in loaded:
            if key != "hydra":
                value = loaded[key]
                if OmegaConf.is_config(value):
                    value = OmegaConf.to_container(value, resolve=True, throw_on_missing=not partial)
                values[str(key)] = value
    except MissingMandatoryValue as error:
        missing = getattr(error, "full_key", None) or str(error).split(":")[-1].strip()
        raise ConfigError(f"{missing} has no value", f"give {missing}=VALUE") from error
    return values


def conf_dir() -> Path:
    """Return the folder of the configuration: inside an installed package, at the top of a source tree."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / f"{CONFIG_NAME}.yaml").is_file():
            return folder
    raise ConfigError(
        f"clbench's own configuration is missing (looked in {package / 'conf'} and {package.parent / 'conf'})",
        "install clbench again",
    )


def installed() -> dict[str, Path]:
    """Return the folder of configuration of each installed plug-in, by name; none of them is imported.

    A package declares an entry point in the group `clbench.methods`: `name = "package"` stands for the folder `conf` in
    the package, `name = "package:folder"` for that folder.
    """
    found = {}
    for entry in entry_points(group=ENTRY_POINTS):
        top, *rest = entry.module.split(".")
        spec = find_spec(top)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place, *rest, entry.attr or "conf")
            if folder.is_dir():
                found[entry.name] = folder
    return found


def new_composer(folders: Sequence[str | Path] = ()) -> Composer:
    """Return a composer of clbench's configuration; a Hydra application that may be running is left alone.

    Args:
        folders: further folders of configuration, as `--config-dir` gives them.
    """
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.utils import setup_globals

    if version.getbase() is None:
        version.setbase(VERSION_BASE)
    setup_globals()
    search_path = create_config_search_path(str(conf_dir()))
    for folder in folders:
        search_path.prepend("clbench", f"file://{os.path.abspath(folder)}", SearchPathQuery(provider="schema"))
    return Composer(SharedLoader(ConfigLoaderImpl(search_path)))


def explain(error: Exception, composer: Composer, overrides: Sequence[str]) -> ClbenchError:
    """Return what Hydra's `error` means to someone who does not know Hydra.

    Args:
        error: what composing raised.
        composer: knows the keys there are, for suggestions.
        overrides: what was to be composed.
    """
    if isinstance(error, ClbenchError):
        return error
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return ConfigError(
            f"there is no {group}={choice}",
            f"{_near(choice, error.options, group)}choose one of: {', '.join(error.options)}",
        )
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"{error.override!r} cannot be read as an override: {error.message.splitlines()[0]}",
            "write key=value; a value with special characters in double quotes: 'key=\"a b\"'",
        )
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown[1].split("@")[0]
        if "/" in key and composer.loader.repository.group_exists(key):
            above = key.rpartition("/")[0]
            return ConfigError(
                f"{key}=... chooses a part of {above}, and there is no such part in what was chosen",
                f"choose one that has it: {above}=NAME, or +{above}=NAME where there is none yet (`clbench --help` lists them)",
            )
        group = key.partition(".")[0]
        several = [given for given in overrides if re.match(rf"\+?({group}|experiment)=[^\[{{(]*,", given)]
        if several:  # Hydra looks for the key before it tries any of them
            return ConfigError(
                f"{key} is no key before one of the several values of {several[0].partition('=')[0]} is chosen",
                f"write '{key}=choice(VALUE)', in quotes",
            )
        return ConfigError(f"unknown key {key}", f"{_near(key, _keys(composer, overrides))}`clbench --cfg job` shows every key")
    ambiguous = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text)
    if ambiguous:
        key, _, value = ambiguous[1].partition("=")
        return ConfigError(
            f"{ambiguous[1]} names several values",
            f"add --multirun to run one after the other, or write {key}=[{value}] for a list",
        )
    cause = f": {error.__cause__}" if error.__cause__ is not None and str(error.__cause__) not in text else ""
    lines = [line.strip() for line in (text + cause).splitlines() if line.strip() and "object_type=" not in line]
    where = f" (composing {' '.join(overrides)})" if overrides else ""
    return ConfigError(("; ".join(lines) or type(error).__name__) + where, "HYDRA_FULL_ERROR=1 shows where this comes from")


def _near(name: str, known: Sequence[str], group: str = "") -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {group}{'=' if group else ''}{found[0]}? " if found else ""


def _keys(composer: Composer, overrides: Sequence[str]) -> list[str]:
    """Return the keys and groups there are, given the groups among `overrides`."""
    groups = [text for text in overrides if composer.loader.repository.group_exists(text.split("=")[0].strip("+~").split("@")[0])]
    chosen = [text for text in groups if "," not in text]
    try:
        found = composer.cached(chosen if len(chosen) < len(overrides) else ())  # not once more what has just failed
    except ClbenchError:
        return []
    return [key for key, _ in flatten(found.config)] + [group for group in found.choices if not group.startswith("hydra/")]
