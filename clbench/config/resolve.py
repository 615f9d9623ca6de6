"""From a composed configuration to the values of a run: resolved, checked, named, identified. Nothing here needs torch."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clbench.config.hydra_compose import Composed, Composer
from clbench.config.quick_values import copied
from clbench.data.content_digest import data_sha256
from clbench.errors import ConfigError, shown
from clbench.instantiate import check
from clbench.records import flatten

NODES = ("method", "scenario", "model", "optimizer", "trainer", "eval")
"""Nodes of a run's identity."""
LATER_NODES = ("federated",)
"""Optional nodes of a run's identity."""
OTHER_KEYS = (
    "runner",
    "logger",
    "seeds",
    "device",
    "results_dir",
    "save_models",
    "rerun",
    "data",
    "neutral",
    "protocol",
    "tuned",
    "published",
    "objective",
)
"""Keys and nodes outside a run's identity."""
OWN_DATA = ("npz", "folder", "text_folder", "prose")
"""The user's own data sets; their default name is that of the file or folder."""
RETARGETABLE = ("method", "model", "optimizer")
"""Nodes whose `_target_` the command line may change: a class then needs no configuration file."""


def resolve(composed: Composed, composer: Composer, method: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the configuration after all rules that involve several of its parts.

    From weakest to strongest: the files of the groups; `protocol` (the scenario's); `tuned` (the pair's, by setting);
    the consequences of `scenario.online`; experiment files and the user's overrides. Protocol and tuned values were made for the
    default choices: they do not apply to a group with another choice.

    Raises:
        ConfigError: an unknown key at the top, a missing node, or a clash of `scenario.online` with `trainer.epochs`.
    """
    config: dict[str, Any] = copied(composed.config)
    _check_keys(config)
    _check_scenario(config["scenario"])
    if method is not None:
        config["method"] = dict(method)
        config.pop("tuned", None)
    given = given_keys(composed, composer)
    held = given | _changed_groups(composed, composer)
    for dataset in [config["scenario"].get("dataset"), *_ability(config).values()]:
        if isinstance(dataset, dict) and dataset.get("name") in OWN_DATA and dataset.get("path"):
            dataset["name"] = Path(str(dataset["path"])).stem
    for node in RETARGETABLE:
        _retarget(config[node], node, given)
    held |= {node for node in RETARGETABLE if _is_own(config[node], node, given)}
    _fill(config, config.pop("protocol", None) or {}, held, "protocol")
    tuned = config.pop("tuned", None) or {}
    _fill(config, tuned.get(config["scenario"].get("setting")) or {}, held, "tuned")
    if config["scenario"].get("online"):
        _single_pass(config, given)
    if config.get("federated") is not None:
        _federate(config, given)
    return config


def given_keys(composed: Composed, composer: Composer) -> set[str]:
    """Return the dotted keys that the user's overrides or an experiment's file set."""
    keys = {override.name for override in composer.parse(composed.overrides, composed.choices) if not override.group}
    for group in extra_groups(composed, composer):
        for content in composer.files(f"{group}/{composed.choices[group]}"):
            keys |= {key for key, _ in flatten(content) if not key.startswith("hydra.")}
    return keys


def extra_groups(composed: Composed, composer: Composer) -> list[str]:
    """Return the groups outside the primary configuration whose files set keys anywhere: experiment, sweep."""
    usual = composer.cached(()).choices
    return [
        group
        for group, choice in composed.choices.items()
        if choice and group not in usual and "@" not in group and "/" not in group and group not in LATER_NODES
    ]


def _changed_groups(composed: Composed, composer: Composer) -> set[str]:
    """Return the nodes whose group has another choice than the default, except method and scenario."""
    usual = composer.cached(()).choices
    return {
        group.replace("/", ".")
        for group, choice in composed.choices.items()
        if group.split("/")[0] in ("model", "optimizer", "trainer") and choice != usual.get(group)
    }


def _is_own(node: dict[str, Any], name: str, given: set[str]) -> bool:
    """Return whether the command line names the user's own class for a node."""
    return f"{name}._target_" in given and not str(node.get("_target_")).startswith("clbench.")


def _retarget(node: dict[str, Any], name: str, given: set[str]) -> None:
    """If `_target_` is the user's own class, drop the values of the chosen file: they belong to another class."""
    if not _is_own(node, name, given):
        return
    for key in [key for key in node if key not in ("_target_", "head")]:
        if not any(other == f"{name}.{key}" or other.startswith(f"{name}.{key}.") for other in given):
            del node[key]


def _fill(config: dict[str, Any], values: Mapping[str, Any], held: Iterable[str], source: str, prefix: str = "") -> None:
    """Set `values` in `config`, except keys in `held` and keys above or below these."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in held or any(path.startswith(f"{other}.") for other in held):
            continue
        if key not in config:
            raise ConfigError(f"unknown key {path}={value!r} in the {source} values", f"it knows: {', '.join(sorted(config))}")
        if isinstance(value, Mapping) and isinstance(config[key], dict) and "_target_" not in value:
            _fill(config[key], value, held, source, f"{path}.")
        elif not any(other.startswith(f"{path}.") for other in held):
            config[key] = copy.deepcopy(value)


def _single_pass(config: dict[str, Any], given: set[str]) -> None:
    trainer = config["trainer"]
    if "trainer.epochs" in given and trainer["epochs"] != 1:
        raise ConfigError(
            f"trainer.epochs={trainer['epochs']} with scenario.online=true, which means a single pass",
            "leave trainer.epochs out, or give scenario.online=false",
        )
    if trainer.get("iterations") is not None:
        raise ConfigError(
            f"trainer.iterations={trainer['iterations']} with scenario.online=true, which means a single pass",
            "give trainer.iterations=null, or scenario.online=false",
        )
    trainer["epochs"] = 1
    if "trainer.batch_size" not in given:
        trainer["batch_size"] = trainer["online_batch_size"]


def _federate(config: dict[str, Any], given: set[str]) -> None:
    """Take the length of local training from the federated node; refuse options without a meaning at clients.

    Raises:
        ConfigError: a clash with the trainer, the scenario or the optimiser.
    """
    federated, trainer = config["federated"], config["trainer"]
    for key in ("epochs", "iterations"):
        if f"trainer.{key}" in given and trainer.get(key) != federated.get(f"local_{key}"):
            raise ConfigError(
                f"trainer.{key}={trainer[key]} in a federated stream, whose clients train federated.local_{key}="
                f"{federated.get(f'local_{key}')} in each of federated.rounds={federated.get('rounds')}",
                f"leave trainer.{key} out, and give federated.local_{key}",
            )
        trainer[key] = federated.get(f"local_{key}")
    if config["scenario"].get("online"):
        raise ConfigError(
            "scenario.online=true in a federated stream, whose clients pass over their samples in every round",
            "leave scenario.online out; federated.rounds=1 federated.local_epochs=1 is a single pass",
        )
    if config["optimizer"].get("carry"):
        raise ConfigError(
            "optimizer.carry=true in a federated stream, where a client starts every round with a new optimiser",
            "leave optimizer.carry out; federated/server=fedavgm has a momentum at the server",
        )


def _check_keys(config: Mapping[str, Any]) -> None:
    known = (*NODES, *LATER_NODES, *OTHER_KEYS)
    for key, value in config.items():
        if key not in known:
            raise ConfigError(f"unknown key {key}={value!r}", f"the top level has: {', '.join(known)}")
    for key in NODES:
        if not isinstance(config.get(key), Mapping):
            raise ConfigError(
                f"{key}={config.get(key)!r} is not a configuration",
                f"choose one: {key}=NAME (`clbench --help` lists them)",
            )


def _check_scenario(node: Mapping[str, Any]) -> None:
    """Check the keys of the scenario that are read before the scenario is made."""
    for key, hint in (("setting", str), ("online", bool)):
        if key in node:
            check(node[key], hint, f"scenario.{key}")
    several = node.get("datasets")
    if several is not None and not isinstance(several, Mapping):
        raise ConfigError(f"scenario.datasets={shown(several)} is no mapping of data sets", "leave scenario.datasets out")
    named = {f"datasets.{name}": each for name, each in (several or {}).items()}
    for key, dataset in (({"dataset": node["dataset"]} if "dataset" in node else {}) | named).items():
        if dataset is not None and not isinstance(dataset, Mapping):
            raise ConfigError(f"scenario.{key}={shown(dataset)} is no data set", "choose one: scenario/dataset=NAME")


def names(
    config: Mapping[str, Any],
    choices: Mapping[str, Any],
    method: Mapping[str, Any] | None = None,
    asked: Collection[str] = (),
) -> dict[str, str]:
    """Return the names of the parts in tables: their choices. The data set is added to a scenario's name if missing there.

    Args:
        config: resolved.
        choices: of each group.
        method: replaces the method node.
        asked: keys and groups of the user's overrides.
    """
    found = {group: str(choices.get(group)) for group in ("method", "scenario", "model", "optimizer")}
    for group in RETARGETABLE:  # a class of the command line has its own name
        if f"{group}._target_" in asked or found[group] == "custom":
            found[group] = _class_name(config[group])
    if method is not None:
        found["method"] = str(method.get("name") or _class_name(method))
    if config.get("federated") is not None:
        target = "federated.server._target_"
        own = target in asked or not choices.get("federated/server")
        found["server"] = _class_name(config["federated"]["server"]) if own else str(choices["federated/server"])
    dataset = config["scenario"].get("dataset")
    if isinstance(dataset, Mapping):
        called = str(dataset.get("name"))
        own = found["scenario"].endswith(f"_{called}") and "scenario/dataset" not in asked
        if not own and found["scenario"].partition("_")[2] != called and found["scenario"] != called:
            found["scenario"] += f"_{called}"
    return found


def _class_name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_")).rpartition(".")[2]


def data_digest(scenario: Mapping[str, Any], search: Sequence[Path]) -> str:
    """Return the digest of the content of a scenario's data sets, in their order."""
    if "datasets" in scenario:
        digests = [data_sha256(node, search) for node in scenario["datasets"].values()]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return data_sha256(scenario.get("dataset") or {}, search)


def ability_digests(config: Mapping[str, Any], search: Sequence[Path]) -> dict[str, str]:
    """Return the digest of the content of each data set in `eval.ability`, by its name there."""
    return {name: data_sha256(node, search) for name, node in _ability(config).items()}


def _ability(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the nodes of the data sets in `eval.ability`.

    Raises:
        ConfigError: one is no data set.
    """
    nodes = (config.get("eval") or {}).get("ability") or {}
    for name, node in nodes.items() if isinstance(nodes, Mapping) else [("", nodes)]:
        if not isinstance(node, Mapping):
            raise ConfigError(
                f"eval.ability{name and '.'}{name}={node!r} is no data set", "for example +ability@eval.ability.NAME=prose"
            )
    return nodes


def identity(
    config: Mapping[str, Any],
    names: Mapping[str, str],
    data_sha256: str,
    seed: int,
    neutral: Mapping[str, Any],
    ability_sha256: Mapping[str, str] | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
    tuning: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the identity of a run: everything that its result depends on, and nothing else.

    Args:
        config: resolved nodes of the objects.
        names: of method, scenario, model, optimizer.
        data_sha256: digest of the data, in place of its `path`.
        seed: of the run.
        neutral: dotted keys left out at the given value: keys of later versions do not rename older records.
        ability_sha256: digest of each data set in `eval.ability`; left out if there is none.
        sources: digest of each module from outside clbench, by node; left out if there is none.
        tuning: the search that chose the values; left out if there is none. Equal values of two protocols are two rows.
    """
    nodes = copied(dict(config))
    scenario = nodes["scenario"]
    for dataset in [scenario.get("dataset"), *(scenario.get("datasets") or {}).values(), *_ability(nodes).values()]:
        while isinstance(dataset, dict):
            dataset.pop("path", None)
            dataset = dataset.get("of")
    for path, value in neutral.items():
        *parents, key = path.split(".")
        node: Any = nodes
        for parent in parents:
            node = node.get(parent, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict) and key in node and node[key] == value:
            del node[key]
    ability = {"ability_sha256": dict(ability_sha256)} if ability_sha256 else {}
    code = {"sources": {node: dict(digests) for node, digests in sources.items()}} if sources else {}
    search = {"tuning": dict(tuning)} if tuning else {}
    return {"names": dict(names), **nodes, "data_sha256": data_sha256, **ability, **code, **search, "seed": seed}
