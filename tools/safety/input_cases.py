"""Every key of every group, and the bad values that each is tried with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clbench.config.hydra_compose import conf_dir

QUIET = ("logger=none", "device=cpu", "runner.workers=0", "trainer.batch_size=16", "trainer.iterations=2")
UNLEARNING = ("ga", "gd", "kl_ga", "npo", "simnpo", "random_labels", "task_vector", "retrain", "bad_teacher")
TAKEN = ("model.biography",)
"""Nodes that are taken from another group."""
HUGE_TEXT = "x" * 5000

VALUES: dict[str, str] = {
    "negative": "-1",
    "negative fraction": "-0.5",
    "zero": "0",
    "not a number": "nan",
    "infinite": "inf",
    "negative infinite": "-inf",
    "huge number": "1e20",
    "huge integer": str(2**63),
    "integer of 401 digits": str(10**400),
    "fraction": "2.5",
    "text": "zebra",
    "empty text": "''",
    "long text": HUGE_TEXT,
    "control characters": "'a\x1b[31mb'",
    "true": "true",
    "null": "null",
    "empty list": "[]",
    "list of text": "[a,b]",
    "list of lists": "[[1],[2]]",
    "list with null": "[null]",
    "list with not a number": "[nan]",
    "twice in a list": "[1,1]",
    "mapping": "{a:1}",
    "nested mapping": "{a:{b:{c:1}}}",
}
"""Kinds of bad values, each as the command line spells it."""


@dataclass(frozen=True)
class Context:
    """A configuration whose keys are changed one by one: its overrides, and the nodes or keys that are changed."""

    words: tuple[str, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One key of a context with one bad value; `before` is the value of the configuration."""

    context: Context
    key: str
    kind: str
    before: Any

    @property
    def word(self) -> str:
        """The override."""
        return f"{self.key}={VALUES[self.kind]}"


def names(group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def contexts() -> list[Context]:
    """Return a context for each choice of each group."""
    found = [Context(QUIET, ("seeds", "device", "results_dir", "save_models", "rerun", "data", "eval", "runner", "trainer"))]
    found += [Context((*QUIET[1:], f"logger={name}"), ("logger",)) for name in names("logger") if name != "none"]
    found += [Context((*QUIET, f"trainer/schedule={name}"), ("trainer.schedule",)) for name in names("trainer/schedule")]
    found += [Context((*QUIET, f"optimizer={name}"), ("optimizer",)) for name in names("optimizer") if name != "custom"]
    for name in names("model"):
        people = {"biography_tiny": ("scenario=biography_tiny",)}.get(name, ())
        if name not in ("custom", "biography"):  # the latter is large, and has the classes of biography_tiny
            found.append(Context((*QUIET, *people, f"model={name}"), ("model",)))
    found += [Context((*QUIET, f"scenario={name}"), ("scenario",)) for name in names("scenario")]
    found += [
        Context((*QUIET, "scenario=split_digits", f"scenario/dataset={name}"), ("scenario.dataset",))
        for name in names("scenario/dataset")
    ]
    found += [Context((*QUIET, f"+ability@eval.ability.own={name}"), ("eval.ability",)) for name in names("ability")]
    for name in names("method"):
        if name != "custom":
            stream = ("scenario=unlearn_digits",) if name in UNLEARNING else ()
            found.append(Context((*QUIET, *stream, f"method={name}"), ("method",)))
    clients = (*QUIET[:3], "trainer.batch_size=16", "+federated=iid")
    found += [Context((*clients[:-1], f"+federated={name}"), ("federated",)) for name in names("federated") if name != "base"]
    found += [Context((*clients, f"federated/server={name}"), ("federated.server",)) for name in names("federated/server")]
    found += [Context((*clients, f"+federated/secure={name}"), ("federated.secure",)) for name in names("federated/secure")]
    return found


def keys(config: Mapping[str, Any], parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of every key of `parts`, nodes included."""
    for part in parts:
        if part in TAKEN:
            continue
        value: Any = config
        for name in part.split("."):
            value = value[name]
        if not isinstance(value, Mapping) or "." in part or part not in ("method", "scenario", "model", "optimizer"):
            yield part, value
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key != "_target_" and re.fullmatch(r"[a-z]\w*", str(key)):  # others cannot be named on the command line
                    yield from keys(config, (f"{part}.{key}",)) if isinstance(inner, Mapping) else ((f"{part}.{key}", inner),)
