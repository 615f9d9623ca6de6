"""Composition by Hydra: from overrides to plain dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from yaml import YAMLError

from clbench.config.as_typed import check
from clbench.config.double_files import FOLLOWING
from clbench.config.explain import COMPOSITION_ERRORS, explain
from clbench.config.hydra_cache import PRIMARY, SharedLoader, new_loader
from clbench.config.known_names import Known
from clbench.config.quoting import quote_places
from clbench.config.renamed import rename_keys, rename_overrides
from clbench.errors import ClbenchError, ConfigError
from clbench.records import flatten

CONFIG_NAME = PRIMARY
"""Name of the primary configuration, without `.yaml`."""

VERSION_BASE = "1.3"
"""The version of Hydra that the configuration expects."""

ENTRY_POINTS = "clbench.methods"
"""Group of entry points for the configuration of installed packages."""


@dataclass(frozen=True)
class Composed:
    """A configuration as composed.

    Args:
        config: all nodes and keys except Hydra's own, with interpolations resolved.
        choices: of each group (`scenario/dataset`: `digits`); None for a group without a choice.
        overrides: of the user or the sweeper, one `key=value` each.
    """

    config: dict[str, Any]
    choices: dict[str, Any]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Override:
    """A parsed override: `name` is a key or a group, with `@package` if given; `group` is true for a group."""

    name: str
    value: Any
    group: bool


@dataclass
class Composer:
    """Composes any number of configurations from files that do not change meanwhile.

    Args:
        loader: of `new_composer`, or of a running sweep.
    """

    loader: SharedLoader
    _known: dict[tuple[str, ...], Composed] = field(default_factory=dict, repr=False)
    _files: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _checked: set[str] = field(default_factory=set, repr=False)

    def __call__(self, overrides: Sequence[str], hydra_overrides: Sequence[str] = (), partial: bool = False) -> Composed:
        """Compose one job.

        Args:
            overrides: as on the command line.
            hydra_overrides: those about Hydra itself.
            partial: whether mandatory keys may lack a value; their value is then `???`.

        Raises:
            ConfigError: no such group, choice or key, or a key without a value.
        """
        overrides = rename_overrides(quote_places(overrides))
        every = [*hydra_overrides, *overrides]
        try:
            self.check(overrides)
            quick = None if partial else self._quick(every)
            return quick or of(self.loader.load_configuration(CONFIG_NAME, every), partial)
        except (*COMPOSITION_ERRORS, ValueError, YAMLError) as error:
            raise self.explained(error, overrides) from error

    def _quick(self, overrides: Sequence[str]) -> Composed | None:
        """Compose without Hydra where plain values alone differ from an earlier job; None elsewhere."""
        try:
            found = self.loader.quick(CONFIG_NAME, overrides, plain)
        except ConfigError:  # an override may give the missing value
            return None
        return None if found is None else Composed(*found)

    def explained(self, error: Exception, overrides: Sequence[str]) -> ClbenchError:
        """Return the error of clbench that explains an error of Hydra."""
        return explain(error, overrides, self.names)

    def check(self, overrides: Sequence[str]) -> None:
        """Refuse overrides, single ones or those of a sweep, that Hydra would take in another sense than their user.

        Raises:
            ConfigError: such an override (`clbench.config.as_typed`).
            OverrideParseException: one cannot be read.
        """
        for text in overrides:
            if text not in self._checked:
                check(self.loader.parse([text])[0], overrides, self.names)
                self._checked.add(text)

    @property
    def names(self) -> Known:
        """The names that the configuration knows."""
        return Known(
            self.keys,
            self.loader.is_group,
            self.loader.choices,
            lambda: self.cached(()).choices,
            lambda: self.cached(()).config,
            lambda group: [name for name in self.loader.groups(group) if name not in FOLLOWING],
        )

    def keys(self, overrides: Sequence[str]) -> list[str]:
        """Return all keys and groups that exist with the groups of `overrides`; none if composition fails."""
        groups = [text for text in overrides if self.loader.is_group(text.split("=")[0].strip("+~").split("@")[0])]
        chosen = [text for text in groups if "," not in text]
        try:
            found = self.cached(chosen if len(chosen) < len(overrides) else ())  # never again the overrides that have just failed
        except ClbenchError:
            return []
        return [key for key, _ in flatten(found.config)] + [group for group in found.choices if not group.startswith("hydra/")]

    def cached(self, overrides: Sequence[str]) -> Composed:
        """Compose as `self(overrides, partial=True)` does, once for the same overrides; the result must not be changed."""
        key = tuple(overrides)
        if key not in self._known:
            self._known[key] = self(key, partial=True)
        return self._known[key]

    def file(self, path: str) -> dict[str, Any]:
        """Return the content of one file (`experiment/gpm_paper`) without its defaults; {} if there is no such file."""
        if path not in self._files:
            found = self.loader.repository.load_config(path)
            content = OmegaConf.to_container(found.config) if found is not None else {}
            self._files[path] = content if isinstance(content, dict) else {}  # type: ignore[assignment]
            rename_keys(self._files[path])
        return self._files[path]

    def files(self, path: str) -> list[dict[str, Any]]:
        """Return the contents of the files of the same group in a file's defaults, then the content of the file."""
        return [content for parent in self.loader.parents(path) for content in self.files(parent)] + [self.file(path)]

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


def of(loaded: DictConfig, partial: bool = False) -> Composed:
    """Return a configuration of Hydra in plain values.

    Raises:
        ConfigError: a mandatory key has no value.
    """
    hydra = loaded.hydra
    return Composed(plain(loaded, partial), dict(hydra.runtime.choices), tuple(hydra.overrides.task))


def plain(loaded: DictConfig, partial: bool = False) -> dict[str, Any]:
    """Return all keys except `hydra`, with interpolations resolved.

    Raises:
        ConfigError: a mandatory key has no value.
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
    rename_keys(values)
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
    """Return the configuration folder of each installed plug-in, by name; no plug-in is imported.

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
    """Return a composer of clbench's configuration. It does not affect a running Hydra application.

    Args:
        folders: further folders of configuration, as `--config-dir` gives them.
    """
    return Composer(new_loader(conf_dir(), folders, VERSION_BASE))
