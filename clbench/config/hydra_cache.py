"""What Hydra's config loader does, for the hundreds of jobs of a sweep: what they have in common is done once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


class ReadOnce(IConfigRepository):  # type: ignore[misc]
    """A repository that remembers what it read and found; whoever asks gets a copy of their own, to change as they like.

    Hydra copies its loader's repository for every composition. A copy of this one shares what is remembered, until it is
    given other sources (`hydra.searchpath`), which concern that copy alone.

    Args:
        delegate: reads.
        memory: what is known already, by question.
    """

    def __init__(self, delegate: IConfigRepository, memory: dict[tuple[Any, ...], Any] | None = None) -> None:
        self.delegate = delegate
        self.memory: dict[tuple[Any, ...], Any] = {} if memory is None else memory

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadOnce:
        """Return one that shares what is known."""
        return ReadOnce(self.delegate, self.memory)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Read from elsewhere from now on, and forget."""
        self.delegate, self.memory = ConfigRepository(config_search_path), {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy of the file's content; None if there is no such file."""
        found = self._known(("config", config_path), lambda: self.delegate.load_config(config_path))
        return copy.deepcopy(found)

    def group_exists(self, config_path: str) -> bool:
        """Return whether there is such a group."""
        return bool(self._known(("group", config_path), lambda: self.delegate.group_exists(config_path)))

    def config_exists(self, config_path: str) -> bool:
        """Return whether there is such a file."""
        return bool(self._known(("exists", config_path), lambda: self.delegate.config_exists(config_path)))

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        """Return the choices of a group."""
        return list(
            self._known(
                ("options", group_name, results_filter), lambda: self.delegate.get_group_options(group_name, results_filter)
            )
        )

    def get_schema_source(self) -> ConfigSource:
        """Return the source of structured configurations."""
        return self.delegate.get_schema_source()

    def get_sources(self) -> list[ConfigSource]:
        """Return all sources."""
        return self.delegate.get_sources()  # type: ignore[no-any-return]

    def _known(self, question: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
        if question not in self.memory:
            self.memory[question] = ask()
        return self.memory[question]


class SharedLoader:
    """Composes as Hydra's loader does, and does what jobs have in common once.

    Files are read once. The composition of the groups that were chosen is kept; the values that a job sets are set in a
    copy of it, which is the order in which Hydra works anyway.

    Args:
        loader: whose search path is used; it is left alone itself.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self.loader = ConfigLoaderImpl(loader.get_search_path())
        self.loader.repository = self.repository = ReadOnce(self.loader.repository)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Return the overrides as Hydra's grammar reads them; they must not be changed.

        Raises:
            OverrideParseException: one cannot be read.
        """
        for text in overrides:
            if text not in self._parsed:
                (self._parsed[text],) = self._parser.parse_overrides([text])
        return [self._parsed[text] for text in overrides]

    def load_configuration(self, config_name: str, overrides: Sequence[str]) -> DictConfig:
        """Return what Hydra's loader composes for a single job.

        Raises:
            HydraException: no such group, choice or key.
            OmegaConfBaseException: a value that does not fit.
        """
        parsed = self.parse(overrides)
        if any(override.key_or_group == "hydra.searchpath" for override in parsed):  # may bring groups that are not known here
            return self.loader.load_configuration(config_name, list(overrides), RunMode.RUN)  # type: ignore[no-any-return]
        ConfigLoaderImpl.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
        chosen = [override for override in parsed if self._chooses(override)]
        key = _key(chosen)
        if key not in self._composed:
            lines = [override.input_line for override in chosen]
            self._composed[key] = self.loader.load_configuration(config_name, lines, RunMode.RUN)
        config = copy.deepcopy(self._composed[key])
        try:
            ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if not self._chooses(o)], config)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException().with_traceback(error.__traceback__) from error
        asked = [override for override in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in asked]
        how = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(asked, how.exclude_keys, how.item_sep, how.kv_sep)
        return config

    def _chooses(self, override: Override) -> bool:
        """Return whether an override takes part in composing: a choice in a group, or anything about Hydra itself."""
        group = self.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        return group or override.is_hydra_override() or override.key_or_group.split(".")[0] == "hydra"


def _key(chosen: Sequence[Override]) -> tuple[str, ...]:
    """Return a name for what `chosen` compose to; choices that are only changed from the default may come in any order."""
    changed = {o.get_key_element(): o.input_line for o in chosen if o.type is OverrideType.CHANGE and not o.is_hydra_override()}
    others = [o.input_line for o in chosen if o.type is not OverrideType.CHANGE or o.is_hydra_override()]
    if len(changed) + len(others) < len(chosen):
        return tuple(o.input_line for o in chosen)
    return (*sorted(changed.values()), *others)
