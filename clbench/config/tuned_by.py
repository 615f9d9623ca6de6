"""Where the values of an ordinary run come from: defaults, a published experiment, `conf/tuned`, or the command line."""

from __future__ import annotations

import re
from typing import Any

from clbench.config.hydra_compose import Composed, Composer
from clbench.config.resolve import extra_groups
from clbench.records import flatten

NODES = ("method", "optimizer", "trainer")
"""Nodes whose values are tuned."""
KEPT = ("protocol", "k", "report", "tuned_on", "trials", "seeds", "objective", "search")
"""What a record repeats of a search that a file of `conf/tuned` names."""


def tuned_by(composed: Composed, composer: Composer, object_given: bool = False) -> dict[str, Any]:
    """Return where the values come from, for the provenance of records.

    Args:
        composed: the configuration, its choices and overrides.
        composer: knows the files.
        object_given: whether the method was given as an object, whose values are the user's.

    Returns:
        `protocol` is `fixed`, and `values` one of `given` (the command line sets some), `published` (an experiment's file does),
        `tuned` (a file of `conf/tuned` made by hand) and `defaults`. For a file that clbench-tune wrote: its search.
    """
    usual = composer.cached(()).choices
    overrides = composer.parse(composed.overrides, composed.choices)
    keys = {each.name for each in overrides if not each.group}
    keys |= {each.name for each in overrides if each.group and each.name != "method" and each.value != usual.get(each.name)}
    if object_given or _of_nodes(keys):
        return {"protocol": "fixed", "values": "given"}
    groups = extra_groups(composed, composer)
    files = [content for group in groups for content in composer.files(f"{group}/{composed.choices[group]}")]
    if _of_nodes({key for content in files for key, _ in flatten(content)}):
        return {"protocol": "fixed", "values": "published" if "experiment" in groups else "given"}
    setting = str(composed.config["scenario"].get("setting"))
    tuned = composed.config.get("tuned")
    if not isinstance(tuned, dict) or setting not in tuned:
        return {"protocol": "fixed", "values": "defaults"}
    search = (tuned.get("searches") or {}).get(setting)
    if not isinstance(search, dict):
        return {"protocol": "fixed", "values": "tuned"}
    return {key: search[key] for key in KEPT if key in search}


def _of_nodes(keys: set[str]) -> bool:
    """Return whether one of the keys or groups belongs to a node that is tuned."""
    return any(re.split(r"[./@]", key)[0] in NODES for key in keys)
