"""What a stream with a condition lets one conclude: nothing, unless the first task was known well enough to be lost."""

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
    if stream.claim_at is None or 0 not in ends:
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
