"""Probes after a request, beside accuracies: losses on the forgotten samples, and the speed of relearning."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.contract.protocols import ScoresForgetting, has_generation_context, reparametrizes, scores_forgetting
from clbench.data.answer_tokens import answer_ids, owners
from clbench.data.pool import Split
from clbench.data.prefetch import prefetch
from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.evaluation.claims import worth_forgetting
from clbench.engine.evaluation.joint_baseline import joint_row
from clbench.engine.learner.learner import Learner
from clbench.engine.schedules import Constant
from clbench.engine.training.data_access import unseen
from clbench.engine.training.loop import Trainer, Training
from clbench.method import Method
from clbench.metrics.unlearning import auc
from clbench.stream import EvaluationSet, Stream, Task

LOSSES = 200
"""Maximum number of losses per set in a record: records stay small, and areas under curves are exact to some hundredths."""
LARGEST = 1e6
"""Bound on losses: under ascent they are unbounded, and records need finite numbers."""


def losses(learner: Learner, method: Method, split: Split, batch_size: int) -> list[float]:
    """Return -log p(right answer) of at most `LOSSES` samples, evenly spaced in `split`; for text the mean over answer tokens."""
    learner.model.eval()
    n = min(len(split), LOSSES)
    places = torch.arange(n, device=split.rows.device) * len(split) // max(n, 1)
    parts, found = learner.chunks(places, batch_size), list[Tensor]()
    with torch.inference_mode(), learner.arithmetic:
        for positions, raw in zip(parts, prefetch(split, parts), strict=True):
            scores = method.predict(learner, learner.stream.preprocess(raw), None).float()
            if learner.stream.vocabulary is None:
                found.append(F.cross_entropy(scores, split.labels[positions], reduction="none"))
                continue
            each, owner = F.cross_entropy(scores, answer_ids(raw), reduction="none"), owners(raw)
            sums = each.new_zeros(2, len(raw)).index_add_(1, owner, torch.stack([each, torch.ones_like(each)]))
            found.append(sums[0] / sums[1])
    learner.evaluation_cache.clear()
    whole = torch.nan_to_num(torch.cat(found), nan=LARGEST).clamp(max=LARGEST)
    return [float(f"{value:.4g}") for value in whole.tolist()]


def probe(
    stream: Stream,
    learner: Learner,
    method: Method,
    trainer: Trainer,
    task: Task,
    row: Sequence[Sequence[Any]],
    batch_size: int,
) -> dict[str, Any]:
    """Return the record's diagnostics at the end of a task, in a stream with requests; the learner stays as it is.

    Args:
        stream: with its evaluation sets, which the learner's own stream lacks.
        learner: after the task or request.
        method: scores by its `predict`.
        trainer: of plain training, for joint training and relearning.
        task: the task or request.
        row: (correct, n) by column at its end.
        batch_size: samples per forward pass.

    Returns:
        Before the first request `conclusion`: see `worth_forgetting`. After a request its `losses`, after the last request those
        of all: index (`request`), losses of the request's samples (`members`), and of test samples with the same labels, which
        were never trained on (`others`). After the last request also `relearning` (see `relearn`) and, for methods with
        `forget_score`, `detection` (see `detection`).
    """
    if task.kind == "learn":
        if task.index + 1 != stream.requests[0].index:
            return {}
        joint = None if len(stream.tasks[: task.index + 1]) == 1 else joint_row(stream, learner, trainer, task, batch_size)
        return {"conclusion": worth_forgetting(stream, row, joint)}
    last = task is stream.requests[-1]
    report: dict[str, Any] = {
        "losses": [
            {
                "request": request.index,
                "members": losses(learner, method, request.train, batch_size),
                "others": losses(learner, method, unseen(stream, request), batch_size),
            }
            for request in (stream.requests if last else [task])
        ]
    }
    if last and scores_forgetting(method):
        report["detection"] = detection(stream, learner, method, batch_size)
    if last and stream.relearn_steps:
        report["relearning"] = relearn(stream, learner, method, trainer, batch_size)
    return report


def detection(stream: Stream, learner: Learner, method: ScoresForgetting, batch_size: int) -> list[dict[str, Any]]:
    """Return how well a method separates the forgotten from other inputs: by request, areas under the ROC curve, 0 to 1.

    Returns:
        `request`: its index; `retain`, `utility`: its test samples (or its own, without a test set) against retained samples, and
        against unrelated samples if there are any.
    """
    learner.model.eval()

    def seen(columns: Sequence[EvaluationSet]) -> Tensor:
        found = [torch.zeros(0, len(stream.requests))]
        for column in columns:
            places = learner.chunks(torch.arange(len(column.split), device=column.split.rows.device), batch_size)
            with torch.inference_mode(), learner.arithmetic:
                for _, raw in zip(places, prefetch(column.split, places), strict=True):
                    found.append(method.forget_score(learner, learner.stream.preprocess(raw)).float().cpu())
        return torch.cat(found)

    others = {role: seen([c for c in stream.evaluation if c.role == role]) for role in ("retain", "utility")}
    report: list[dict[str, Any]] = []
    for place, request in enumerate(stream.requests):
        own = (-seen([forgotten(stream.evaluation, request.index)])[:, place]).tolist()
        areas = {role: auc(own, (-rest[:, place]).tolist()) for role, rest in others.items() if len(rest)}
        report.append({"request": request.index, **{role: round(area, 4) for role, area in areas.items()}})
    return report


class _Plain(Method):
    """Plain training with the forward pass of another method."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def overrides(self, hook: str) -> bool:
        return hook in ("reparametrize", "predict", "generation_context") and self._method.overrides(hook)

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        assert reparametrizes(self._method)
        return self._method.reparametrize(learner, task_id)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        return self._method.predict(learner, inputs, task_id)

    def generation_context(self, learner: Learner, inputs: Tensor) -> AbstractContextManager[None]:
        assert has_generation_context(self._method)
        return self._method.generation_context(learner, inputs)


