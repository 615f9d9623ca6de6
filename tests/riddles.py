"""Small streams of prompts with answers, and small models that write; made on the spot, no files."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clbench.data import answer_tokens
from clbench.data.pool import Pool
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import Adam, Optimizer
from clbench.models import build_model
from clbench.stream import Stream
from tests.streams import blob_stream

PAD, EOS, SIZE = 0, 1, 20
WORDS = [[2, EOS], [3, EOS], [2, 3, EOS], [4, EOS], [3, 2, EOS], [5, EOS]]
"""Answers of six classes; those of two tokens begin as another one's."""
CONFIGS = {
    "gpt2": {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 32,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    | {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32, "dropout": 0.0},
}
SPECIAL = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": EOS}


@dataclass
class Riddles:
    """Prompts of four to eight tokens, one of which (6 + class) says what to answer."""

    name: str = "riddles"
    n_classes: int = 6
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    image: bool = False
    per_class: int = 24
    form: str = "answers"
    metric: str = "exact_match"
    free: bool = False

    def load(self, search: Any, download: bool) -> Any:
        g = torch.Generator().manual_seed(3)

        def pool(n: int) -> Pool:
            targets = torch.arange(6).repeat_interleave(n)
            lengths = torch.randint(4, 9, (len(targets),), generator=g).tolist()
            prompts = [torch.randint(12, SIZE, (length,), generator=g).tolist() for length in lengths]
            for prompt, label in zip(prompts, targets.tolist(), strict=True):
                prompt[int(torch.randint(len(prompt), (), generator=g))] = 6 + label
            if self.form == "classes":
                rows = torch.full((len(prompts), 8), PAD)
                for row, prompt in zip(rows, prompts, strict=True):
                    row[: len(prompt)] = torch.tensor(prompt)
                return Pool(rows, targets, pad=PAD)
            rows = answer_tokens.encode(prompts, [WORDS[label] for label in targets.tolist()], 11, PAD)
            table = torch.tensor([word + [-1] * (3 - len(word)) for word in WORDS])
            return Pool(rows, targets, pad=PAD, vocabulary=SIZE, answers=None if self.free else table)

        return SimpleNamespace(train=pool(self.per_class), test=pool(8))


def riddle_stream(setting: str = "domain", n_tasks: int = 3, **options: Any) -> Stream:
    keys = ("form", "metric", "free", "per_class")
    own = {key: options.pop(key) for key in keys if key in options}
    return blob_stream(setting, n_tasks=n_tasks, dataset=Riddles(**own), **options)


def adam() -> Optimizer:
    return Adam(3e-3, (0.9, 0.999), 1e-8)


def writer_for(stream: Stream, kind: str = "gpt2", seed: int = 0, optimizer: Any = None, **changes: Any) -> Learner:
    pytest.importorskip("transformers")
    node = {
        "_target_": "clbench.models.language.language_model",
        "form": "answers",
        "tokenizer": "none",
        "checkpointing": False,
        "architecture": {"model_type": kind, "vocab_size": SIZE, **SPECIAL, **CONFIGS[kind]},
    }
    if kind in ("t5", "bart"):
        node["architecture"]["decoder_start_token_id"] = PAD
    node |= changes
    return Learner(stream, lambda: build_model(node, stream, seed), optimizer or adam(), torch.device("cpu"), seed)


def encoder_for(stream: Stream, seed: int = 0, pool: str = "mean", optimizer: Any = None, **changes: Any) -> Learner:
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    node = {
        "_target_": "clbench.models.language.encoder",
        "form": "classes",
        "tokenizer": "none",
        "checkpointing": False,
        "pool": pool,
        "architecture": {"model_type": "bert", "vocab_size": SIZE, **sizes, **dropout},
    }
    node |= changes
    return Learner(stream, lambda: build_model(node, stream, seed), optimizer or adam(), torch.device("cpu"), seed)
