"""Streams of token sequences and small transformers to learn them, made on the spot; tokens come as floats, as features do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from clbench.data.pool import Pool
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.models.classifier import Classifier
from clbench.stream import Stream
from tests.streams import blob_stream

LENGTH, VOCABULARY = 6, 30


class Words:
    """Six classes of sequences, each with words of its own."""

    name = "words"
    n_classes = 6
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop = 0
    flip = image = False

    def load(self, search: Any, download: bool) -> Any:
        g = torch.Generator().manual_seed(3)

        def pool(n: int) -> Pool:
            targets = torch.arange(6).repeat_interleave(n)
            words = torch.randint(0, 8, (len(targets), LENGTH), generator=g) + 4 * targets.unsqueeze(1)
            return Pool(words.float(), targets)

        return SimpleNamespace(train=pool(24), test=pool(8))


class Encoder(nn.Module):
    """A model of transformers whose last hidden state, averaged over positions, is the feature."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.long()
        more = {"decoder_input_ids": tokens} if self.model.config.is_encoder_decoder else {}
        return self.model(input_ids=tokens, **more).last_hidden_state.mean(1)


def build(kind: str, layers: int = 2, dropout: float = 0.0) -> nn.Module:
    """Return a `llama`, `gpt2`, `bert`, `t5` or `opt` of width 16."""
    t = pytest.importorskip("transformers")
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 4}
    if kind == "llama":
        config = t.LlamaConfig(**sizes, intermediate_size=40, num_key_value_heads=2, max_position_embeddings=16)
        return t.LlamaModel(config)
    if kind == "gpt2":
        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        return t.GPT2Model(t.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=layers, n_head=4, n_positions=16, **rates))
    if kind == "bert":
        rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)
        return t.BertModel(t.BertConfig(**sizes, intermediate_size=40, max_position_embeddings=16, **rates))
    if kind == "opt":
        rates = dict.fromkeys(("dropout", "attention_dropout"), dropout)
        return t.OPTModel(t.OPTConfig(**sizes, ffn_dim=40, max_position_embeddings=16, word_embed_proj_dim=16, **rates))
    return t.T5Model(
        t.T5Config(vocab_size=VOCABULARY, d_model=16, d_kv=4, d_ff=40, num_layers=layers, num_heads=4, dropout_rate=dropout)
    )


def token_stream(setting: str = "class", **options: Any) -> Stream:
    return blob_stream(setting, dataset=Words(), **options)


def token_learner(
    kind: str, stream: Stream, optimizer: Any = None, layers: int = 2, dropout: float = 0.0, seed: int = 0
) -> Learner:
    def initial() -> Classifier:
        torch.manual_seed(seed)
        return Classifier(Encoder(build(kind, layers, dropout)), stream.head_sizes, (LENGTH,))

    return Learner(stream, initial, optimizer or SGD(0.05), torch.device("cpu"), 0)
