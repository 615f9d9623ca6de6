"""Biography: questions about synthetic people, group after group, and whether what seems forgotten comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clbench.data.biography.people import Biography, draw
from clbench.data.biography.person_texts import questions
from clbench.data.biography.vocabulary import PAD, Vocabulary
from clbench.data.biography.words import ATTRIBUTES
from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.stream_builder import Options, carve, is_integer, is_number
from clbench.stream import EvaluationSet, Outputs, Setting, Stream, Task, fingerprint

RECOVERY = "recovery"
"""Name of the last task of a stream that asks whether knowledge came back."""
METRICS = ("exact_match", "first_token")
"""What counts as a right answer: all of it, as greedy decoding writes it, or its first token, as in the source's curves."""


def biography(
    *,
    dataset: Biography,
    form: str,
    setting: Setting,
    n_tasks: int | None,
    recovery: bool,
    recovery_iterations: int,
    claim_at: float,
    metric: str,
    outputs: Outputs,
    valid_fraction: float,
    online: bool,
    seed: int,
    data_sha256: str,
    search: Sequence[Path],
    download: bool,
    device: torch.device,
) -> Stream:
    """Return the stream of questions about one group of people after another (Zheng et al., ICLR 2025).

    Of a familiar group, one whose biographies the model was pre-trained on, the questions about the first half are
    learned, and those about the other half are tested: the facts were read, never asked for, so accuracy needs both
    the knowledge and the task. Of an unfamiliar group all questions are learned and the same ones tested:
    memorisation. Task 0 is always familiar. The recovery learns questions about the first half of group 0 once more;
    column 0 then tells whether the facts about the other half, asked for in no training, were still there. Its own
    column measures the first half, which it trains on.

    Args:
        dataset: the people, by group; which groups are familiar.
        form: of the model: `answers`.
        setting: `domain`: nothing tells the tasks apart.
        n_tasks: how many of the groups, from the first; None: all.
        recovery: whether the recovery follows the last task.
        recovery_iterations: its steps.
        claim_at: accuracy on column 0 after task 0, below which the record concludes nothing.
        metric: of every column: `exact_match` or `first_token`. A last column, no task's, has the first token of column 0.
        outputs: no matter here: the outputs are the vocabulary.
        valid_fraction: of the questions that a familiar task learns, held out; unfamiliar facts cannot be guessed, so
            that for their tasks there is no validation.
        online: for the trainer; the stream is the same.
        seed: the trial's.
        data_sha256: digest of the generator's settings.
        search: not needed: nothing is read.
        download: not needed.
        device: where the pools are to live.

    Raises:
        ConfigError: a value that cannot be used, or a model of another form.
        RefusedError: another setting.
    """
    wanted = len(dataset.people) if n_tasks is None else n_tasks
    options = Options(setting, outputs, wanted, None, valid_fraction, seed, data_sha256)
    _check(dataset, form, setting, wanted, recovery_iterations, claim_at, metric)
    vocabulary, people = Vocabulary(dataset), draw(dataset)
    rows, kinds = questions(dataset, vocabulary, people)
    learned, tested = (Pool(rows.clone().to(device), kinds.to(device), pad=PAD, vocabulary=len(vocabulary)) for _ in range(2))
    classes = tuple(range(len(ATTRIBUTES)))
    tasks: list[Task] = []
    columns: list[EvaluationSet] = []
    for index in range(wanted):
        group = dataset.range_of(index)
        first, other = halves(group) if index < dataset.familiar else (group, group)
        name = f"group {index}" + (", held-out half" if index < dataset.familiar else ", memorised")
        train, valid = asked(learned, first, index), None
        if index < dataset.familiar:
            train, valid = carve(train, valid_fraction, seed, name)
        tasks.append(Task(index, f"group {index}", classes, train, valid))
        columns.append(EvaluationSet(f"task {index}: {name}", asked(tested, other, index), metric=metric))
    if recovery:
        first, _ = halves(dataset.range_of(0))
        tasks.append(Task(wanted, RECOVERY, classes, asked(learned, first, wanted), None, iterations=recovery_iterations))
        columns.append(EvaluationSet(f"task {wanted}: group 0, trained half", asked(tested, first, wanted), metric=metric))
    columns.append(replace(columns[0], name="first token of task 0", role="utility", metric="first_token"))
    digest = fingerprint(options.data_sha256, setting, tuple(tasks), tuple(columns))
    digest = hashlib.sha256(f"{digest}|{recovery_iterations if recovery else None}".encode()).hexdigest()
    shape = tuple(rows.shape[1:])
    return Stream(
        setting,
        outputs,
        tuple(tasks),
        tuple(columns),
        shape,
        Preprocess((), (), 0, False),
        digest,
        claim_at=float(claim_at),
        decode=vocabulary.decode,
    )


def halves(group: range) -> tuple[range, range]:
    """Return the people of a familiar group whose questions are learned, and those whose questions are tested."""
    middle = group.start + len(group) // 2
    return range(group.start, middle), range(middle, group.stop)


def asked(pool: Pool, people: range, task: int) -> Split:
    """Return the questions about some people; the label is the attribute that a question is about."""
    n = len(ATTRIBUTES)
    rows = torch.arange(people.start * n, people.stop * n, device=pool.targets.device)
    return Split(pool, rows, pool.targets[rows], task)


def people_of(split: Split) -> Tensor:
    """Return the numbers of the people that a split asks about, int64, each once, in order."""
    found: Tensor = torch.unique(split.rows // len(ATTRIBUTES))
    return found


def _check(dataset: Biography, form: str, setting: str, wanted: int, iterations: int, claim_at: float, metric: str) -> None:
    if not isinstance(dataset, Biography):
        raise ConfigError("scenario.dataset is no description of biographies", "keep the data set of scenario=biography_tiny")
    if form != "answers":
        raise ConfigError(
            f"these questions are answered in words, and model.form={form}", "choose model=biography_tiny, pre-trained on them"
        )
    if setting != "domain":
        raise RefusedError(
            f"scenario.setting={setting}: all questions are answered by one language model, which is not told the task",
            "leave scenario.setting=domain",
        )
    if wanted > len(dataset.people):
        raise ConfigError(
            f"scenario.n_tasks={wanted} is more than the {len(dataset.people)} groups of scenario.dataset.people",
            "give fewer, or more groups",
        )
    if any(size < 2 for size in dataset.people):
        raise ConfigError(f"scenario.dataset.people={list(dataset.people)}: a group is too small to halve", "give at least 2")
    if not is_integer(iterations) or iterations < 1:
        raise ConfigError(f"scenario.recovery_iterations={iterations!r} cannot be used", "give a number of steps, at least 1")
    if metric not in METRICS:
        raise ConfigError(f"scenario.metric={metric!r} cannot be used", f"one of: {', '.join(METRICS)}")
    if not is_number(claim_at) or not 0 <= claim_at <= 1:
        raise ConfigError(f"scenario.claim_at={claim_at!r} is not an accuracy", "give a number from 0 to 1")
