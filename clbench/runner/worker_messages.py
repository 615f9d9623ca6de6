"""Messages about a run: its progress, and its end. A worker sends each message as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Required, TypedDict

from clbench.runner.outcome import Status
from clbench.store.failures import Kind


class Progress(TypedDict, total=False):
    """Progress of a run. The event decides which other fields are present.

    `begin`: a process got the run. `start`: number of `tasks`, `resumed_at` this task. `epoch`: `epoch` of `epochs` of a `task`
    ended. `task`: a `task` ended with the mean accuracy `acc` in percent. `print`: `text` of a logger. `again`: the run will be
    tried again; `text` says why. `clock`: a time limit of `seconds` begins, for the `runs` of these ids. `apart`: the `runs` of a
    stack begin anew; other runs of the stack took too long. `stopped`: the run
    failed in a `task` after `step` steps, with so many `events` measured. A `start` also names `setting`, `access` and `goal` of
    the stream. `alive`: the run has taken steps. `work`: `text` says how far one-time work is; empty when the work is done.
    """

    event: Required[Literal["begin", "start", "epoch", "task", "print", "again", "clock", "stopped", "alive", "work", "apart"]]
    tasks: int
    resumed_at: int
    task: int
    epoch: int
    epochs: int
    acc: float | None
    text: str
    seconds: float
    runs: list[str]
    step: int
    events: int
    setting: str
    access: str
    goal: str | None


@dataclass(frozen=True)
class End:
    """The last message about a run.

    Args:
        status: how the run ended.
        reason: of a failure, in one line; for `busy` the other process.
        remedy: what the user can do about a failure.
        out_of_memory: whether the run failed because memory was used up.
        peak_memory: bytes that the process of the run needed at its peak.
        kind: of a failure that is stored; None: the failure is not stored (the configuration or the store is at fault).
        stops: whether no other run could be stored either; the sweep then begins no further run.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    out_of_memory: bool = False
    peak_memory: int | None = None
    kind: Kind | None = None
    stops: bool = False


NOT_BEGUN = End(Status.FAILED, "not begun, since no record could be stored")
"""The end of a run after another run's end that stops the sweep."""
Message = Progress | End
Report = Callable[[str, Message], None]
"""Takes the id of a run and a message about the run."""
END = "end"
"""Event of an `End` in JSON."""


def encode(run: str, message: Message) -> str:
    """Return the line of a message about the run of that id."""
    values: Mapping[str, Any] = {"event": END, **asdict(message)} if isinstance(message, End) else message
    return json.dumps({"run": run, **values}) + "\n"


def decode(line: str) -> tuple[str, Message]:
    """Return the id of the run, and the message.

    Raises:
        ValueError: the line is cut short.
    """
    values = json.loads(line)
    run = values.pop("run")
    if values["event"] != END:
        return run, values
    del values["event"]
    kind = None if values["kind"] is None else Kind(values["kind"])
    return run, End(**{**values, "status": Status(values["status"]), "kind": kind})
