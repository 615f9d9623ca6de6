"""Evaluation sets beyond the tasks of a stream of written answers: general ability, and the form of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from clbench.data.pool import Split
from clbench.errors import ConfigError, RefusedError
from clbench.instantiate import instantiate
from clbench.scenarios.scenario_options import DataAccess
from clbench.stream import EvaluationSet, Stream


def add_ability_sets(stream: Stream, evaluation: Mapping[str, Any], access: DataAccess) -> Stream:
    """Return `stream` with further evaluation sets, of the role `utility`, after those of its tasks. None is trained on.

    Args:
        stream: on the CPU.
        evaluation: the node `eval`. `ability`: name -> data set in the form of answers; its test part is measured by its own
            `metric` (running text: `loss`). `format`: whether to measure, for each task, the share of answers that are one of its
            label words, right or wrong.
        access: to the data.

    Raises:
        ConfigError: a data set that is not in the form of answers, or has another vocabulary.
        RefusedError: samples have labels, so no answer is written.
    """
    ability, form = evaluation.get("ability") or {}, bool(evaluation.get("format"))
    if not ability and not form:
        return stream
    if stream.vocabulary is None:
        raise RefusedError(
            "eval.ability and eval.format measure written answers, and this model chooses among classes",
            "choose a model that writes, such as model=smollm2, or leave both keys out",
        )
    columns = list(stream.evaluation)
    if form:
        tasks = [column for column in columns if column.role in ("task", "valid") and column.split.pool.answers is not None]
        columns += [replace(each, name=f"format of {each.name}", role="utility", metric="format") for each in tasks]
    columns += [_ability_set(name, node, stream, access) for name, node in ability.items()]
    return replace(stream, evaluation=tuple(columns))


def _ability_set(name: str, node: Mapping[str, Any], stream: Stream, access: DataAccess) -> EvaluationSet:
    source = instantiate(node, f"eval.ability.{name}")
    pool = source.load(access.search, access.download).test
    if pool.vocabulary != stream.vocabulary or pool.pad != stream.pad:
        raise ConfigError(
            f"eval.ability.{name} has a vocabulary of {pool.vocabulary} tokens, and the stream one of {stream.vocabulary}",
            "both take form and tokenizer from the model: leave the two keys as they are",
        )
    metric = getattr(source, "metric", None) or "exact_match"
    rows = torch.arange(len(pool))
    return EvaluationSet(name, Split(pool, rows, pool.targets, 0), "utility", metric)
