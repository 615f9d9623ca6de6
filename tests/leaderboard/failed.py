"""Synthetic failures, shaped as runs write them; they belong to the records of `tests.leaderboard.factory`."""

from clbench.store.failures import Failure
from tests.leaderboard.factory import record


def failure(seed=0, reason="the loss became nan in task 1", kind="diverged", goal=None, **of_record):
    """Return the failure of the run that `record(seed, **of_record)` would be."""
    like = record(seed, **of_record)
    about = {"setting": like.result["setting"], "access": like.result["access"], "goal": goal}
    place = {"task": 1, "step": 7, "events": 2}
    return Failure(like.identity, {"kind": kind, "reason": reason, "remedy": "", **place, **about}, like.provenance)
