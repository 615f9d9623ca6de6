"""A part of a stream is a stream of its own, with the same samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clbench.errors import ClbenchError
from clbench.stream import Stream
from tests.scenarios.test_validation_sets import COMPOSER, spec, trained
from tests.streams import stream_from

KINDS = ["split", "permuted", "rotated"]
SETTINGS = ["task", "domain", "class"]


def digits(kind: str, setting: str, task_range: Any = None) -> Stream:
    from clbench.instantiate import instantiate

    node = COMPOSER([f"scenario={kind}_digits", f"scenario.setting={setting}"]).config["scenario"]
    values = {key: value for key, value in node.items() if key != "_target_"} | {"valid_fraction": 0.2, "task_range": task_range}
    return stream_from(kind, **values | {"dataset": instantiate(node["dataset"], "dataset")})


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task_range", [[0, 2], [1, 3], [2, None]])
def test_samples_and_views_stay_and_numbers_begin_at_0(kind: str, setting: str, task_range: list[Any]) -> None:
    whole, part = digits(kind, setting), digits(kind, setting, task_range)
    first, end = task_range[0], task_range[1] or len(whole)
    assert len(part) == end - first
    assert part.fingerprint != whole.fingerprint
    gone = whole.classes_met[first - 1] if first and setting == "class" else 0
    for task, other, column, before in zip(
        part.tasks, whole.tasks[first:end], part.evaluation, whole.evaluation[first:end], strict=True
    ):
        assert task.index == other.index - first
        assert (task.name, task.classes, column.name) == (other.name, other.classes, before.name)
        for mine, theirs in ((task.train, other.train), (task.valid, other.valid), (column.split, before.split)):
            assert mine is not None
            assert theirs is not None
            assert torch.equal(mine.pool.inputs[mine.rows], theirs.pool.inputs[theirs.rows])
            assert torch.equal(mine.labels, theirs.labels - gone)
            assert mine.tasks == task.index
            assert mine.view is theirs.view or torch.equal(mine.view, theirs.view)  # type: ignore[arg-type]
    sizes = whole.head_sizes[first:end] if setting == "task" else whole.head_sizes
    assert part.head_sizes == ((sum(len(task.classes) for task in part.tasks),) if setting == "class" else sizes)
    assert part.classes_met[0] == len(part.tasks[0].classes)


def test_the_whole_range_is_the_stream() -> None:
    assert digits("split", "class", [0, 5]).fingerprint == digits("split", "class").fingerprint


@pytest.mark.parametrize("name", ["permuted_digits", "rotated_digits"])
def test_the_first_tasks_are_learned_as_in_the_whole_stream(name: str) -> None:
    """In the domain setting the head has the same outputs, so the run begins in the same way, bit for bit."""
    whole = trained(f"scenario={name}", "method=er", split="test")
    part = trained(f"scenario={name}", "method=er", "scenario.task_range=[0,2]", split="test")
    assert part["matrix"] == [row[:2] for row in whole["matrix"][:3]]


def test_a_federated_stream_and_words() -> None:
    part = trained("scenario=split_digits", "+federated=iid", "federated.rounds=1", "scenario.task_range=[0,2]")
    assert part["n_tasks"] == 2


@pytest.mark.parametrize("value", ["[2,2]", "[0,9]", "[-1,2]", "[1]", "[0.5,2]", "x", "[a,b]", "[true,2]", "3"])
def test_what_is_no_range_is_refused(value: str) -> None:
    with pytest.raises(ClbenchError, match=r"scenario\.task_range=") as error:
        spec("scenario=split_digits", f"scenario.task_range={value}")
    assert "scenario.task_range=[0,2]" in error.value.remedy


def test_a_range_of_requests_is_refused() -> None:
    from clbench.runs.factory import load_stream

    with pytest.raises(ClbenchError, match="requests to forget"):
        load_stream(
            spec("scenario=unlearn_digits", "method=ga", "scenario.n_tasks=5", "scenario.task_range=[0,2]", split="test"),
            torch.device("cpu"),
        )
