"""What a stream with a condition lets one conclude: nothing, unless what is to be lost was known well enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.stream import Stream


def conclusion(stream: Stream, events: Sequence[dict[str, Any]], matrix: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    """Return what the accuracies on column 0 say at the newest task's end; empty where the stream has no condition.

    Args:
        stream: its `claim_at` is the condition; a last task named `recovery` asks whether what was lost comes back.
        events: of the matrix so far.
        matrix: (correct, n) by event and column.

    Returns:
        `before`: accuracy after task 0; `needed`; `claim`: whether it is enough, else `no_claim` says so in words. Of later
        tasks `after`, and `lost` (before - after). Of the recovery `after` is what preceded it, `recovered` what it led
        to, and `returned` the share of the loss that came back (absent without a loss).
    """
    ends = {event["task"]: row[0][0] / row[0][1] for event, row in zip(events, matrix) if event["kind"] == "task"}
    if stream.claim_at is None or 0 not in ends or stream.requests:
        return {}
    last, before = max(ends), ends[0]
    found: dict[str, Any] = {"before": before, "needed": stream.claim_at, "claim": before >= stream.claim_at}
    if not found["claim"]:
        found["no_claim"] = (
            f"no claim: accuracy on {stream.evaluation[0].name} was {100 * before:.1f} % before task 1, less than the "
            f"{100 * stream.claim_at:.0f} % needed (scenario.claim_at): a loss of what was not there says nothing"
        )
    if last == 0:
        return found
    recovery = stream.tasks[last].name == "recovery"
    after = ends[last - 1 if recovery else last]
    found |= {"after": after, "lost": before - after}
    if recovery:
        found["recovered"] = ends[last]
        if before > after:
            found["returned"] = (ends[last] - after) / (before - after)
    return found


def worth_forgetting(stream: Stream, row: Sequence[Sequence[float]], joint: Sequence[Sequence[float]] | None) -> dict[str, Any]:
    """Return whether a model knows what it is about to be asked to forget; asked before the first request.

    Args:
        stream: `claim_at` is the share of joint training's accuracy that is needed.
        row: (correct, n) by column, of the model.
        joint: the same of joint training; None: the model is that, since there is one task to be learned.

    Returns:
        By request, in their order, `before` and `joint`: accuracy on its test samples, or its own ones where it has no test set,
        and `needed`: `claim_at` * joint, but at least `floor(chance)`, below which there is nothing to be forgotten; `chance`;
        `claim`: whether all are reached, else `no_claim` names the first that is not.
    """
    assert stream.claim_at is not None
    before, chance = _on_forgotten(stream, row), chance_level(stream) or 0.0
    reference = before if joint is None else _on_forgotten(stream, joint)
    needed = {request: max(stream.claim_at * reference[request], floor(chance)) for request in before}
    missed = [request for request, accuracy in before.items() if accuracy < needed[request]]
    values = {"before": before, "joint": reference, "needed": needed}
    found: dict[str, Any] = {key: list(each.values()) for key, each in values.items()}
    found |= {"chance": chance, "claim": not missed}
    if missed:
        first, others = missed[0], "" if len(missed) == 1 else f"; and so on {len(missed) - 1} more"
        number = list(before).index(first)
        least = "twice chance level" if 3 * chance <= 1 else "half-way from chance to all right"
        found["no_claim"] = (
            f"no claim: accuracy on what request {number} is to forget was {100 * before[first]:.1f} % before the first request, "
            f"less than the {100 * needed[first]:.1f} % needed (scenario.claim_at={stream.claim_at} of joint training's "
            f"{100 * reference[first]:.1f} %, and {least}){others}: forgetting what was not there says nothing"
        )
    return found


def floor(chance: float) -> float:
    """Return the least accuracy that counts as knowing: twice chance level, or half-way from it to all right where that is less.

    Twice chance alone could not be reached with two labels.
    """
    return min(2 * chance, (1 + chance) / 2)


def chance_level(stream: Stream) -> float | None:
    """Return the accuracy of a guess: the stream's own, else one among all outputs or all label words; None: answers are free."""
    if stream.chance is not None:
        return stream.chance
    if stream.vocabulary is None:
        return 1 / stream.head_sizes[0]
    words = stream.tasks[0].train.pool.answers
    return None if words is None else 1 / len({tuple(row) for row in words.tolist()})


def _on_forgotten(stream: Stream, row: Sequence[Sequence[float]]) -> dict[int, float]:
    """Return by request the accuracy on its test samples, or on its own where it has no test set."""
    tested = {column.request for column in stream.evaluation if column.role == "forget_test"}
    found: dict[int, float] = {}
    for task in stream.requests:
        role = "forget_test" if task.index in tested else "forget_train"
        chosen = [
            entry
            for column, entry in zip(stream.evaluation, row, strict=True)
            if column.request == task.index and column.role == role and column.metric != "format"
        ]
        found[task.index] = sum(entry[0] for entry in chosen) / sum(entry[1] for entry in chosen)
    return found


def shown(stream: Stream, row: Sequence[Any], task: int) -> list[Any]:
    """Return what of a row at the end of `task` tells how a model does: the tasks learned; after a request what is retained."""
    if stream.tasks[task].kind == "forget":
        return [entry for entry, column in zip(row, stream.evaluation, strict=True) if column.role == "retain"]
    return list(row[: sum(other.index <= task for other in stream.learned)])


def described(stream: Stream) -> list[dict[str, Any]]:
    """Return the evaluation sets as a record names them."""
    found: list[dict[str, Any]] = [{"name": c.name, "role": c.role, "metric": c.metric} for c in stream.evaluation]
    for column, each in zip(stream.evaluation, found, strict=True):
        if column.request is not None:
            each["request"] = column.request
    return found


def unlearning(stream: Stream) -> dict[str, Any]:
    """Return what a record says of the stream's requests; nothing where there are none."""
    if not stream.requests:
        return {}
    about = {"goal": stream.goal, "requests": [task.index for task in stream.requests], "chance": chance_level(stream)}
    return {"unlearning": about}
