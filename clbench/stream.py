"""Tasks, streams and evaluation sets: what a scenario makes and everything else consumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from clbench.data.pool import Split
from clbench.data.preprocess import Preprocess

Setting = Literal["task", "domain", "class"]
Outputs = Literal["seen", "all"]
Role = Literal["task", "forget_train", "forget_test", "retain", "utility"]
Goal = Literal["suppress", "retrain"]
"""What an unlearning request asks for: chance level on what is forgotten, or the model that never met it."""


@dataclass(frozen=True)
class Task:
    """One step of a stream.

    Args:
        index: position in the stream, 0-based.
        name: for people.
        classes: the data set's own class numbers, in the order of their outputs.
        train: what may be learned from; of a request what is to be forgotten.
        valid: held out from train for schedules and tuning, or None.
        kind: `learn`, or `forget` for an unlearning request.
        iterations: steps of this task, where they are not what the trainer says.
        clients: in a federated stream the positions in `train`, int64 `[n]`, that each client owns; every one has one owner.
    """

    index: int
    name: str
    classes: tuple[int, ...]
    train: Split
    valid: Split | None = None
    kind: Literal["learn", "forget"] = "learn"
    iterations: int | None = None
    clients: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class EvaluationSet:
    """A named set that every event is measured on: one column of the matrix."""

    name: str
    split: Split
    role: Role = "task"
    metric: str = "accuracy"
    """`accuracy`; where answers are written one of `clbench.engine.evaluation.text_metrics.METRICS`."""
    request: int | None = None
    """Index of the request that a set of the roles `forget_train` and `forget_test` belongs to."""


@dataclass(frozen=True)
class Stream:
    """A sequence of tasks in one setting.

    Labels. `task` and `domain`: the position of the class within its task. `class`: the position of the class in the
    stream, so that the classes met so far are a prefix of the outputs.

    Args:
        setting: `task` (a head per task, task known at test), `domain` (shared outputs), `class` (one head for all). Where
            answers are written there is one head, over the vocabulary, and the setting says among which label words a
            sample's is chosen: those of its task (`task`, `domain`), or of all classes (`class`).
        outputs: which outputs take part in loss and prediction. `seen`: in the class setting the classes met so far, in
            the task setting the task's own head. `all`: all outputs from the start (in the task setting only the loss:
            the prediction knows the task and stays within its head).
        tasks: at least one.
        evaluation: the columns of the matrix, first one per learning task, in order.
        input_shape: of one sample as the model gets it.
        preprocess: from stored inputs to what the model gets.
        fingerprint: sha256 over data and order.
        decode: from tokens to text, where inputs are tokens and can be read.
        claim_at: accuracy on column 0 after task 0 without which nothing is concluded (`evaluation.claims`); None: no matter.
            In a stream with requests: share of joint training's accuracy on what will be forgotten.
        goal: of the requests; None: there are none.
        relearn_steps: steps of plain training on what was forgotten, after the last request, that tell how fast it comes back.
        chance: accuracy of a guess, from 0 to 1, where it is not one in as many as there are outputs or label words: of answers
            of several kinds, say, of which a question leaves one. `evaluation.claims.chance_level` reads it first. None: it is.
    """

    setting: Setting
    outputs: Outputs
    tasks: tuple[Task, ...]
    evaluation: tuple[EvaluationSet, ...]
    input_shape: tuple[int, ...]
    preprocess: Preprocess
    fingerprint: str = field(default="")
    decode: Callable[[list[int]], str] | None = field(default=None, compare=False)
    claim_at: float | None = None
    goal: Goal | None = None
    relearn_steps: int = 0
    chance: float | None = None

    def __len__(self) -> int:
        return len(self.tasks)

    @cached_property
    def requests(self) -> tuple[Task, ...]:
        """The unlearning requests, in order."""
        return tuple(task for task in self.tasks if task.kind == "forget")

    @cached_property
    def learned(self) -> tuple[Task, ...]:
        """The tasks to be learned, in order: all others."""
        return tuple(task for task in self.tasks if task.kind == "learn")

    @property
    def pad(self) -> int | None:
        """The token that rows of tokens are filled up with; None where inputs are no tokens."""
        return self.tasks[0].train.pool.pad

    @cached_property
    def vocabulary(self) -> int | None:
        """How many tokens there are, where answers are written; None where samples have labels."""
        return self.tasks[0].train.pool.vocabulary

    @cached_property
    def own_heads(self) -> bool:
        """Whether each task has a head of its own: in the task setting, unless answers are written, by one head for all."""
        return self.setting == "task" and self.vocabulary is None

    @cached_property
    def head_sizes(self) -> tuple[int, ...]:
        """Outputs of each head: one entry per task where tasks have heads of their own, else a single entry."""
        if self.vocabulary is not None:
            return (self.vocabulary,)
        sizes = tuple(len(task.classes) for task in self.tasks if task.kind == "learn")
        if self.setting == "task":
            return sizes
        return (sum(sizes),) if self.setting == "class" else (max(sizes),)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First output of each task when all heads lie side by side (task setting), else all 0."""
        if not self.own_heads:
            return (0,) * len(self.tasks)
        starts = [0]
        for size in self.head_sizes[:-1]:
            starts.append(starts[-1] + size)
        return tuple(starts)

    def active_outputs(self, task: int) -> int:
        """Outputs of the shared head in play while `task` is learned or after it (-1: none learned yet, all count)."""
        if self.setting == "class" and self.outputs == "seen" and task >= 0 and self.vocabulary is None:
            return self.classes_met[min(task, len(self.tasks) - 1)]
        return self.head_sizes[0]

    @cached_property
    def classes_met(self) -> tuple[int, ...]:
        """How many classes have been met by the end of each task, summed once: steps ask for it. Requests bring none."""
        return tuple(accumulate(len(task.classes) if task.kind == "learn" else 0 for task in self.tasks))

    def union(self, tasks: Sequence[Task]) -> Split:
        """Return the training data of several tasks (or of a client's shares of them) as one mixed split; labels as in each."""
        return Split.concatenate([task.train for task in tasks], len(self.tasks))

    @cached_property
    def label_table(self) -> Tensor:
        """Labels by task and class number of the pool, int64 `[T, K]`; -1 where a task lacks the class."""
        targets = self.tasks[0].train.pool.targets
        table = torch.full((len(self.tasks), int(targets.max()) + 1), -1, dtype=torch.int64, device=targets.device)
        for task in self.tasks:
            table[task.index, targets.index_select(0, task.train.rows)] = task.train.labels
        return table

    @cached_property
    def view_table(self) -> Tensor | None:
        """Views by task, int64 `[T, H*W]`, or None where no task has one."""
        views = [task.train.view for task in self.tasks]
        return None if views[0] is None else torch.stack([view for view in views if view is not None])

    def gather(self, rows: Tensor, tasks: Tensor) -> Split:
        """Return training samples named stream-wide, by pool row and task (int64 `[n]` each), as one mixed split."""
        pool = self.tasks[0].train.pool
        labels = self.label_table[tasks, pool.targets.index_select(0, rows)]
        return Split(pool, rows, labels, tasks, self.view_table)


def fingerprint(data_sha256: str, setting: str, tasks: tuple[Task, ...], evaluation: tuple[EvaluationSet, ...]) -> str:
    """Return the sha256 over the data's own digest and everything that says which sample comes when, as what.

    Two streams with the same fingerprint show the same samples with the same labels in the same tasks.
    """
    digest = hashlib.sha256(f"{data_sha256}|{setting}".encode())

    def add(split: Split | None) -> None:
        if split is None:
            digest.update(b"none")
            return
        for tensor in (split.rows, split.labels, split.view):
            digest.update(b"|" if tensor is None else tensor.to(torch.int64).cpu().contiguous().numpy().tobytes())

    for task in tasks:
        digest.update(f"|{task.kind}|{task.classes}".encode())
        add(task.train)
        add(task.valid)
    for column in evaluation:
        digest.update(f"|{column.name}|{column.role}|{column.metric}".encode())
        add(column.split)
    return digest.hexdigest()
