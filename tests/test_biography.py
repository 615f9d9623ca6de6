"""The biography experiment end to end, at a size of seconds: too small to know anything, so that nothing may be concluded."""

import pytest

from clbench.runs.run import train_run
from clbench.testing.make_run import make_spec

pytest.importorskip("transformers")
SMALL = [
    "scenario=biography_tiny",
    "model=biography_tiny",
    "optimizer=adamw",
    "optimizer.lr=1e-3",
    "scenario.dataset.people=[12,6]",
    "scenario.recovery_iterations=3",
    "scenario.n_tasks=2",
    "trainer.iterations=4",
    "model.architecture.hidden_size=16",
    "model.architecture.num_hidden_layers=2",
    "model.architecture.num_attention_heads=2",
    "model.architecture.intermediate_size=32",
    "model.pretraining.epochs=null",
    "model.pretraining.steps=3",
    "eval.every=2",
    "eval.drift=true",
]


def prepared(tmp_path, *overrides):
    """Return (record, what was printed)."""
    told = []
    spec = make_spec("naive", [*SMALL, f"data.root={tmp_path}", *overrides], results_dir=tmp_path / "runs")
    record = train_run(spec, lambda message: told.append(message.get("text", "")))
    return record, [text for text in told if text]


def test_a_model_that_knows_nothing_leads_to_no_claim(tmp_path):
    record, told = prepared(tmp_path)
    result = record.result
    assert result["task_names"] == ["group 0", "group 1", "recovery"]
    conclusions = [each["conclusion"] for each in result["diagnostics"]]
    assert all(each["claim"] is False and "no claim" in each["no_claim"] for each in conclusions)
    assert sum("no claim" in text for text in told) == 1
    assert any("pre-training on 60 biographies" in text for text in told)
    steps = [event["step"] for event in result["events"] if event["kind"] == "within"]
    assert steps == [2, 4, 2, 4, 2], "the recovery has steps of its own"
    for each in result["diagnostics"]:
        assert all(entry["weights"] > 0 for entry in each["drift"].values())
        assert {"backbone.body.embed_in", "backbone.body.layers.1", "heads.0"} <= set(each["drift"])


def test_a_repetition_finds_the_weights_and_gives_the_same_record(tmp_path):
    first, told = prepared(tmp_path)
    again, silent = prepared(tmp_path)
    assert any("pre-training" in text for text in told)
    assert not any("pre-training" in text for text in silent)
    assert again.result == first.result
    assert again.id == first.id


def test_little_is_asked_for_a_claim_of_little(tmp_path):
    record, told = prepared(tmp_path, "scenario.claim_at=0.0")
    assert record.result["diagnostics"][-1]["conclusion"]["claim"] is True
    assert not any("no claim" in text for text in told)
