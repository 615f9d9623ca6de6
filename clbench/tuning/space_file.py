"""The files of search spaces, `conf/search/NAME.yaml`: read for one configuration, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from clbench.config.hydra_compose import Composer
from clbench.config.without_effect import STEPLESS, switched_off
from clbench.errors import ConfigError, shown
from clbench.records import flatten
from clbench.tuning.space import Distribution, Space, same
from clbench.utils.nearest import nearest

GROUP = "search"
"""Folder of the spaces, in `conf` and in the folders of plug-ins."""
BASE = "base"
"""File that belongs to every space."""
NODES = ("method", "optimizer", "trainer", "federated")
"""What a search may change."""
STEPS = ("optimizer.", "trainer.")
"""Prefixes of keys without effect on a method that takes no gradient steps."""


def load_space(composer: Composer, name: str, resolved: Mapping[str, Any], given: bool = False) -> Space:
    """Return the space of a method for one configuration.

    Args:
        composer: knows the folders of configuration.
        name: of the file in `conf/search`: the method's name, or what `search=` gives.
        resolved: the configuration, resolved.
        given: whether the user has named the file.

    Raises:
        ConfigError: no such file, an entry of another form, or a key that the configuration lacks.
    """
    own = _content(composer, name)
    if not own and given and name not in composer.loader.choices(GROUP):
        known = sorted(composer.loader.choices(GROUP))
        near = nearest(name, known)
        hint = f"did you mean search={near}? " if near else ""
        raise ConfigError(f"unknown search={name}", f"{hint}choose one of {', '.join(known)}")
    flat = dict(flatten(dict(resolved)))
    entries: dict[str, Distribution] = {}
    dropped: dict[str, str] = {}
    usual: dict[str, Any] = {}
    for file, content in ((BASE, _content(composer, BASE)), (name, {} if name == BASE else own)):
        for key, entry in content.items():
            place = f"conf/{GROUP}/{file}.yaml"
            reason = _without_effect(str(key), entry, resolved)
            if reason:
                dropped[str(key)] = reason
                continue
            value = _usual(str(key), flat, resolved, place)
            made = _read(str(key), entry, value, place)
            if made.when is not None:
                usual[made.when[0]] = _usual(made.when[0], flat, resolved, place)
            entries[str(key)], usual[str(key)] = made, value
    if not entries:
        raise ConfigError(f"the space search={name} has no key that acts in this configuration", "choose another search=NAME")
    return Space(entries, usual, dropped, bool(own) or name in composer.loader.choices(GROUP))


def _content(composer: Composer, name: str) -> dict[str, Any]:
    """Return what a file holds; {} if there is none.

    Raises:
        ConfigError: it holds no mapping.
    """
    found = composer.loader.repository.load_config(f"{GROUP}/{name}")
    if found is not None and not OmegaConf.is_dict(found.config):
        raise ConfigError(
            f"{GROUP}/{name}.yaml holds no keys with distributions", "write one KEY: {low: ..., high: ...} per line"
        )
    return composer.file(f"{GROUP}/{name}")


def _without_effect(key: str, entry: Any, resolved: Mapping[str, Any]) -> str:
    """Return why a key does not act in this configuration; empty if it acts, or has a condition of its own."""
    if not (isinstance(entry, Mapping) and "when" in entry):
        off = switched_off(key, resolved)
        if off is not None:
            return f"it has no effect with {off[0]}"
    target = str(resolved["method"].get("_target_"))
    if target in STEPLESS and key.startswith(STEPS):
        return "the method takes no gradient steps"
    if key == "trainer.epochs" and resolved["scenario"].get("online"):
        return "scenario.online=true means one epoch"
    if key == "trainer.epochs" and resolved.get("federated") is not None:
        return "clients train federated.local_epochs in each round"
    if key == "trainer.epochs" and resolved["trainer"].get("iterations") is not None:
        return "trainer.iterations counts steps"
    return ""


def _usual(key: str, flat: Mapping[str, Any], resolved: Mapping[str, Any], place: str) -> Any:
    """Return the configuration's value of a key.

    Raises:
        ConfigError: a key outside of what a search may change, or one that the configuration lacks.
    """
    if key.partition(".")[0] not in NODES:
        raise ConfigError(f"{place}: {key} is not for a search", f"a search may change {', '.join(NODES)} only")
    if key in flat:
        return flat[key]
    node: Any = resolved
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            near = nearest(key, [each for each in flat if not each.endswith("_target_")])
            hint = f"did you mean {near}? " if near else ""
            where = key.partition(".")[0]
            known = ", ".join(each for each in flat if each.startswith(f"{where}.") and not each.endswith("_target_"))
            raise ConfigError(f"{place}: the configuration has no key {key}", f"{hint}{where} has: {known}")
        node = node[part]
    return node


def _read(key: str, entry: Any, usual: Any, place: str) -> Distribution:
    """Return the distribution of one entry.

    Raises:
        ConfigError: it is of another form.
    """
    where = f"{place}: {key}={shown(entry)}"
    example = f"for example {key}: {{low: 0.001, high: 1.0, log: true}}, or {{choices: [1, 2]}}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is no distribution", example)
    words = {"low", "high", "log", "choices", "factors", "when"}
    unknown = [str(word) for word in entry if word not in words]
    if unknown:
        raise ConfigError(f"{where} has the unknown word {unknown[0]}", f"it takes: {', '.join(sorted(words))}")
    when = _when(entry.get("when"), where)
    forms = [form for form in ("low", "choices", "factors") if form in entry]
    if len(forms) != 1:
        raise ConfigError(f"{where} is no distribution", example)
    if forms == ["low"]:
        return replace(_range(entry, where, example), when=when)
    values = entry[forms[0]]
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where} has no choices", f"give {forms[0]} as a list with one value or more")
    if forms == ["factors"]:
        if (
            isinstance(usual, bool)
            or not isinstance(usual, (int, float))
            or not all(_number(each) and each > 0 for each in values)
        ):
            raise ConfigError(f"{where}: factors need positive numbers and a key with a number ({shown(usual)})", example)
        made = [max(1, round(usual * each)) if isinstance(usual, int) else usual * each for each in values]
        if entry.get("log"):
            low, high = min(made), max(made)
            return replace(_range({"low": _short(low), "high": _short(high), "log": True}, where, example), when=when)
        values = sorted(set(made))
    distinct = [each for place_, each in enumerate(values) if not any(same(each, other) for other in values[:place_])]
    return Distribution(choices=tuple(distinct), when=when)


def _range(entry: Mapping[str, Any], where: str, example: str) -> Distribution:
    low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
    if not _number(low) or not _number(high) or not isinstance(log, bool):
        raise ConfigError(f"{where} needs numbers low and high, and log true or false", example)
    assert isinstance(low, (int, float))
    assert isinstance(high, (int, float))
    if not low < high:
        raise ConfigError(f"{where}: low={low} is not below high={high}", example)
    if log and low <= 0:
        raise ConfigError(f"{where}: low={low} has no logarithm", "give a positive low, or log: false")
    return Distribution(low=low, high=high, log=log, integer=isinstance(low, int) and isinstance(high, int))


def _when(value: Any, where: str) -> tuple[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(f"{where}: when={shown(value)} is no condition", "for example when: {method.mode: online}")
    return next((str(key), each) for key, each in value.items())


def _short(value: float) -> float:
    """Return the end of a range with few digits."""
    return float(f"{value:.3g}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
