"""Checks of a stream before training: every fault of tasks, labels, samples and evaluation sets that is cheap to find.

Every run makes these checks, and so does `clbench.testing.check_scenario`. Each distinct tensor is read once: minimum and maximum
of indices and labels, and of inputs held in memory. Not checked are inputs mapped from files (their values are read when they are
used), and copies of training samples in another pool of test samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clbench.data.pool import Pool, Split
from clbench.errors import DataError
from clbench.scenarios.request_checks import check_requests
from clbench.stream import EvaluationSet, Stream, Task

CORRECT = "correct the scenario or its data set"


def check_stream(stream: Stream, name: str = "the scenario") -> None:
    """Check a stream.

    Args:
        stream: from its scenario.
        name: of the scenario, for messages.

    Raises:
        DataError: the first fault, with its place, its value and a remedy.
    """
    try:
        _check_order(stream)
        bounds = Bounds()
        for place, split, allowed in _places(stream):
            _check_split(stream, place, split, bounds)
            _check_labels(stream, place, split, allowed, bounds)
        for task in stream.tasks:
            _check_task(stream, task)
        _check_samples(stream)
        _check_apart(stream)
        check_requests(stream)
    except DataError as error:
        raise DataError(f"{name}: {error.what}", error.remedy) from None


@dataclass
class Bounds:
    """Minimum and maximum of tensors, each computed once: tasks of one data set share pools, and often rows and labels."""

    known: dict[int, tuple[Tensor, float, float]] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> tuple[float, float]:
        """Return (minimum, maximum); NaN in both if one entry is NaN."""
        if id(tensor) not in self.known:
            low, high = tensor.aminmax()
            self.known[id(tensor)] = (tensor, low.item(), high.item())  # the tensor stays alive: its id stays its own
        return self.known[id(tensor)][1:]


def _check_order(stream: Stream) -> None:
    """Check numbers, names and classes of tasks and evaluation sets."""
    if not stream.tasks or not stream.learned:
        raise DataError("the stream has no task to learn", "give it at least one task")
    if not stream.fingerprint:
        raise DataError("the stream has no fingerprint", "compute it by clbench.stream.fingerprint")
    found = [task.index for task in stream.tasks]
    if found != list(range(len(stream))):
        raise DataError(f"task.index is {found} in the order of the stream", "number the tasks 0, 1, 2, ... in their order")
    main = "task" if any(column.role == "task" for column in stream.evaluation) else "valid"  # eval.split=valid
    columns = [column for column in stream.evaluation if column.role == main]
    if list(stream.evaluation[: len(stream.learned)]) != columns or len(columns) != len(stream.learned):
        raise DataError(
            f"the stream has {len(columns)} evaluation sets of role task for {len(stream.learned)} tasks to learn, "
            f"and {len(stream.evaluation)} sets in all",
            "give every task to learn one evaluation set of role task, in the order of the tasks, before all other sets",
        )
    twice = [name for name, count in Counter(column.name for column in stream.evaluation).items() if count > 1]
    if twice:
        raise DataError(f"two evaluation sets have the name {twice[0]!r}", "give every set a name of its own")
    for task in stream.learned:
        if not task.classes or len(set(task.classes)) < len(task.classes):
            raise DataError(f"{_title(task)} has the classes {list(task.classes)}", "list every class of the task once")


def _places(stream: Stream) -> Iterator[tuple[str, Split, tuple[int, int]]]:
    """Yield every split with its place in words, and the labels that it may have: from the first to before the second."""
    spans = {task.index: _span(stream, task) for task in stream.tasks}
    for task in stream.tasks:
        yield f"{_title(task)}, train", task.train, spans[task.index]
        if task.valid is not None:
            yield f"{_title(task)}, valid", task.valid, spans[task.index]
    for task, column in zip(stream.learned, stream.evaluation):
        yield _where(column), column.split, spans[task.index]
    for column in stream.evaluation[len(stream.learned) :]:
        yield _where(column), column.split, (0, max(stream.head_sizes))


def _span(stream: Stream, task: Task) -> tuple[int, int]:
    """Return the labels of a task: those of its classes, for a request those of all tasks learned before."""
    if stream.vocabulary is not None:
        return 0, max(sum(len(each.classes) for each in stream.learned), int(stream.tasks[0].train.pool.targets.max()) + 1)
    if stream.setting != "class":
        return 0, len(task.classes) if task.kind == "learn" else stream.head_sizes[0]
    return (stream.classes_met[task.index] - len(task.classes) if task.kind == "learn" else 0), stream.classes_met[task.index]


def _check_split(stream: Stream, place: str, split: Split, bounds: Bounds) -> None:
    """Check samples: there are some, their rows exist, and shapes, types and values are those of the stream."""
    pool, first = split.pool, stream.tasks[0].train.pool
    for key, value in (("rows", split.rows), ("labels", split.labels)):
        if value.dtype != torch.int64 or value.dim() != 1:
            raise DataError(f"{place}: {key} are {_layout(value)}", f"{key} are int64 of shape [n]")
    if not len(split.rows):
        raise DataError(
            f"{place} has no samples", "check the data set's n_classes and the labels in its files, or use fewer tasks"
        )
    if len(split.rows) != len(split.labels):
        raise DataError(f"{place} has {len(split.rows)} rows and {len(split.labels)} labels", "give one label per row")
    if pool.targets.dtype != torch.int64 or pool.targets.shape != pool.inputs.shape[:1]:
        raise DataError(
            f"{place}: the pool has inputs {_layout(pool.inputs)} and targets {_layout(pool.targets)}",
            "give one int64 target per input",
        )
    low, high = bounds.of(split.rows)
    if low < 0 or high >= len(pool):
        raise DataError(f"{place}: rows go from {low} to {high} in a pool of {len(pool)} samples", CORRECT)
    if isinstance(split.tasks, Tensor) or not 0 <= split.tasks < len(stream):
        raise DataError(f"{place}: tasks is {split.tasks!r}", f"give the number of one task, 0 to {len(stream) - 1}")
    shape, wanted = pool.inputs.shape[1:], torch.Size(stream.input_shape)
    same = shape == wanted or (pool.pad is not None and len(shape) == len(wanted) == 1)
    if not same or pool.inputs.dtype != first.inputs.dtype:
        raise DataError(
            f"{place} has samples {_layout(pool.inputs[0])}, and the stream has {_layout(first.inputs[0])} "
            f"with input_shape {list(wanted)}",
            "bring all samples to one shape and type",
        )
    if (pool.pad, pool.vocabulary) != (first.pad, first.vocabulary):
        raise DataError(
            f"{place}: pad={pool.pad} and vocabulary={pool.vocabulary}, and task 0 has {first.pad} and {first.vocabulary}",
            "use one tokenizer for all samples",
        )
    _check_view(place, split, bounds)
    _check_values(place, split, bounds)


def _check_view(place: str, split: Split, bounds: Bounds) -> None:
    if split.view is None:
        return
    shape = split.pool.inputs.shape[1:]
    pixels = shape[-2:].numel() if len(shape) > 1 else shape.numel()
    low, high = bounds.of(split.view)
    if split.view.dtype != torch.int64 or split.view.shape != (pixels,) or low < -1 or high >= pixels:
        raise DataError(
            f"{place}: view is {_layout(split.view)} with values from {low} to {high}",
            f"a view is int64 [{pixels}], with pixels from 0 to {pixels - 1}, or -1 for zero",
        )


def _check_values(place: str, split: Split, bounds: Bounds) -> None:
    """Check the values of inputs that are held in memory, and the label words of answers."""
    pool = split.pool
    if pool.mapped:
        return
    if pool.inputs.is_floating_point():
        low, high = bounds.of(pool.inputs)
        if not float("-inf") < low <= high < float("inf") and not bool(pool.inputs[split.rows].isfinite().all()):
            raise DataError(f"{place} has inputs that are NaN or infinite", "replace these values, or leave the samples out")
    elif pool.inputs.dtype == torch.int64:
        low, high = bounds.of(pool.inputs)
        if pool.pad is None:
            raise DataError(f"{place} has inputs {_layout(pool.inputs)} and no pad", "name the padding token of the tokens (pad)")
        most = pool.vocabulary
        if low < (0 if most is None else -most) or (most is not None and high >= most):
            raise DataError(
                f"{place} has tokens from {low:g} to {high:g}" + ("" if most is None else f" for a vocabulary of {most}"),
                "encode texts and answers with the tokenizer of the stream",
            )
        if most is not None:
            _check_answers(place, split, bounds)
    elif pool.inputs.dtype != torch.uint8:
        raise DataError(
            f"{place} has inputs {_layout(pool.inputs)}", "store images as uint8, features as floats, tokens as int64"
        )


def _check_answers(place: str, split: Split, bounds: Bounds) -> None:
    """Check that every row has an answer, and that its label word exists."""
    pool = split.pool
    empty = ~(pool.inputs < 0).any(1)[split.rows]
    if bool(empty.any()):
        raise DataError(
            f"{place}: sample {int(empty.nonzero()[0])} has no answer", "encode samples by clbench.data.answer_tokens.encode"
        )
    if pool.answers is not None:
        low, high = bounds.of(pool.right_answers)
        if low < 0 or high >= len(pool.answers):
            raise DataError(f"{place}: answers go from {low} to {high}, and {len(pool.answers)} are known", CORRECT)


def _check_labels(stream: Stream, place: str, split: Split, allowed: tuple[int, int], bounds: Bounds) -> None:
    """Check that labels are within the outputs of the split's task."""
    low, high = bounds.of(split.labels)
    first, end = allowed
    if low >= first and high < end:
        return
    wrong = low if low < first else high
    position = int((split.labels == int(wrong)).nonzero()[0])
    head = "" if stream.setting == "class" else f"; setting {stream.setting}: labels count from 0 within a task"
    raise DataError(
        f"{place} has the label {wrong} (sample {position}), and its outputs have the labels {first} to {end - 1}{head}",
        "correct the labels, or the task's classes: a label is the position of its class (clbench.stream.Stream)",
    )


