"""Claims about forgetting: a stream with a condition allows a claim only if the model first knew the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.stream import Stream


def claim(stream: Stream, events: Sequence[dict[str, Any]], matrix: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    """Return the claim that the accuracies on column 0 allow at the newest task's end; empty for streams without a condition.

    Args:
        stream: its `claim_at` is the condition; a last task named `recovery` measures whether a loss comes back.
        events: of the matrix so far.
        matrix: (correct, n) by event and column.

    Returns:
        `before`: accuracy after task 0; `needed`; `claim`: True if it is reached, otherwise `no_claim` gives the reason in words.
        For later tasks `after`, and `lost` (before - after). For the recovery, `after` is the accuracy before it, `recovered`
        the accuracy after it, and `returned` the share of the loss that came back (absent without a loss).
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
    """Return whether a model knows the samples of the requests to forget; used before the first request.

    Args:
        stream: `claim_at` is the share of joint training's accuracy that is needed.
        row: (correct, n) by column, of the model.
        joint: the same of joint training; None: there is one task to learn, and the model itself is joint training.

    Returns:
        By request, in their order, `before` and `joint`: accuracy on its test samples, or on its own samples if it has no test
        set; `needed`: `claim_at` * joint, but at least `floor(chance)`, below which there is nothing to forget. `chance`.
        `claim`: True if all are reached, otherwise `no_claim` names the first that is not. Records hold these texts.
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
    """Return the least accuracy that counts as knowing: twice chance level, or half-way from chance to 1 if that is less.

    With two labels, twice chance level is out of reach.
    """
    return min(2 * chance, (1 + chance) / 2)


def chance_level(stream: Stream) -> float | None:
    """Return the accuracy of a guess: the stream's own, else 1 / outputs or 1 / label words; None: answers are free text."""
    if stream.chance is not None:
        return stream.chance
    if stream.vocabulary is None:
        return 1 / stream.head_sizes[0]
    words = stream.tasks[0].train.pool.answers
    return None if words is None else 1 / len({tuple(row) for row in words.tolist()})


def _on_forgotten(stream: Stream, row: Sequence[Sequence[float]]) -> dict[int, float]:
    """Return by request the accuracy on its test samples, or on its own samples if it has no test set."""
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
    """Return the entries of a row that show a model's accuracy after `task`: tasks learned; after a request, retained data."""
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
    """Return the record's part on the stream's requests; empty without requests."""
    if not stream.requests:
        return {}
    about = {"goal": stream.goal, "requests": [task.index for task in stream.requests], "chance": chance_level(stream)}
    return {"unlearning": about}
