"""Hydra's config loader for the hundreds of jobs of a sweep: common work is done once.

The only file that uses Hydra's private interface; tested with hydra-core 1.3.2 and 1.3.8.
"""

from __future__ import annotations

import copy
import os
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import ConfigDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as Override
from hydra.core.override_parser.types import OverrideType as OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from clbench.config.double_files import refuse_double
from clbench.config.quick_values import Base, mentioned, with_values

Plain = Callable[[DictConfig], dict[str, Any]]

PRIMARY = "config"
"""Name of the primary configuration, without `.yaml`."""
FILES = ("file", "pkg")
"""Kinds of sources that hold files: folders and packages."""


def argument_parser() -> ArgumentParser:
    """Return the parser of Hydra's flags, without its `--version`."""
    parser: ArgumentParser = get_args_parser()
    parser.set_defaults(version=None)
    return parser


def register_plugins() -> None:
    """Have Hydra find all its plug-ins, which register their configuration."""
    Plugins.instance()


def basic_sweeper() -> Any:
    """Return the class of Hydra's basic sweeper. Hydra loads its core plug-ins anew when it looks for them: import it late."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    return BasicSweeper


def parsed(context: HydraContext, words: Sequence[str]) -> list[Override]:
    """Return the overrides that `words` of a command line describe."""
    found: list[Override] = OverridesParser.create(config_loader=context.config_loader).parse_overrides(list(words))
    return found


def launcher_of(
    own: Path, folders: Sequence[str | Path], words: Sequence[str], task: Callable[[DictConfig], Any]
) -> tuple[Any, DictConfig]:
    """Return the launcher that `hydra/launcher=` names, ready to launch jobs, and the configuration that it was made from.

    Args:
        own: clbench's folder of configuration.
        folders: further ones, as `--config-dir` gives them.
        words: overrides of the command, those of Hydra among them.
        task: is called for each job, in its process.
    """
    search_path = create_config_search_path(str(own))
    for folder in folders:
        search_path.prepend("command-line", f"file://{os.path.abspath(folder)}")
    hydra = Hydra.create_main_hydra2("clbench-tune", search_path)
    config = hydra.compose_config(PRIMARY, list(words), run_mode=RunMode.MULTIRUN, with_log_configuration=False)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config), config


def raised(returned: JobReturn) -> Exception | None:
    """Return the exception of a job; None if it succeeded. Hydra's own `return_value` would also print it."""
    if returned.status == JobStatus.COMPLETED:
        return None
    error = returned._return_value
    return error if isinstance(error, Exception) else RuntimeError("the job ended without a result")


def new_loader(own: Path, folders: Sequence[str | Path], version_base: str) -> SharedLoader:
    """Return a loader of configuration.

    Args:
        own: clbench's folder of configuration.
        folders: further ones, as `--config-dir` gives them.
        version_base: version of Hydra whose behaviour is expected, unless an application has set one.
    """
    if version.getbase() is None:
        version.setbase(version_base)
    search_path = create_config_search_path(str(own))
    for folder in folders:
        search_path.prepend("clbench", f"file://{os.path.abspath(folder)}", SearchPathQuery(provider="schema"))
    return SharedLoader(ConfigLoaderImpl(search_path))


