"""Which methods cannot act as one, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clbench.errors import RefusedError
from clbench.methods.base import Method

EXCLUSIVE = ("criterion", "fit", "predict", "substitutes")
"""Hooks that one part alone may bring."""


def check(parts: Mapping[str, Method]) -> None:
    """Refuse parts that cannot work together, by what they declare.

    Args:
        parts: name -> method.

    Raises:
        RefusedError: with the names, the reason and what to do instead.
    """

    def which(wanted: Callable[[Method], bool]) -> list[str]:
        return [name for name, part in parts.items() if wanted(part)]

    for hook in EXCLUSIVE:
        owners = [name for name, part in parts.items() if part.overrides(hook)]
        if len(owners) > 1:
            raise RefusedError(f"the parts {' and '.join(owners)} both bring their own {hook}", "compose only one of them")
    projecting = which(projects)
    _loss(which(lambda part: part.replays), projecting)
    leaning = which(lambda part: part.leans)
    _start(which(lambda part: part.resets), [*projecting, *which(lambda part: part.accumulates), *leaning])
    _first(which(lambda part: part.access == "all"), leaning)
    renewing = which(lambda part: part.renews != "never")
    _names(which(lambda part: part.holds == "trained"), which(lambda part: part.renews == "later"))
    _functions(which(lambda part: part.holds == "trained"), which(lambda part: part.overrides("substitutes")))
    _layers(which(lambda part: part.holds == "layers"), renewing)
    if len(renewing) > 1:
        raise RefusedError(
            f"the parts {' and '.join(renewing)} both put parameters of their own in the place of layers' weights",
            "compose only one of them",
        )


def projects(method: Method) -> bool:
    """Return whether a method changes the step."""
    return method.overrides("edit_update") and not method.observes


def _loss(replaying: list[str], projecting: list[str]) -> None:
    """Replay beside a projection of the step (measured: ER + GPM ends below ER alone)."""
    if replaying and projecting:
        raise RefusedError(
            f"{replaying[0]} replays samples and {projecting[0]} projects the step: the replayed gradient "
            "would be projected away",
            "compose one of them with a penalty, or run them alone",
        )


def _start(resetting: list[str], keeping: list[str]) -> None:
    """A start from the initial weights at every task beside something that is kept in the weights."""
    if resetting and keeping:
        raise RefusedError(
            f"{resetting[0]} returns the model to its initial weights at every task, and {keeping[0]} keeps in the model what "
            "earlier tasks learned: nothing would be left of that",
            "run them alone; cumulative may go on from the last weights instead (its reset=false), and freeze may act from the "
            "start (its from_task=0)",
        )


def _first(whole: list[str], leaning: list[str]) -> None:
    """All tasks in one event beside something that waits for the first one."""
    if whole and leaning:
        raise RefusedError(
            f"{whole[0]} learns all tasks in one event, and {leaning[0]} rests on what a first one has trained: there is none",
            "run them alone; adapters may stand on the network as it is (base=frozen), freeze and osft act from the start "
            "(from_task=0)",
        )


def _names(holding: list[str], renewing: list[str]) -> None:
    """A penalty by name beside parameters that come, go, or change their names."""
    if holding and renewing:
        raise RefusedError(
            f"{holding[0]} holds parameters by their names, and {renewing[0]} lets others train at later tasks: what earlier "
            "ones learned would not be held",
            "run them alone, or take one adapter that all tasks train (seq_lora with base=frozen, as in ewc_lora)",
        )


def _functions(holding: list[str], substituting: list[str]) -> None:
    """A penalty by name beside weights that are functions of parameters."""
    if holding and substituting:
        raise RefusedError(
            f"{holding[0]} holds parameters by their names, and {substituting[0]} computes with functions of them, in which a "
            "task's own parameters come and go: what is held is not what was learned",
            "run them alone, or take a projection without functions of its own, such as gpm",
        )


def _layers(holding: list[str], renewing: list[str]) -> None:
    """A projection of the steps of layers beside parameters that train in their place."""
    if holding and renewing:
        raise RefusedError(
            f"{holding[0]} projects the steps of the model's own layers, and {renewing[0]} lets other parameters train in their "
            "place: their steps would not be projected",
            "run them alone; olora and osft keep away from earlier tasks by themselves",
        )
