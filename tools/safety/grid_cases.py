"""Federated runs whose Flower nodes answer wrongly: nothing but the count of rejected replies may change."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from clbench.federated.federated_training import FederatedTraining
from clbench.flower import grid_transport
from clbench.flower.wire_format import FIELDS, MODEL, TRAIN, pack_reply, unpack
from clbench.records import Record
from clbench.runs.run import prepare
from clbench.testing.make_run import make_spec
from tools.safety.message_cases import wrong_contents
from tools.safety.report import Report

NODES = (11, 12)
OPTIONS = ("+federated=iid", "scenario.setting=task", "federated.clients=2", "federated.rounds=1", "scenario.n_tasks=2")
BROKEN = 1
"""The client whose node answers wrongly."""
Answer = tuple[str, int, RecordDict | str]
"""Id of the message that is answered, node, and content, or the reason of a failure."""
Change = Callable[[str, int, RecordDict], Iterable[Answer]]
"""Turns the right answer of `BROKEN` into the answers that arrive."""


class Nodes:
    """A Flower grid whose nodes work in this process."""

    def __init__(self, training: FederatedTraining, change: Change) -> None:
        """Take the server's training, and the change of answers."""
        self.training, self.change = training, change
        self.open: list[tuple[str, Any]] = []
        self.count = 0

    def get_node_ids(self) -> list[int]:
        """Return all nodes."""
        return list(NODES)

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        """Keep the messages, and return their ids."""
        ids = []
        for message in messages:
            self.count += 1
            ids.append(f"m{self.count}")
            self.open.append((ids[-1], message))
        return ids

    def pull_messages(self, ids: list[str]) -> list[Any]:
        """Return the answers to all messages."""
        waiting, self.open = self.open, []
        return [_message(*each) for id, message in waiting for each in self._answers(id, message)]

    def _answers(self, id: str, message: Any) -> Iterable[Answer]:
        clients = self.training.clients
        about, down, _ = unpack(message.content, clients.learner.device, FIELDS[TRAIN])
        task = self.training.learner.stream.tasks[about["task"]]
        reply = clients.train(about["client"], task, about["round"], down, about["names"], about["work"])
        right = (id, message.node, pack_reply(reply))
        return self.change(*right) if about["client"] == BROKEN else [right]


def _message(id: str, node: int, content: RecordDict | str) -> Any:
    failed = isinstance(content, str)
    return SimpleNamespace(
        content=None if failed else content,
        metadata=SimpleNamespace(reply_to_message_id=id, src_node_id=node),
        error=SimpleNamespace(reason=content if failed else ""),
        has_error=lambda: failed,
    )


def record_of(change: Change, folder: Path) -> Record:
    """Execute a run whose broken node's answers go through `change`."""
    spec = make_spec("naive", OPTIONS, results_dir=tempfile.mkdtemp(dir=folder))  # a run resumes from checkpoints of its folder
    made = prepare(spec, lambda event: None)
    assert isinstance(made.training, FederatedTraining)

    def carried(content: RecordDict, dst_node_id: int, **_: Any) -> Any:
        return SimpleNamespace(content=content, node=dst_node_id)

    grid: Any = Nodes(made.training, change)
    made.training.transport = grid_transport.GridTransport(grid, made.training.clients, spec, 30.0)
    with patch.object(grid_transport, "Message", carried):  # Flower makes messages only within its own runs
        return made.run()


def essence(record: Record) -> tuple[Any, int]:
    """Return what hostile replies may not change, and the number of rejected replies."""
    result = copy.deepcopy(record.result)
    rejected = sum(sum(each["federated"].pop("rejected").values()) for each in result["diagnostics"])
    for each in result["diagnostics"]:
        each.pop("seconds", None)
    return {"result": result, "bytes": record.cost["bytes_sent"]}, rejected


def instead(content: RecordDict, canary: Path) -> list[tuple[str, Change]]:
    """Return the names and changes that put a wrong answer in the place of the right one."""
    names = [name for name, _ in wrong_contents(content, canary)]

    def at(number: int) -> Change:
        return lambda id, node, right: [(id, node, list(wrong_contents(right, canary))[number][1])]

    return [(name, at(number)) for number, name in enumerate(names)]


def besides() -> list[tuple[str, Change]]:
    """Return the names and changes that add an answer before or after the right one."""
    return [
        ("an unknown message's id", lambda id, node, right: [("unknown", node, right), (id, node, right)]),
        ("no message's id", lambda id, node, right: [(None, node, right), (id, node, right)]),  # type: ignore[list-item]
        ("another node", lambda id, node, right: [(id, node + 1, right), (id, node, right)]),
        ("a failure of another node", lambda id, node, right: [(id, node + 1, "boom"), (id, node, right)]),
        ("a second reply", lambda id, node, right: [(id, node, right), (id, node, right)]),
        ("a failure after the reply", lambda id, node, right: [(id, node, right), (id, node, "boom")]),
    ]


def not_finite(id: str, node: int, right: RecordDict) -> Iterable[Answer]:
    """Return a reply of the right form, as a client that diverged sends it."""
    wrong = {name: Array(np.full_like(array.numpy(), np.nan)) for name, array in right[MODEL].items()}
    return [(id, node, RecordDict({**right, MODEL: ArrayRecord(wrong)}))]


def compare(folder: Path, canary: Path, every: int, report: Report) -> None:
    """Execute runs with wrong answers and compare their whole records; of the wrong contents, take each `every`-th."""
    seen: list[RecordDict] = []

    def honestly(id: str, node: int, right: RecordDict) -> Iterable[Answer]:
        seen.append(right)
        return [(id, node, right)]

    honest, none = essence(record_of(honestly, folder))
    failing, failures = essence(record_of(lambda id, node, right: [(id, node, "boom")], folder))
    if none or failures != len(seen) or honest == failing:
        report.violations.append(f"{none} replies of an honest run are rejected, and {failures} of {len(seen)} failures")
    cases = [(name, change, honest) for name, change in besides()]
    cases += [(name, change, failing) for name, change in instead(seen[0], canary)[::every]]
    for name, change, expected in cases:
        report.counts["run with wrong replies"] += 1
        try:
            found, rejected = essence(record_of(change, folder))
        except Exception as error:
            report.violations.append(f"run with {name}: {type(error).__name__}: {error}"[:200])
            continue
        if found != expected:
            report.violations.append(f"run with {name}: its record is another one than without this reply")
        if rejected != len(seen):
            report.violations.append(f"run with {name}: {rejected} replies are rejected, expected {len(seen)}")
    found, rejected = essence(record_of(not_finite, folder))
    report.counts["run with wrong replies"] += 1
    if rejected != len(seen) or found["result"]["matrix"] != failing["result"]["matrix"]:
        report.violations.append("run with replies that are not finite: another matrix than without these replies")