class ReadOnce(IConfigRepository):  # type: ignore[misc]
    """A repository that reads each file once; each caller gets its own copy.

    Hydra copies its loader's repository for every composition. The copies share one memory. A copy with other sources
    (`hydra.searchpath`) gets a separate memory.

    Args:
        delegate: the repository that reads.
        memory: earlier answers, by question.
    """

    def __init__(self, delegate: IConfigRepository, memory: dict[tuple[Any, ...], Any] | None = None) -> None:
        self.delegate = delegate
        self.memory: dict[tuple[Any, ...], Any] = {} if memory is None else memory

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadOnce:
        """Return a repository with the same memory."""
        return ReadOnce(self.delegate, self.memory)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Read from other sources, with an empty memory.

        Raises:
            ConfigError: two of them have a primary configuration; it was read before.
        """
        self.delegate, self.memory = ConfigRepository(config_search_path), {}
        self._refuse_double(PRIMARY)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy of the file's content; None if there is no such file.

        Raises:
            ConfigError: two folders have a file of this name.
        """
        found = self._known(("config", config_path), lambda: self._load(config_path))
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

    def _load(self, config_path: str) -> ConfigResult | None:
        self._refuse_double(config_path)
        return self.delegate.load_config(config_path)

    def _refuse_double(self, config_path: str) -> None:
        sources = [source for source in self.delegate.get_sources() if source.scheme() in FILES and source.provider != "hydra"]
        if len(sources) > 1:
            own = [source.path for source in sources if source.is_config(config_path)]
            refuse_double(config_path, [f"{path}/{config_path.removesuffix('.yaml')}.yaml" for path in own])

    def _known(self, question: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
        if question not in self.memory:
            self.memory[question] = ask()
        return self.memory[question]


class SharedLoader:
    """Composes as Hydra's loader does, but does the common work of jobs once.

    Files are read once. The composition of the chosen groups is cached. A job's values are set in a copy of it; Hydra works in
    the same order.

    Args:
        loader: gives the search path; the loader itself is not changed.
        search: further places of configuration (`file://FOLDER`), from `hydra.searchpath`.
    """

    def __init__(self, loader: ConfigLoaderImpl, search: Sequence[str] = ()) -> None:
        setup_globals()
        search_path = copy.deepcopy(loader.get_search_path())
        for place in search:
            search_path.prepend("hydra.searchpath", place, SearchPathQuery(provider="schema"))
        self.loader = ConfigLoaderImpl(search_path)
        self.loader.repository = self.repository = ReadOnce(self.loader.repository)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._bases: dict[tuple[str, ...], Base] = {}

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Return the overrides as Hydra's grammar reads them; they must not be changed.

        Raises:
            OverrideParseException: one cannot be read.
        """
        for text in overrides:
            if text not in self._parsed:
                (self._parsed[text],) = self._parser.parse_overrides([text])
        return [self._parsed[text] for text in overrides]

    def is_group(self, name: str) -> bool:
        """Return whether there is a group of this name."""
        return self.repository.group_exists(name)

    def choices(self, group: str) -> list[str]:
        """Return the choices of a group; none if there is no such group."""
        return self.repository.get_group_options(group)

    def groups(self, above: str) -> list[str]:
        """Return the groups within a group; of an empty name, those at the top."""
        return self.repository.get_group_options(above, ObjectType.GROUP)

    def parents(self, path: str) -> list[str]:
        """Return the files in the defaults list of a file that belong to the same group."""
        found = self.repository.load_config(path)
        entries = (found.defaults_list or ()) if found is not None else ()
        names = [str(entry.path) for entry in entries if isinstance(entry, ConfigDefault) and entry.path != "_self_"]
        return [f"{path.partition('/')[0]}/{name}" for name in names if not name.startswith("/")]

    def load_configuration(self, config_name: str, overrides: Sequence[str]) -> DictConfig:
        """Return the configuration of a single job, as Hydra's loader composes it.

        Raises:
            HydraException: no such group, choice or key.
            OmegaConfBaseException: a value that does not fit.
        """
        parsed = self.parse(overrides)
        if self._elsewhere(parsed):
            return self.loader.load_configuration(config_name, list(overrides), RunMode.RUN)  # type: ignore[no-any-return]
        key, values = self._groups(config_name, parsed)
        config = copy.deepcopy(self._composed[key])
        try:
            ConfigLoaderImpl._apply_overrides_to_config(values, config)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException().with_traceback(error.__traceback__) from error
        asked = [override for override in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in asked]
        how = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(asked, how.exclude_keys, how.item_sep, how.kv_sep)
        return config

    def quick(
        self, config_name: str, overrides: Sequence[str], plain: Plain
    ) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]] | None:
        """Return (values, choices, overrides of the job), as `load_configuration` would give them in plain values.

        Args:
            config_name: name of the primary configuration.
            overrides: as on the command line.
            plain: returns the plain values of a composition.

        Returns:
            None if only Hydra can set the values of `overrides`.

        Raises:
            HydraException: no such group or choice.
            ConfigError: a mandatory key of the composition has no value.
        """
        parsed = self.parse(overrides)
        if self._elsewhere(parsed):
            return None
        key, values = self._groups(config_name, parsed)
        if key not in self._bases:
            loaded = self._composed[key]
            self._bases[key] = Base(plain(loaded), dict(loaded.hydra.runtime.choices), mentioned(loaded))
        base = self._bases[key]
        if any(override.type is not OverrideType.CHANGE or override.package for override in values):
            return None
        config = with_values(base, [(override.key_or_group, override.value()) for override in values])
        asked = tuple(override.input_line for override in parsed if not override.is_hydra_override())
        return None if config is None else (config, dict(base.choices), asked)

    def _groups(self, config_name: str, parsed: Sequence[Override]) -> tuple[tuple[str, ...], list[Override]]:
        """Compose the chosen groups, if that is new; return the key of the composition, and the overrides of values."""
        ConfigLoaderImpl.validate_sweep_overrides_legal(list(parsed), RunMode.RUN, from_shell=True)
        chosen = [override for override in parsed if self._chooses(override)]
        key = _key(chosen)
        if key not in self._composed:
            lines = [override.input_line for override in chosen]
            self._composed[key] = self.loader.load_configuration(config_name, lines, RunMode.RUN)
        return key, [override for override in parsed if not self._chooses(override)]

    @staticmethod
    def _elsewhere(parsed: Sequence[Override]) -> bool:
        """Return whether an override brings folders with groups that are unknown here."""
        return any(override.key_or_group == "hydra.searchpath" for override in parsed)

    def _chooses(self, override: Override) -> bool:
        """Return whether an override affects composition: a choice in a group, or any setting of Hydra."""
        group = self.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        return group or override.is_hydra_override() or override.key_or_group.split(".")[0] == "hydra"


def _key(chosen: Sequence[Override]) -> tuple[str, ...]:
    """Return a name for the composition of `chosen`; the order of choices that only replace a default does not matter."""
    changed = {o.get_key_element(): o.input_line for o in chosen if o.type is OverrideType.CHANGE and not o.is_hydra_override()}
    others = [o.input_line for o in chosen if o.type is not OverrideType.CHANGE or o.is_hydra_override()]
    if len(changed) + len(others) < len(chosen):
        return tuple(o.input_line for o in chosen)
    return (*sorted(changed.values()), *others)
