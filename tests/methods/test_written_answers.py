"""OSFT and freezing for a language model that writes answers, with its output embedding tied to its input embedding."""

from types import SimpleNamespace

import pytest
import torch

from clbench.data.pool import Pool
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.models.language import language_model
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, trainer, weights

pytest.importorskip("transformers")
LLAMA = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


class Answers:
    """Six words, padding of one or two tokens behind the written ones."""

    name = "answers"
    n_classes = 6
    mean = std = ()
    crop = 0
    flip = image = False

    def load(self, search, download):
        g = torch.Generator().manual_seed(3)

        def pool(n):
            targets = torch.arange(6).repeat_interleave(n)
            prompts = torch.randint(3, 12, (len(targets), 6), generator=g) + 3 * targets.unsqueeze(1)
            answers = torch.stack([~(3 + targets), torch.full_like(targets, ~1), torch.zeros_like(targets)], dim=1)
            return Pool(torch.cat([prompts, answers], dim=1), targets, vocabulary=40, pad=0)

        return SimpleNamespace(train=pool(8), test=pool(2))


def after_tasks(method):
    stream = blob_stream("domain", dataset=Answers())

    def initial():
        torch.manual_seed(0)
        return language_model(tokenizer="bytes", form="answers", architecture=LLAMA, checkpointing=False, pad=0, input_shape=(9,))

    learner, states = Learner(stream, initial, SGD(0.1), torch.device("cpu"), 0), []
    learn(method, stream, learner, how=trainer(1, 8, micro_batch_size=4), after=lambda t, lrn: states.append(weights(lrn)))
    return {name for name in states[0] if float((states[0][name] - states[2][name]).abs().max()) > 1e-5}


@pytest.mark.parametrize("others", ["train", "freeze"])
def test_osft_moves_what_is_free_and_the_tied_embedding(others):
    moved = after_tasks(shipped("osft", schedule="fixed", fraction=0.5, others=others))
    assert {"heads.0.weight", "backbone.body.embed_tokens.weight", "backbone.body.layers.1.mlp.up_proj.weight"} <= moved
    assert ("backbone.body.norm.weight" in moved) == (others == "train")


def test_freezing_the_embeddings_freezes_the_tied_head():
    method = shipped("freeze", layers=1)
    moved = after_tasks(method)
    assert method.diagnostics()["head_frozen"]
    assert method.diagnostics()["training_layers"] == ["body.layers.1"]
    assert not any(".layers.0." in name or "embed" in name or name.startswith("heads") for name in moved)
    assert {"backbone.body.norm.weight", "backbone.body.layers.1.mlp.up_proj.weight"} <= moved
