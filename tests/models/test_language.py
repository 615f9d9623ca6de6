"""Encoders and language models against transformers' own forward passes."""

import pytest
import torch

from clbench.data import answer_tokens
from clbench.errors import ConfigError, DataError
from clbench.models.language import trimmed
from tests.riddles import CONFIGS, PAD, encoder_for, riddle_stream, writer_for
from tests.streams import blob_stream

pytest.importorskip("transformers")
ROWS = answer_tokens.encode([[7, 12, 13], [14, 8], [15, 16, 17, 18, 9]], [[2, 3, 1], [4, 1], [5, 1]], 11, PAD)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_logits_and_loss_are_those_of_transformers(kind):
    learner = writer_for(riddle_stream(), kind)
    model = learner.model.eval()
    whole = model.backbone.whole.eval()
    with torch.no_grad():
        logits = model(ROWS)
        if model.backbone.two:
            prompt = answer_tokens.prompt(ROWS, PAD)
            table = answer_tokens.answer_table(ROWS, -100)
            own = whole(input_ids=prompt, attention_mask=(prompt != PAD).long(), labels=table)
        else:
            own = whole(input_ids=answer_tokens.tokens(ROWS), labels=torch.where(ROWS < 0, ~ROWS, -100))
    loss = torch.nn.functional.cross_entropy(logits, answer_tokens.answer_ids(ROWS))
    torch.testing.assert_close(loss, own.loss, rtol=1e-5, atol=1e-6)
    assert logits.shape == (7, 20)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_what_stands_beside_a_row_changes_nothing(kind):
    model = writer_for(riddle_stream(), kind).model.eval()
    with torch.no_grad():
        together, alone = model(ROWS), torch.cat([model(row.unsqueeze(0)) for row in ROWS])
        wide = model(torch.nn.functional.pad(ROWS, (0, 5), value=PAD))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, wide)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_an_encoders_features_ignore_padding(pool):
    model = encoder_for(riddle_stream("class", form="classes"), pool=pool).model.eval()
    row = torch.tensor([[7, 12, 13, PAD, PAD]])
    with torch.no_grad():
        hidden = model.backbone.body(input_ids=row[:, :3]).last_hidden_state[0]
        expected = {"mean": hidden.mean(0), "first": hidden[0], "last": hidden[-1]}[pool]
        found = model.features(torch.cat([row, torch.tensor([[7, 12, 13, 14, 15]])]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert model.width == 16


def test_checkpointing_changes_no_gradient():
    stream = riddle_stream()
    grads = []
    for checkpointing in (False, True):
        learner = writer_for(stream, "gpt2", checkpointing=checkpointing)
        learner.start(0)
        batch = learner.batch(stream.tasks[0].train, torch.arange(8))
        loss = torch.nn.functional.cross_entropy(learner.forward(batch), batch.labels)
        grads.append(torch.autograd.grad(loss, learner.trainable()[1]))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_tied_head_is_one_parameter():
    tied, apart = (writer_for(riddle_stream(), kind) for kind in ("gpt2", "llama"))
    assert not any(name.startswith("heads.") for name in tied.parameters)
    assert any(name.startswith("heads.") for name in apart.parameters)


def test_weights_come_from_a_folder_and_the_same_seed_gives_the_same_weights(tmp_path):
    stream = riddle_stream()
    learner = writer_for(stream, "llama")
    learner.model.backbone.whole.save_pretrained(tmp_path / "mine")
    node = {"architecture": None, "weights": str(tmp_path / "mine")}
    loaded = writer_for(stream, "llama", seed=5, **node)
    for name, value in learner.parameters.items():
        assert torch.equal(value, loaded.parameters[name]), name
    again, other = writer_for(stream, "llama"), writer_for(stream, "llama", seed=1)
    names = list(learner.parameters)
    assert all(torch.equal(learner.parameters[n], again.parameters[n]) for n in names)
    assert not all(torch.equal(learner.parameters[n], other.parameters[n]) for n in names)


def test_trimmed_keeps_at_least_one_column():
    assert trimmed(torch.full((2, 4), PAD), PAD).shape == (2, 1)
    assert trimmed(torch.tensor([[5, PAD, ~0, PAD]]), PAD).shape == (1, 3)


@pytest.mark.parametrize(
    ("node", "error", "says"),
    [
        ({"architecture": None}, ConfigError, "give one of the two"),
        ({"weights": "somewhere"}, ConfigError, "give one of the two"),
        ({"architecture": None, "weights": "nowhere"}, DataError, "nowhere.*no config.json.*data.download=true"),
        ({"architecture": {"model_type": "bird"}}, ConfigError, "model_type='bird'"),
        ({"form": "classes"}, ConfigError, "give model.form=answers"),
    ],
)
def test_bad_keys_are_named(node, error, says):
    with pytest.raises(error, match=f"(?s){says}"):
        writer_for(riddle_stream(), **node)


def test_forms_must_agree_and_tokens_need_a_model_that_reads_them():
    from tests.streams import learner_for

    with pytest.raises(ConfigError, match="form answers, and this stream has the form classes"):
        writer_for(riddle_stream("class", form="classes"))
    with pytest.raises(ConfigError, match="form classes, and this stream has the form answers"):
        encoder_for(riddle_stream())
    with pytest.raises(ConfigError, match="does not read tokens"):
        learner_for(riddle_stream("class", form="classes"))
    with pytest.raises(ConfigError, match="reads tokens, and the stream has none"):
        encoder_for(blob_stream())
