"""Tasks, streams and evaluation sets: made by a scenario, used by all other parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from clbench.data.hidden import HiddenSplit
from clbench.data.pool import Split
from clbench.data.preprocess import Preprocess

Setting = Literal["task", "domain", "class"]
Outputs = Literal["seen", "all"]
Role = Literal["task", "valid", "forget_train", "forget_test", "retain", "utility"]
Measured = Literal["test", "valid", "both"]
"""What is measured after each task: test splits, validation splits, or both."""
Goal = Literal["suppress", "retrain"]
"""Goal of unlearning requests: chance level on the forgotten data, or a model that never saw the data."""


@dataclass(frozen=True)
class Task:
    """One step of a stream.

    Args:
        index: position in the stream, 0-based.
        name: for people.
        classes: the data set's own class numbers, in the order of their outputs.
        train: the training data; for a request the data to forget.
        valid: held out from train for schedules and tuning, or None.
        kind: `learn`, or `forget` for an unlearning request.
        iterations: steps of this task; None: the trainer decides.
        clients: in a federated stream the positions in `train`, int64 `[n]`, of each client; every position has one owner.
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
    """A named set on which the model is measured after every event: one column of the matrix."""

    name: str
    split: Split
    role: Role = "task"
    metric: str = "accuracy"
    """`accuracy`; for written answers one of `clbench.engine.evaluation.text_metrics.METRICS`."""
    request: int | None = None
    """Index of the request that a set of the roles `forget_train` and `forget_test` belongs to."""


@dataclass(frozen=True)
class Stream:
    """A sequence of tasks in one setting.

    Labels. `task` and `domain`: the position of the class within its task. `class`: the position of the class in the
    stream, so that the classes met so far are a prefix of the outputs.

    Args:
        setting: `task` (a head per task, task known at test), `domain` (shared outputs), `class` (one head for all). For written
            answers there is one head, over the vocabulary. The setting then names the candidate label words of a sample: those of
            its task (`task`, `domain`), or of all classes (`class`).
        outputs: the outputs in loss and prediction. `seen`: in the class setting the classes seen so far, in the task setting the
            task's own head. `all`: all outputs from the start. In the task setting `all` concerns the loss only: the prediction
            knows the task and stays within its head.
        tasks: at least one.
        evaluation: the columns of the matrix, first one per learning task, in order.
        input_shape: of one sample at the model's input.
        preprocess: from stored inputs to the model's inputs.
        fingerprint: sha256 over data and order.
        decode: from tokens to text, where inputs are tokens.
        claim_at: accuracy on column 0 that the model must reach after task 0 for a conclusion (`evaluation.claims`). None: no
            condition. In a stream with requests: share of joint training's accuracy on the data that will be forgotten.
        goal: of the requests; None: there are no requests.
        relearn_steps: steps of plain training on the forgotten data, after the last request; they measure how fast it comes back.
        chance: accuracy of a guess, from 0 to 1. None: one divided by the number of outputs or label words. Differs, for example,
            where a question admits only one of several kinds of answers. `evaluation.claims.chance_level` reads this field first.
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
        """The tasks to learn, in order: all but the requests."""
        return tuple(task for task in self.tasks if task.kind == "learn")

    @property
    def pad(self) -> int | None:
        """The padding token of rows of tokens; None if inputs are no tokens."""
        return self.tasks[0].train.pool.pad

    @cached_property
    def vocabulary(self) -> int | None:
        """Size of the vocabulary for written answers; None if samples have labels."""
        return self.tasks[0].train.pool.vocabulary

    @cached_property
    def own_heads(self) -> bool:
        """Whether each task has its own head: in the task setting, except for written answers (one head for all)."""
        return self.setting == "task" and self.vocabulary is None

    @cached_property
    def head_sizes(self) -> tuple[int, ...]:
        """Outputs of each head: one entry per task if each task has its own head, else a single entry."""
        if self.vocabulary is not None:
            return (self.vocabulary,)
        sizes = tuple(len(task.classes) for task in self.tasks if task.kind == "learn")
        if self.setting == "task":
            return sizes
        return (sum(sizes),) if self.setting == "class" else (max(sizes),)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First output of each task in the concatenated heads (task setting), else all 0."""
        if not self.own_heads:
            return (0,) * len(self.tasks)
        starts = [0]
        for size in self.head_sizes[:-1]:
            starts.append(starts[-1] + size)
        return tuple(starts)

    def active_outputs(self, task: int) -> int:
        """Return the number of active outputs of the shared head during and after `task` (-1: before task 0, all are active)."""
        if self.setting == "class" and self.outputs == "seen" and task >= 0 and self.vocabulary is None:
            return self.classes_met[min(task, len(self.tasks) - 1)]
        return self.head_sizes[0]

    @cached_property
    def classes_met(self) -> tuple[int, ...]:
        """Number of classes seen by the end of each task. Requests add none. Cached, because every step reads it."""
        return tuple(accumulate(len(task.classes) if task.kind == "learn" else 0 for task in self.tasks))

    def for_learning(self) -> Stream:
        """Return the stream as learners and methods get it: the names and sizes of its evaluation sets, without their samples.

        A stand-in in the place of each set's samples raises `clbench.data.hidden.HiddenDataError` when anything else is read.
        """
        columns = (replace(each, split=HiddenSplit(each.name, len(each.split), each.split.tasks)) for each in self.evaluation)
        return replace(self, evaluation=tuple(columns))

    def union(self, tasks: Sequence[Task]) -> Split:
        """Return the training data of several tasks, or of one client's share, as one mixed split; labels are unchanged."""
        return Split.concatenate([task.train for task in tasks], len(self.tasks))

    @cached_property
    def label_table(self) -> Tensor:
        """Labels by task and class number of the pool, int64 `[T, K]`; -1 if a task lacks the class."""
        targets = self.tasks[0].train.pool.targets
        table = torch.full((len(self.tasks), int(targets.max()) + 1), -1, dtype=torch.int64, device=targets.device)
        for task in self.tasks:
            table[task.index, targets.index_select(0, task.train.rows)] = task.train.labels
        return table

    @cached_property
    def view_table(self) -> Tensor | None:
        """Views by task, int64 `[T, H*W]`, or None if no task has a view."""
        views = [task.train.view for task in self.tasks]
        return None if views[0] is None else torch.stack([view for view in views if view is not None])

    def gather(self, rows: Tensor, tasks: Tensor) -> Split:
        """Return the training samples of given pool rows and tasks (int64 `[n]` each) as one mixed split."""
        pool = self.tasks[0].train.pool
        labels = self.label_table[tasks, pool.targets.index_select(0, rows)]
        return Split(pool, rows, labels, tasks, self.view_table)


def fingerprint(data_sha256: str, setting: str, tasks: tuple[Task, ...], evaluation: tuple[EvaluationSet, ...]) -> str:
    """Return the sha256 over the digest of the data, and over the samples, labels and order of all tasks and evaluation sets.

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