def relearn(stream: Stream, learner: Learner, method: Method, trainer: Trainer, batch_size: int) -> dict[str, list[Any]]:
    """Train plainly on all learned tasks, and measure how fast the forgotten returns; the learner is then as before.

    On all tasks, because after a step on one class alone, any model predicts that class.

    Returns:
        `steps`: 0, 1, 2, 4, ... up to the stream's `relearn_steps`. `accuracy`: at each step, of each request, on its test set
        or, without one, on its own samples.
    """
    optimizer = learner.optimizer
    columns = tuple(forgotten(stream.evaluation, request.index) for request in stream.requests)
    weights = {name: value.clone() for name, value in learner.model.state_dict().items()}
    moments = copy.deepcopy(optimizer.state())
    last = stream.relearn_steps
    plain = _Plain(method)
    found: dict[str, list[Any]] = {"steps": [], "accuracy": []}

    def measure(step: int) -> None:
        if step == last or step & (step - 1) == 0:
            found["steps"].append(step)
            found["accuracy"].append([hits / n for hits, n in evaluate(learner, plain, columns, batch_size)])

    with learner.acting(learner.plan, learner.rng_scope), learner.restoring_rates():
        training = Training(learner, plain, replace(trainer, iterations=last, later_lr=None, schedule=Constant()))
        measure(0)
        optimizer.reset()
        learner.rebuild()
        training.start(stream.requests[-1], on_step=measure)
        training.fit(stream.union(list(stream.learned)))
        learner.model.load_state_dict(weights)
        learner.rebuild()
        optimizer.load_state(moments)
    return found


def forgotten(columns: tuple[EvaluationSet, ...], request: int) -> EvaluationSet:
    """Return the evaluation set that shows whether a request is forgotten: its test set or, without one, its own samples."""
    own = [each for each in columns if each.request == request and each.metric != "format"]
    return next((each for each in own if each.role == "forget_test"), own[0])
