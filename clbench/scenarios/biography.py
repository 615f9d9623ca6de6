"""Biography: questions about synthetic people, group after group, and whether forgotten knowledge comes back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from clbench.data.biography.people import Biography, draw
from clbench.data.biography.person_texts import questions
from clbench.data.biography.vocabulary import PAD, Vocabulary
from clbench.data.biography.words import ATTRIBUTES
from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.errors import ConfigError, RefusedError
from clbench.scenarios.scenario_options import Accuracy, Count, DataAccess, ScenarioOptions
from clbench.scenarios.stream_builder import split_validation
from clbench.stream import EvaluationSet, Stream, Task, fingerprint

RECOVERY = "recovery"
"""Name of the last task of a stream that measures whether knowledge comes back."""


@dataclass(frozen=True, kw_only=True)
class BiographyOptions(ScenarioOptions):
    """Options of `biography`; the shared ones are those of `ScenarioOptions`.

    The setting is `domain`: the model is not told the task. `outputs` has no effect: the outputs are the vocabulary.
    `valid_fraction` applies to familiar tasks only: unfamiliar facts cannot be guessed.

    Args:
        dataset: the people, by group, and the number of familiar groups.
        form: of the model: `answers`.
        n_tasks: number of groups to use, from the first; None: all.
        recovery: whether the recovery follows the last task.
        recovery_iterations: its steps.
        claim_at: accuracy on column 0 after task 0 below which the record draws no conclusion.
        metric: of every column. `exact_match`: the whole answer, by greedy decoding. `first_token`: its first token, as in the
            source's curves. A last column, which belongs to no task, has the first token of column 0.
    """

    dataset: Biography
    form: str
    n_tasks: Count | None
    recovery: bool
    recovery_iterations: Count
    claim_at: Accuracy
    metric: Literal["exact_match", "first_token"]


def biography(options: BiographyOptions, access: DataAccess) -> Stream:
    """Return the stream of questions about one group of people after another (Zheng et al., ICLR 2025).

    The model was pre-trained on the biographies of familiar groups. Of a familiar group, the questions about the first half are
    learned and those about the other half are tested. The model has read the facts of the other half, and no training asks for
    them, so accuracy needs both the knowledge and the task. Of an unfamiliar group all questions are learned and the same
    questions tested: memorisation. Task 0 is always familiar. The recovery learns the questions about the first half of group 0
    once more. Column 0 then shows whether the facts about the other half are still known. The recovery's own column measures the
    first half, its training data.

    Args:
        options: of the scenario.
        access: its seed, digest and device; no file is read.

    Raises:
        ConfigError: an unusable value, or a model of another form.
        RefusedError: another setting.
    """
    dataset, metric = options.dataset, options.metric
    _check(options)
    n_tasks = len(dataset.people) if options.n_tasks is None else options.n_tasks
    vocabulary, people = Vocabulary(dataset), draw(dataset)
    rows, kinds = questions(dataset, vocabulary, people)
    learned, tested = (
        Pool(rows.clone().to(access.device), kinds.to(access.device), pad=PAD, vocabulary=len(vocabulary)) for _ in range(2)
    )
    classes = tuple(range(len(ATTRIBUTES)))
    tasks: list[Task] = []
    columns: list[EvaluationSet] = []
    for index in range(n_tasks):
        group = dataset.range_of(index)
        first, other = halves(group) if index < dataset.familiar else (group, group)
        name = f"group {index}" + (", held-out half" if index < dataset.familiar else ", memorised")
        train, valid = asked(learned, first, index), None
        if index < dataset.familiar:
            train, valid = split_validation(train, options.valid_fraction, access.seed, name, index)
        tasks.append(Task(index, f"group {index}", classes, train, valid))
        columns.append(EvaluationSet(f"task {index}: {name}", asked(tested, other, index), metric=metric))
    iterations = options.recovery_iterations if options.recovery else None
    if options.recovery:
        first, _ = halves(dataset.range_of(0))
        tasks.append(Task(n_tasks, RECOVERY, classes, asked(learned, first, n_tasks), None, iterations=iterations))
        columns.append(EvaluationSet(f"task {n_tasks}: group 0, trained half", asked(tested, first, n_tasks), metric=metric))
    columns.append(replace(columns[0], name="first token of task 0", role="utility", metric="first_token"))
    digest = fingerprint(access.data_sha256, options.setting, tuple(tasks), tuple(columns))
    return Stream(
        options.setting,
        options.outputs,
        tuple(tasks),
        tuple(columns),
        tuple(rows.shape[1:]),
        Preprocess((), (), 0, False),
        hashlib.sha256(f"{digest}|{iterations}".encode()).hexdigest(),
        claim_at=float(options.claim_at),
        decode=vocabulary.decode,
    )


def halves(group: range) -> tuple[range, range]:
    """Return (people whose questions are learned, people whose questions are tested) of a familiar group."""
    middle = group.start + len(group) // 2
    return range(group.start, middle), range(middle, group.stop)


def asked(pool: Pool, people: range, task: int) -> Split:
    """Return the questions about `people`; the label of a question is its attribute."""
    n = len(ATTRIBUTES)
    rows = torch.arange(people.start * n, people.stop * n, device=pool.targets.device)
    return Split(pool, rows, pool.targets[rows], task)


def people_of(split: Split) -> Tensor:
    """Return the numbers of the people in the questions of a split, int64, each once, in order."""
    found: Tensor = torch.unique(split.rows // len(ATTRIBUTES))
    return found


def _check(options: BiographyOptions) -> None:
    dataset = options.dataset
    if not isinstance(dataset, Biography):
        raise ConfigError("scenario.dataset is no description of biographies", "keep the data set of scenario=biography_tiny")
    if options.form != "answers":
        raise ConfigError(
            f"the model must write answers to these questions, and model.form={options.form}",
            "choose model=biography_tiny, pre-trained on these people",
        )
    if options.setting != "domain":
        raise RefusedError(
            f"scenario.setting={options.setting}: one language model answers all questions and is not told the task",
            "leave scenario.setting=domain",
        )
    if options.n_tasks is not None and options.n_tasks > len(dataset.people):
        raise ConfigError(
            f"scenario.n_tasks={options.n_tasks} is more than the {len(dataset.people)} groups of scenario.dataset.people",
            "give fewer tasks, or more groups",
        )
    if any(size < 2 for size in dataset.people):
        raise ConfigError(f"scenario.dataset.people={list(dataset.people)}: a group is too small to halve", "give at least 2")
