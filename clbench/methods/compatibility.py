"""Which methods cannot act as one, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from clbench.errors import RefusedError
from clbench.method import Method

EXCLUSIVE = ("criterion", "fit", "predict", "reparametrize")
"""Hooks that one part alone may bring."""


class Rule(NamedTuple):
    """What cannot stand beside what.

    Args:
        one: whether a method is of the first kind.
        other: whether it is of the second.
        reason: with `{one}` and `{other}` in the place of their names.
        remedy: what to do instead.
    """

    one: Callable[[Method], bool]
    other: Callable[[Method], bool]
    reason: str
    remedy: str


def projects(method: Method) -> bool:
    """Return whether a method changes the step."""
    return method.overrides("edit_update") and not method.observes


def _holds_by_name(method: Method) -> bool:
    return method.holds == "trained"


RULES = (
    Rule(  # measured: ER + GPM ends below ER alone
        lambda part: part.replays,
        projects,
        "{one} replays samples and {other} projects the step: the replayed gradient would be projected away",
        "compose one of them with a penalty, or run them alone",
    ),
    Rule(
        lambda part: part.resets,
        lambda part: projects(part) or part.accumulates or part.leans,
        "{one} returns the model to its initial weights at every task, and {other} keeps in the model what earlier tasks "
        "learned: nothing would be left of that",
        "run them alone; cumulative may go on from the last weights instead (its reset=false), and freeze may act from the "
        "start (its from_task=0)",
    ),
    Rule(
        lambda part: part.access == "all",
        lambda part: part.leans,
        "{one} learns all tasks in one event, and {other} rests on what a first one has trained: there is none",
        "run them alone; adapters may stand on the network as it is (base=frozen), freeze and osft act from the start "
        "(from_task=0)",
    ),
    Rule(
        _holds_by_name,
        lambda part: part.renews == "later",
        "{one} holds parameters by their names, and {other} lets others train at later tasks: what earlier ones learned would "
        "not be held",
        "run them alone, or take one adapter that all tasks train (seq_lora with base=frozen, as in ewc_lora)",
    ),
    Rule(
        _holds_by_name,
        lambda part: part.overrides("reparametrize"),
        "{one} holds parameters by their names, and {other} computes with functions of them, in which a task's own parameters "
        "come and go: what is held is not what was learned",
        "run them alone, or take a projection without functions of its own, such as gpm",
    ),
    Rule(
        lambda part: part.holds == "layers",
        lambda part: part.renews != "never",
        "{one} projects the steps of the model's own layers, and {other} lets other parameters train in their place: their "
        "steps would not be projected",
        "run them alone; olora and osft keep away from earlier tasks by themselves",
    ),
)


def check(parts: Mapping[str, Method]) -> None:
    """Refuse parts that cannot work together, by what they declare.

    Args:
        parts: name -> method.

    Raises:
        RefusedError: with the names, the reason and what to do instead.
    """

    def which(wanted: Callable[[Method], bool]) -> list[str]:
        return [name for name, part in parts.items() if wanted(part)]

    def alone(owners: list[str], what: str) -> None:
        if len(owners) > 1:
            raise RefusedError(f"the parts {' and '.join(owners)} both {what}", "compose only one of them")

    for hook in EXCLUSIVE:
        alone([name for name, part in parts.items() if part.overrides(hook)], f"bring their own {hook}")
    for rule in RULES:
        ones, others = which(rule.one), which(rule.other)
        if ones and others:
            raise RefusedError(rule.reason.format(one=ones[0], other=others[0]), rule.remedy)
    alone(which(lambda part: part.renews != "never"), "put parameters of their own in the place of layers' weights")
