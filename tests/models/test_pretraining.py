"""Pre-training on biographies: the same weights for the same settings, kept, found again, and checked."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from clbench.data.array_cache import store_arrays
from clbench.data.biography.people import Biography
from clbench.data.biography.vocabulary import Vocabulary
from clbench.errors import ConfigError, DivergedError
from clbench.models import pretraining as module
from clbench.models.pretraining import FOLDER, Pretraining, digest, load_or_train

pytest.importorskip("transformers")
from clbench.models.biography import fresh, pretrained

PEOPLE = Biography(
    people=(12, 6),
    familiar=1,
    variants=2,
    sentences=3,
    first=4,
    middle=4,
    last=5,
    cities=3,
    universities=3,
    majors=3,
    companies=3,
    years=2,
    seed=0,
    generated=1,
)
SHAPE = {
    "model_type": "gpt_neox",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
HOW = Pretraining(
    epochs=None,
    steps=12,
    batch_size=4,
    length=32,
    lr=3e-3,
    last_lr=3e-4,
    warmup=3,
    weight_decay=0.1,
    betas=(0.9, 0.999),
    eps=1e-6,
    clip_norm=1.0,
    seed=0,
)


def weights(search, people=PEOPLE, how=HOW):
    return load_or_train(lambda: fresh(SHAPE, len(Vocabulary(people))), people, SHAPE, how, search)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_is_kept_and_found_again_without_training(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "clbench")
    before = torch.random.get_rng_state()
    made = weights([tmp_path])
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator was moved"
    assert len(list((tmp_path / FOLDER).glob("biography-*.npz"))) == 1
    assert any("100 %" in text for text in caplog.messages)
    assert "24 biographies" in caplog.messages[0]
    losses = [float(text.rpartition(" ")[2]) for text in caplog.messages[1:]]
    assert losses[-1] < losses[0] - 0.2
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("trained again"))
    assert same(made, weights([tmp_path]))


def test_the_same_settings_give_the_same_weights(tmp_path):
    assert same(weights([tmp_path / "a"]), weights([tmp_path / "b"]))
    assert not same(weights([tmp_path / "a"]), weights([tmp_path / "a"], how=replace(HOW, seed=1)))


@pytest.mark.parametrize("harm", ["cut", "flipped", "no archive"])
def test_damaged_weights_are_noticed_and_made_again(tmp_path, caplog, harm):
    made = weights([tmp_path])
    (file,) = (tmp_path / FOLDER).glob("*.npz")
    content = bytearray(file.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2]
    elif harm == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray(b"nothing of the kind")
    file.write_bytes(content)
    caplog.clear()
    assert same(made, weights([tmp_path]))
    assert "damaged" in caplog.messages[0]
    caplog.clear()
    assert same(made, weights([tmp_path]))
    assert not caplog.messages


def test_weights_of_other_settings_under_this_name_are_noticed_and_made_again(tmp_path, caplog):
    made = weights([tmp_path])
    (file,) = (tmp_path / FOLDER).glob("*.npz")
    store_arrays({key: value.numpy() + 1 for key, value in made.items()}, file.with_stem("other-0123456789abcdef"))
    file.with_stem("other-0123456789abcdef").replace(file)
    assert same(made, weights([tmp_path]))
    assert "holds what was stored as other-0123456789abcdef" in caplog.messages[0]


def test_the_digest_covers_what_shapes_the_weights_and_nothing_else():
    base = digest(PEOPLE, SHAPE, HOW)
    assert base == digest(replace(PEOPLE, people=(12, 9, 9), name="other"), SHAPE, HOW)
    assert base == digest(PEOPLE, dict(reversed(SHAPE.items())), HOW)
    others = [digest(replace(PEOPLE, **change), SHAPE, HOW) for change in ({"people": (13, 6)}, {"seed": 1}, {"familiar": 2})]
    others += [digest(PEOPLE, SHAPE | {"hidden_size": 32}, HOW)]
    others += [digest(PEOPLE, SHAPE, replace(HOW, **change)) for change in ({"steps": 13}, {"seed": 1}, {"lr": 1e-3})]
    assert len({base, *others}) == len(others) + 1


def test_the_rate_rises_and_falls_as_said():
    rates = [HOW.rate(step, 12) for step in range(12)]
    assert rates[:3] == pytest.approx([1e-3, 2e-3, 3e-3])
    assert rates[3] == pytest.approx(3e-3)
    assert all(a > b for a, b in pairwise(rates[3:]))
    assert HOW.rate(12, 12) == pytest.approx(3e-4)


def test_a_loss_that_is_no_number_ends_it_with_nothing_kept(tmp_path):
    with pytest.raises(DivergedError, match="pre-training"):
        weights([tmp_path], how=replace(HOW, lr=1e30, last_lr=1e30, clip_norm=1e30))
    assert not list((tmp_path / FOLDER).glob("*.npz"))


def factory(tmp_path, **change):
    given = {
        "form": "answers",
        "biography": PEOPLE,
        "architecture": SHAPE,
        "pretraining": HOW,
        "checkpointing": False,
        "input_shape": (20,),
        "search": [tmp_path],
        "download": False,
    }
    return pretrained(**given | change)


def test_the_model_writes_with_the_pre_trained_weights(tmp_path):
    model = factory(tmp_path)
    state = weights([tmp_path])
    assert torch.equal(
        model.heads[0].weight, next(value for key, value in state.items() if key in ("embed_out.weight", "lm_head.weight"))
    )
    assert model.heads[0].out_features == len(Vocabulary(PEOPLE))
    assert any(".layers.1." in name for name, _ in model.backbone.named_parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"biography": None}, "the scenario has none"),
        ({"form": "classes"}, "form"),
        ({"input_shape": (33,)}, "max_position_embeddings=32"),
        ({"architecture": SHAPE | {"model_type": "gpt_neo_y"}}, "model_type"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        factory(tmp_path, **change)
