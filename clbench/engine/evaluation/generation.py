"""Greedy decoding, and its similarity to the right answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clbench.data import answer_tokens
from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError, RefusedError


def rouge_l(learner: Learner, rows: Tensor, task_id: int | None) -> Tensor:
    """Return ROUGE-L F1 `[B]` of greedy decoding against the answers of `rows` `[B, L]`.

    Raises:
        ConfigError: the package `rouge-score` is not installed.
        RefusedError: the data has no tokenizer that decodes, or a method replaces parameters.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ConfigError(f"the metric rouge_l needs rouge-score: {error}", "pip install 'clbench[llm]'") from error
    decode = learner.stream.decode
    if decode is None:
        raise RefusedError("the metric rouge_l needs text, and this stream's tokens have none", "scenario.metric=exact_match")
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    texts = [decode(row) for row in generated(learner, rows, task_id)]
    wanted = [decode(part.tolist()) for part in torch.split(answer_tokens.answer_ids(rows), answer_tokens.counts(rows).tolist())]
    scores = [scorer.score(right, text)["rougeL"].fmeasure for right, text in zip(wanted, texts, strict=True)]
    return torch.tensor(scores, dtype=torch.float64)


def generated(learner: Learner, rows: Tensor, task_id: int | None) -> list[list[int]]:
    """Return the tokens that greedy decoding generates after each prompt of `rows` `[B, L]`, without the end of the sequence.

    At most as many as the longest answer of `rows`. Prompts are padded on the left for decoder-only models.
    """
    if learner.reparametrize is not None and learner.reparametrize(task_id):
        raise RefusedError("the metric rouge_l generates text, but the method replaces parameters", "choose another metric")
    writer: Any = learner.model.backbone
    ends = rows[rows < 0][answer_tokens.counts(rows).cumsum(0) - 1]
    end, longest = int(~ends[0]), int(answer_tokens.counts(rows).max())
    prompts = answer_tokens.prompt(rows, writer.pad)
    lengths = (rows < 0).int().argmax(1).tolist()
    width = max(lengths)
    inputs = torch.full((len(rows), width), writer.pad, dtype=torch.int64, device=rows.device)
    mask = torch.zeros_like(inputs)
    for row, length in enumerate(lengths):
        where = slice(0, length) if writer.two else slice(width - length, width)
        inputs[row, where] = prompts[row, :length]
        mask[row, where] = 1
    with torch.inference_mode(), learner.arithmetic:
        output = writer.whole.generate(
            input_ids=inputs,
            attention_mask=mask,
            do_sample=False,
            num_beams=1,
            max_new_tokens=longest,
            eos_token_id=end,
            pad_token_id=writer.pad,
        )
    new = output[:, 1:] if writer.two else output[:, width:]
    return [_until(row, end) for row in new.tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