def _check_task(stream: Stream, task: Task) -> None:
    """Check that a task's samples lie in the stream's one pool and name the task."""
    pool = stream.tasks[0].train.pool
    splits = [task.train] if task.valid is None else [task.train, task.valid]
    if any(split.pool is not pool for split in splits):
        raise DataError(f"{_title(task)} has its training samples in another pool than task 0", "put all of them in one pool")
    if any(split.tasks != task.index for split in splits):
        raise DataError(f"{_title(task)}: its samples name task {task.train.tasks}", f"give Split(tasks={task.index})")
    if task.iterations is not None and task.iterations < 1:
        raise DataError(f"{_title(task)} has iterations={task.iterations}", "give at least 1, or None")


def _check_samples(stream: Stream) -> None:
    """Check in each task that validation samples are not trained on, and that every class has one label."""
    known: set[tuple[int, ...]] = set()
    for task in stream.tasks:
        splits = [task.train] if task.valid is None else [task.train, task.valid]
        key = tuple(id(tensor) for split in splits for tensor in (split.rows, split.labels))
        if key not in known:  # permuted tasks without validation share their rows and labels
            known.add(key)
            _check_held_out(task)
            _check_classes(task, splits)


def _check_held_out(task: Task) -> None:
    if task.valid is None:
        return
    held = torch.zeros(len(task.train.pool), dtype=torch.bool, device=task.train.rows.device)
    held[task.valid.rows] = True
    both = held[task.train.rows]
    if bool(both.any()):
        row = int(task.train.rows[both][0])
        raise DataError(f"{_title(task)}: row {row} is in train and in valid", "leave it out of one of them")


