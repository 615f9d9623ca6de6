"""Requests about texts, end to end at a size of seconds: presidents' addresses, and people that questions are asked about."""

from __future__ import annotations

import pytest

from clbench.data.integrity import find, search_path
from clbench.errors import DataError
from clbench.testing import make_cell, run

pytest.importorskip("transformers")


def columns(result, role):
    return [c for c in result["columns"] if c["role"] == role and c["metric"] != "format"]


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_gpt"])
def test_presidents_run(tmp_path, model):
    try:
        find(search_path(None), "sotu", "presidents", "")
        find(search_path(None), "sentiment", "sentiment", "")
    except DataError as error:
        pytest.skip(str(error))
    small = [f"scenario.datasets.{name}.{part}_per_class=2" for name in ("presidents", "movies") for part in ("train", "test")]
    options = [
        "scenario=unlearn_presidents",
        "scenario.n_tasks=1",
        f"model={model}",
        "trainer.iterations=2",
        "scenario.relearn_steps=1",
        *small,
    ]
    result = run(make_cell("naive", options, results_dir=tmp_path)).result
    assert [event["kind"] for event in result["events"]] == ["untrained", "task", "request", "request", "request"]
    assert len(columns(result, "forget_test")) == len(columns(result, "forget_train")) == 3
    assert [len(columns(result, role)) for role in ("retain", "utility")] == [1, 1]
    assert result["unlearning"]["chance"] == pytest.approx(1 / 16)
