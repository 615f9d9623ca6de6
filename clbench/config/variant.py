"""The variant of a configuration: the shortest difference from the defaults, for tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clbench.config.hydra_compose import Composed, Composer
from clbench.config.resolve import LATER_NODES, NODES, extra_groups, given_keys, identity, resolve
from clbench.records import canonical, flatten

SILENT = ("scenario.setting",)
"""Keys with a separate column."""
FOLLOWING = ("trainer.epochs", "trainer.iterations")
"""Keys that follow from the node `federated`, if there is one."""
NAMED = ("method", "scenario", "model", "scenario/dataset", "federated/server")
"""Groups whose choice names the row."""
IRRELEVANT = ("runner", "logger", "protocol", "tuned")
"""Groups whose values count; their choice does not."""


def variant(
    composed: Composed,
    composer: Composer,
    resolved: Mapping[str, Any],
    method: Mapping[str, Any] | None = None,
    usual_method: Mapping[str, Any] | None = None,
) -> str:
    """Return how `resolved` differs from the configuration that the choices of groups alone would give.

    Args:
        composed: the origin of `resolved`.
        composer: composes the configuration to compare with, if something was overridden; once per choice of groups.
        resolved: the configuration of the job.
        method: replaces the method node in both configurations.
        usual_method: replaces it in the configuration to compare with, if something was overridden there.

    Returns:
        `buffer_size=200, epochs=3`: each key by its shortest unambiguous ending; groups outside the names
        (`optimizer=adam`) come first; empty if nothing differs.
    """
    usual_method = method if usual_method is None else usual_method
    if usual_method == method and not _differs(composed, composer):
        return ""
    relevant = {group: choice for group, choice in composed.choices.items() if _relevant(group, composed, composer)}
    usual = composer.cached(()).choices
    chosen = {group: choice for group, choice in relevant.items() if group in NODES}
    asked = {o.name for o in composer.parse(composed.overrides, composed.choices) if o.group}
    roots = [f"{group}={choice}" for group, choice in chosen.items() if group in asked or choice != usual.get(group)]
    # the choices of the job, already composed
    if any(composer.cached(roots).choices.get(group) != choice for group, choice in chosen.items()):
        roots = [f"{group}={choice}" for group, choice in chosen.items()]  # a chosen file chooses others
    base, added, missing = composer.cached(roots), list[str](), set[str]()
    for tier in range(3):  # the choice of a group may bring in nested and placed groups
        for group, choice in relevant.items():
            if _tier(group) == tier and base.choices.get(group, "") != choice:
                missing.add(group)
                added.append(f"{'' if group in base.choices else '+'}{group}={'null' if choice is None else choice}")
        base = composer.cached([*roots, *added])
    groups = [
        f"{_group(group)}={choice}"
        for group, choice in relevant.items()
        if group not in NAMED and (group in missing or (group in NODES and choice != usual.get(group)))
    ]
    return ", ".join([*groups, *differences(_leaves(resolved), _leaves(_default(base, composer, resolved, usual_method)))])


def differences(found: Mapping[str, Any], default: Mapping[str, Any]) -> list[str]:
    """Return `key=value` for each leaf of `found` that differs from `default`; a missing leaf counts as null.

    A leaf that another class (`_target_`) of its node does not take is no difference.
    """
    changed = [key for key in found if key not in default or canonical(found[key]) != canonical(default[key])]
    classes = [key.removesuffix("_target_") for key in changed if key.endswith("._target_")]
    gone = [
        key
        for key in default
        if key not in found
        and not any(key.startswith(f"{k}.") or k.startswith(f"{key}.") for k in found)
        and not key.startswith(tuple(classes))
    ]
    endings = Counter(ending for key in {*found, *default} for ending in _endings(key))
    short = {key: next((e for e in _endings(key) if endings[e] == 1), key) for key in [*changed, *gone]}
    return [f"{short[key]}={spell(found.get(key))}" for key in [*changed, *gone]]


def spell(value: Any) -> str:
    """Return a value in the notation of the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(spell(v) for v in value)}]"
    return str(value)


def _default(base: Composed, composer: Composer, resolved: Mapping[str, Any], method: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `base`, resolved with the setting and `online` of `resolved`: their effects are not differences."""
    scenario = base.config["scenario"]
    alike = {key: resolved["scenario"][key] for key in ("setting", "online") if key in resolved["scenario"] and key in scenario}
    default = resolve(replace(base, config={**base.config, "scenario": {**scenario, **alike}}), composer, method)
    default["scenario"].update({key: scenario[key] for key in alike})
    return default


def _differs(composed: Composed, composer: Composer) -> bool:
    """Return whether the overrides change more than the names show."""
    if any(key.split(".")[0] in (*NODES, *LATER_NODES) and key not in SILENT for key in given_keys(composed, composer)):
        return True
    groups = [o.name for o in composer.parse(composed.overrides, composed.choices) if o.group]
    silent = ("method", "scenario", "model", "runner", "logger")
    return any(group not in (*silent, "sweep") for group in groups) or "experiment" in composed.choices


def _relevant(group: str, composed: Composed, composer: Composer) -> bool:
    return not group.startswith("hydra/") and group not in IRRELEVANT and group not in extra_groups(composed, composer)


def _tier(group: str) -> int:
    """Return the order of a group: top groups 0, groups within one (`a/b`) 1, placed groups (`…@…`) 2."""
    return 2 if "@" in group else int("/" in group)


def _group(name: str) -> str:
    """Return the last part of a group's name, or its place: `schedule`, `parts.er`."""
    group, _, package = name.partition("@")
    return package.partition(".")[2] or package or group.rpartition("/")[2]


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of an identity that no name shows."""
    nodes = {key: config[key] for key in (*NODES, *LATER_NODES) if config.get(key) is not None}
    what = identity(nodes, {}, "", 0, config.get("neutral") or {})
    silent = (*SILENT, *FOLLOWING) if config.get("federated") is not None else SILENT
    return {key: value for key, value in flatten({key: what[key] for key in nodes if key in what}) if key not in silent}


def _endings(key: str) -> Iterable[str]:
    """Yield the endings of a dotted key, shortest first."""
    parts = key.split(".")
    return (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
