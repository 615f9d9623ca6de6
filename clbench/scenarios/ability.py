"""What is measured beside the tasks of a stream of answers: general ability, and whether answers keep their form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clbench.data.pool import Split
from clbench.errors import ConfigError, RefusedError
from clbench.instantiate import instantiate
from clbench.stream import EvaluationSet, Stream


def beside(stream: Stream, evaluation: Mapping[str, Any], search: Sequence[Path], download: bool) -> Stream:
    """Return `stream` with further evaluation sets, of the role `utility`, behind those of its tasks; none is trained on.

    Args:
        stream: on the CPU.
        evaluation: the node `eval`. `ability`: name -> data set in the form of answers, whose test part is measured by its own
            `metric` (a text to be read on: `loss`). `format`: whether each task's share of answers that are one of its label
            words, right or wrong, is measured.
        search: folders to look for data in.
        download: whether missing data may be fetched.

    Raises:
        ConfigError: a data set that is not in the form of answers, or of another vocabulary.
        RefusedError: samples have labels, so that nothing is written.
    """
    ability, form = evaluation.get("ability") or {}, bool(evaluation.get("format"))
    if not ability and not form:
        return stream
    if stream.vocabulary is None:
        raise RefusedError(
            "eval.ability and eval.format look at what a model writes, and this one chooses among classes",
            "choose a model that writes, such as model=smollm2, or leave both keys out",
        )
    columns = list(stream.evaluation)
    if form:
        tasks = [column for column in columns if column.role == "task" and column.split.pool.answers is not None]
        columns += [replace(each, name=f"format of {each.name}", role="utility", metric="format") for each in tasks]
    columns += [_measured(name, node, stream, search, download) for name, node in ability.items()]
    return replace(stream, evaluation=tuple(columns))


def _measured(name: str, node: Mapping[str, Any], stream: Stream, search: Sequence[Path], download: bool) -> EvaluationSet:
    source = instantiate(node, f"eval.ability.{name}")
    pool = source.load(search, download).test
    if pool.vocabulary != stream.vocabulary or pool.pad != stream.pad:
        raise ConfigError(
            f"eval.ability.{name} has a vocabulary of {pool.vocabulary} tokens, and the stream one of {stream.vocabulary}",
            "both take form and tokenizer from the model: leave the two keys as they are",
        )
    metric = getattr(source, "metric", None) or "exact_match"
    rows = torch.arange(len(pool))
    return EvaluationSet(name, Split(pool, rows, pool.targets, 0), "utility", metric)
