"""Chosen values as a file of `conf/tuned`, `FOLDER/SCENARIO/METHOD.yaml`, with the search as their source."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from clbench.errors import ConfigError, StoreError
from clbench.tuning.choice import Choice
from clbench.tuning.command import node
from clbench.tuning.plan import Plan, setting
from clbench.utils import atomic

HEAD = """\
# @package _global_
# Values by setting, and the search that chose each of them on validation splits: clbench-tune wrote this file (docs/tuning.md).
"""


def write_values(plan: Plan, choice: Choice) -> Path:
    """Write the values that differ from the defaults under the setting of the search; other settings in the file stay.

    Raises:
        ConfigError: the file is not of this form.
        StoreError: the file cannot be written.
    """
    assert plan.tuning.write is not None
    names = plan.base.names
    path = Path(plan.tuning.write) / names["scenario"] / f"{names['method']}.yaml"
    held = _held(path)
    usual = plan.space.usual
    values = {key: value for key, value in choice.values.items() if usual.get(key) != value}
    tuned: dict[str, Any] = dict(held.get("tuned") or {})
    searches = dict(tuned.pop("searches", {}))
    tuned[setting(plan.base)] = _nested(values)
    searches[setting(plan.base)] = _search(plan, choice)
    body = yaml.safe_dump({"tuned": {**tuned, "searches": searches}}, sort_keys=False, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, HEAD + body, shared=False)
    return path


def _search(plan: Plan, choice: Choice) -> dict[str, Any]:
    """Return what a table needs to know of the search."""
    about = node(plan, choice)
    kept = ("protocol", "k", "report", "tuned_on", "trials", "seeds", "objective", "search")
    score = round(choice.trial.value(0.0), 2)
    space = str(about["space_sha256"])[:12]
    return {**{key: about[key] for key in kept if key in about}, "space": space, "validation": score, "date": _today()}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _held(path: Path) -> dict[str, Any]:
    """Return the content of an earlier file; {} if there is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", "give another folder in tuning.write") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML file", "give another folder in tuning.write, or move the file away") from error
    if not isinstance(content, dict) or not isinstance(content.get("tuned", {}), dict):
        raise ConfigError(f"{path} is no file of tuned values", "give another folder in tuning.write, or move the file away")
    return content


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as nested mappings."""
    made: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return made
