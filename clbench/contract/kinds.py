"""The kinds of classes that a configuration may name by `_target_`: what each kind is, and where it is described."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from clbench.errors import ConfigError
from clbench.instantiate import locate, parameters

PAGE = 'docs/guide.md, "Classes of your own"'


@dataclass(frozen=True)
class Kind:
    """A kind of class.

    Args:
        noun: of one of them.
        contract: what it is, in one line.
        members: attributes that every class of this kind has.
    """

    noun: str
    contract: str
    members: tuple[str, ...] = ()


KINDS = {
    "method": Kind("method", "a class derived from clbench.method.Method", ("begin_task", "setup")),
    "model": Kind("model", "a torch.nn.Module, or a function returning one, from inputs to features [B, d], without a head"),
    "optimizer": Kind(
        "optimiser",
        "a class like those in clbench/engine/optimizers.py: its directions(names, parameters, gradients) returns the step, "
        "which the engine applies; those of torch.optim change the parameters themselves",
        ("directions", "reset", "state", "load_state"),
    ),
    "trainer": Kind("trainer", "clbench.engine.training.Trainer", ("epochs",)),
    "trainer.schedule": Kind(
        "schedule",
        "a class like those in clbench/engine/schedules.py: start(lr, epochs) and after_epoch(epoch, valid_loss) return rates",
        ("start", "after_epoch"),
    ),
    "scenario": Kind("scenario", "a function of (options, access) that returns a clbench.stream.Stream"),
    "scenario.dataset": Kind(
        "data set", "a class derived from clbench.data.sources.base.Source, with read(search, download)", ("load", "read")
    ),
    "federated.server": Kind(
        "server rule", "a class derived from clbench.federated.servers.base.Server", ("aggregate", "client_part")
    ),
    "federated.partition": Kind("partition", "a class with positions, as in clbench/federated/partitions.py", ("positions",)),
    "logger": Kind("logger", "a class derived from clbench.loggers.base.Logger", ("begin", "end")),
}
"""Kinds by the dotted key of their node."""
FROM_THE_PROGRAM = ("input_shape", "search", "download", "pad")
"""Arguments that a model gets from the program."""


def remedy(path: str) -> str:
    """Return what a class at `path` must be, and where that is described."""
    kind = KINDS[path]
    article = "an" if kind.noun[0] in "aeiou" else "a"
    return f"{article} {kind.noun} is {kind.contract} ({PAGE})"


def nodes(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (kind, dotted key, node) of every node whose class must be of a kind."""
    for path in KINDS:
        *parents, last = path.split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        found = node.get(last) if isinstance(node, Mapping) else None
        if isinstance(found, Mapping):
            places = found.items() if path == "logger" else [("", found)]
            for name, each in places:
                if isinstance(each, Mapping) and isinstance(each.get("_target_"), str):
                    yield path, f"{path}.{name}".rstrip("."), each


def refuse_torch(config: Mapping[str, Any]) -> None:
    """Refuse classes of torch where only a model may be one; nothing is imported.

    Raises:
        ConfigError: there is such a class.
    """
    for path, key, node in nodes(config):
        if path != "model" and re.match(r"torch(vision)?\.", node["_target_"]):
            raise ConfigError(f"{key}._target_={node['_target_']} is no {KINDS[path].noun} of clbench", remedy(path))


def check_kinds(config: Mapping[str, Any]) -> None:
    """Refuse classes of another kind than their place needs, before any object is made.

    A function in the place of a class is not checked: only its result could be.

    Raises:
        ConfigError: a class lacks what its kind has, or a model's argument has no value.
    """
    for path, key, node in nodes(config):
        if path == "scenario.dataset" and not _takes_a_source(config):
            continue
        target = locate(node["_target_"], key)
        lacking = [name for name in KINDS[path].members if not _has(target, name)]
        if isinstance(target, type) and (lacking or (path == "scenario" and not _is_stream(target))):
            without = f": it has no {lacking[0]}" if lacking else ""
            raise ConfigError(f"{key}._target_={node['_target_']} is no {KINDS[path].noun} of clbench{without}", remedy(path))
        if path == "model" and isinstance(target, type):
            required = [name for name, needed in parameters(target)[0].items() if needed]
            missing = [name for name in required if name not in node and name not in FROM_THE_PROGRAM]
            if missing:
                given = " ".join(f"+model.{name}=VALUE" for name in missing)
                raise ConfigError(
                    f"{key}._target_={node['_target_']} needs {', '.join(missing)}", f"give {given}; {remedy(path)}"
                )


def _has(target: Any, name: str) -> bool:
    return (
        hasattr(target, name)
        or name in getattr(target, "__dataclass_fields__", {})
        or name in getattr(target, "__annotations__", {})
    )


def _takes_a_source(config: Mapping[str, Any]) -> bool:
    """Return whether the options of the scenario declare a `Source` as their data set; other scenarios take other classes."""
    scenario = locate(config["scenario"].get("_target_"), "scenario")
    try:
        options = next(iter(get_type_hints(scenario).values()), None)
        return getattr(get_type_hints(options).get("dataset"), "__name__", "") == "Source"
    except (NameError, TypeError):
        return False


def _is_stream(target: type) -> bool:
    from clbench.stream import Stream

    return issubclass(target, Stream)
