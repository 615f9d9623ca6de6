"""Low-rank adapters in language models: what trains there, and steps in parts."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from clbench.data import answer_tokens
from clbench.data.pool import Pool
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.models import build_model
from tests.methods.shipped import shipped
from tests.streams import Blobs, blob_stream, learn, learner_for, trainer, weights

pytest.importorskip("peft")
PAD, END, SIZE = 30, 31, 32
KINDS = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 8, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0},
}
NAMES = {
    "gpt2": {"bos_token_id": END},
    "llama": {"bos_token_id": END, "pad_token_id": PAD},
    "t5": {"pad_token_id": PAD, "decoder_start_token_id": PAD},
}


@dataclass
class Riddles(Blobs):
    """Six kinds of prompts, each with its own answer of one or two tokens."""

    name: str = "riddles"
    image: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def load(self, search, download):
        draws = torch.Generator().manual_seed(7)
        words = [[20 + kind, END] if kind % 2 else [20 + kind, 29, END] for kind in range(self.n_classes)]
        table = torch.tensor([word + [-1] * (3 - len(word)) for word in words])

        def pool(n):
            kinds = [kind for kind in range(self.n_classes) for _ in range(n)]
            prompts = [[kind, *torch.randint(6, 20, (2,), generator=draws).tolist()] for kind in kinds]
            rows = answer_tokens.encode(prompts, [words[kind] for kind in kinds], 7, PAD)
            return Pool(rows, torch.tensor(kinds), pad=PAD, vocabulary=SIZE, answers=table)

        return SimpleNamespace(train=pool(8), test=pool(4))


def writer(kind, tied=False, checkpointing=False):
    sizes = {"model_type": kind, "vocab_size": SIZE, "tie_word_embeddings": tied, "eos_token_id": END}
    node = {
        "_target_": "clbench.models.language.language_model",
        "tokenizer": "bytes",
        "form": "answers",
        "architecture": sizes | KINDS[kind] | NAMES[kind],
        "checkpointing": checkpointing,
    }
    stream = blob_stream("domain", dataset=Riddles())
    return stream, Learner(stream, lambda: build_model(node, stream, 0), SGD(0.05, weight_decay=0.01), torch.device("cpu"), 0)


def lora(name, **changes):
    return shipped(name, **{"rank": 2, "alpha": 4.0, "dropout": 0.0} | changes)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_adapters_moves_the_own_head_included(kind, tied):
    stream, learner = writer(kind, tied)
    start = weights(learner)
    method = lora("inc_lora", past="apart")
    learn(method, stream, learner)
    moved = []
    for name, value in weights(learner).items():
        if ".lora_" in name:
            moved.append(bool(value.any()))
        else:
            assert torch.equal(value, start[name.replace(".base_layer", "")]), name
    assert len(moved) == 4 * len(method._adapters.layers)
    assert all(moved)
    assert all(".lora_" in name for name in learner.trainable()[0])


def test_the_whole_model_trains_in_the_first_task_if_so_said():
    stream, learner = writer("llama")
    start, ends = weights(learner), []
    learn(lora("seq_lora", base="first_task"), stream, learner, after=lambda task, learner: ends.append(weights(learner)))
    for name in ("heads.0.weight", "backbone.body.embed_tokens.weight", "backbone.body.norm.weight"):
        assert not torch.equal(start[name], ends[0][name]), name
        assert torch.equal(ends[0][name], ends[2][name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_activations_computed_anew_change_nothing(kind):
    ends = []
    for checkpointing in (False, True):
        stream, learner = writer(kind, checkpointing=checkpointing)
        learn(lora("olora", strength=0.01), stream, learner)
        ends.append(weights(learner))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_step_in_parts_counts_the_penalty_once():
    """Squared, so that nothing turns on the sign of a zero; on its own it moves the weights by far more than the tolerance."""
    stream, found = blob_stream(), []
    for strength, size in ((0.05, None), (0.05, 4), (0.0, None)):
        method = lora("olora", penalty_form="squared", strength=strength, l2_strength=0.05 if strength else 0.0)
        how = trainer(2, 16, micro_batch_size=size)
        found.append(weights(learn(method, stream, learner_for(stream), how=how)[0]))
    name = "backbone.layers.0.lora_A.task2.weight"
    assert float((found[0][name] - found[2][name]).abs().max()) > 1e-2
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-4, atol=1e-5, msg=key)