def _check_classes(task: Task, splits: list[Split]) -> None:
    """Check that samples of one class have one label: `Stream.label_table` gives replayed samples the label of their class."""
    pool = task.train.pool
    rows, labels = (splits[0].rows, splits[0].labels) if len(splits) == 1 else _joined(splits)
    targets = pool.targets[rows]
    table = torch.full((int(targets.max()) + 1,), -1, dtype=torch.int64, device=targets.device)
    table[targets] = labels
    if not torch.equal(table[targets], labels):
        row = int(rows[table[targets] != labels][0])
        raise DataError(
            f"{_title(task)}: samples of class {int(pool.targets[row])} have different labels, such as row {row}",
            "replay finds a label by the class: give one label per class, and store changed labels in pool.targets",
        )


def _joined(splits: list[Split]) -> tuple[Tensor, Tensor]:
    return torch.cat([split.rows for split in splits]), torch.cat([split.labels for split in splits])


def _check_apart(stream: Stream) -> None:
    """Check that no test sample is a training sample of the same pool; a request's own samples are measured on purpose."""
    pool = stream.tasks[0].train.pool
    learned = torch.zeros(len(pool), dtype=torch.bool, device=pool.targets.device)
    for rows in {id(task.train.rows): task.train.rows for task in stream.tasks}.values():
        learned[rows] = True
    for column in stream.evaluation:
        if column.role == "forget_train" or not _one_pool(pool, column.split.pool):
            continue
        both = learned[column.split.rows]
        if bool(both.any()):
            row = int(column.split.rows[both][0])
            raise DataError(f"{_where(column)}: test samples are trained on, such as row {row}", "leave them out of train")


def _one_pool(one: Pool, other: Pool) -> bool:
    return one is other or (one.inputs.data_ptr() == other.inputs.data_ptr() and len(one) == len(other))


def _title(task: Task) -> str:
    return f"task {task.index} ({task.name})"


def _where(column: EvaluationSet) -> str:
    return f"evaluation set {column.name!r}"


def _layout(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
