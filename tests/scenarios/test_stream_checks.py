"""Every fault of a stream is found before training, by a run and by the conformance kit, with its place, value and remedy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clbench.data import answer_tokens
from clbench.data.pool import Pool, Split
from clbench.data.preprocess import Preprocess
from clbench.errors import DataError
from clbench.federated.partitions import IID
from clbench.scenarios.client_checks import check_clients
from clbench.scenarios.scenario_options import DataAccess
from clbench.scenarios.split import SplitOptions, split
from clbench.scenarios.stream_checks import Bounds, check_stream
from clbench.stream import EvaluationSet, Stream, Task
from clbench.testing import check_scenario, make_spec, run
from tests.streams import Blobs, blob_stream, stream_from


def of_task(stream, index, **changes):
    tasks = list(stream.tasks)
    tasks[index] = replace(tasks[index], **changes)
    return replace(stream, tasks=tuple(tasks))


def of_train(stream, index, **changes):
    return of_task(stream, index, train=replace(stream.tasks[index].train, **changes))


def of_test(stream, index, **changes):
    columns = list(stream.evaluation)
    split = {key: value for key, value in changes.items() if key in ("rows", "labels", "pool", "tasks", "view")}
    own = {key: value for key, value in changes.items() if key not in split}
    columns[index] = replace(columns[index], split=replace(columns[index].split, **split), **own)
    return replace(stream, evaluation=tuple(columns))


def raised(tensor, position, value):
    changed = tensor.clone()
    changed[position] = value
    return changed


def with_inputs(stream, change):
    """Return the stream with other inputs in the pool of its tasks."""
    pool = stream.tasks[0].train.pool
    other = replace(pool, inputs=change(pool.inputs.float()))
    tests = stream.evaluation[0].split.pool
    tests = replace(tests, inputs=tests.inputs.float())
    for index, task in enumerate(stream.tasks):
        stream = of_train(stream, index, pool=other)
        stream = of_test(stream, index, pool=tests)
        assert task.valid is None
    return stream


TRAIN, TEST = blob_stream().tasks[1].train, blob_stream().evaluation[1].split
LOW, VIEW = TRAIN.rows, torch.arange(16)
FAULTS = {
    "a label beyond the outputs": (
        lambda s: of_test(s, 1, labels=raised(TEST.labels, 3, 9)),
        r"evaluation set 'task 1: blobs 2-3' has the label 9 \(sample 3\), and its outputs have the labels 2 to 3",
    ),
    "a label of another task": (
        lambda s: of_train(s, 1, labels=raised(TRAIN.labels, 0, 0)),
        r"task 1 \(blobs 2-3\), train has the label 0 \(sample 0\).*2 to 3",
    ),
    "a negative label": (lambda s: of_train(s, 1, labels=raised(TRAIN.labels, 5, -1)), r"has the label -1 \(sample 5\)"),
    "a label that its class does not have": (
        lambda s: of_train(s, 1, labels=raised(TRAIN.labels, 0, 3)),
        r"samples of class 2 have different labels",
    ),
    "a row beyond the pool": (
        lambda s: of_test(s, 0, rows=raised(TEST.rows, 0, 999)),
        r"rows go from .* to 999 in a pool of 120",
    ),
    "no samples": (lambda s: of_test(s, 2, rows=TEST.rows[:0], labels=TEST.labels[:0]), "task 2: blobs 4-5' has no samples"),
    "fewer labels than rows": (lambda s: of_train(s, 1, labels=TRAIN.labels[:-1]), "has 80 rows and 79 labels"),
    "labels of another type": (lambda s: of_test(s, 0, labels=TEST.labels.float()), r"labels are float32 \[40\]"),
    "rows of two dimensions": (lambda s: of_train(s, 1, rows=LOW[:, None]), r"rows are int64 \[80, 1\]"),
    "a task number of another task": (lambda s: of_train(s, 1, tasks=0), "its samples name task 0"),
    "a task number of none": (lambda s: of_test(s, 1, tasks=7), "tasks is 7.*\n.*0 to 2"),
    "tasks out of order": (lambda s: replace(s, tasks=s.tasks[::-1]), r"task.index is \[2, 1, 0\]"),
    "a class twice": (lambda s: of_task(s, 1, classes=(2, 2)), r"task 1 \(blobs 2-3\) has the classes \[2, 2\]"),
    "a missing evaluation set": (lambda s: replace(s, evaluation=s.evaluation[:2]), "2 evaluation sets of role task for 3 tasks"),
    "two sets of one name": (lambda s: of_test(s, 1, name=s.evaluation[0].name), "two evaluation sets have the name 'task 0"),
    "another pool": (lambda s: of_train(s, 1, pool=replace(TRAIN.pool)), "in another pool than task 0"),
    "samples of another shape": (
        lambda s: of_test(s, 0, pool=replace(TEST.pool, inputs=TEST.pool.inputs[..., :3])),
        r"samples uint8 \[1, 4, 3\], and the stream has uint8 \[1, 4, 4\]",
    ),
    "samples of another type": (
        lambda s: of_test(s, 0, pool=replace(TEST.pool, inputs=TEST.pool.inputs.float())),
        r"samples float32 \[1, 4, 4\], and the stream has uint8",
    ),
    "targets that do not fit": (
        lambda s: of_test(s, 0, pool=replace(TEST.pool, targets=TEST.pool.targets[:-1])),
        r"inputs uint8 \[120, 1, 4, 4\] and targets int64 \[119\]",
    ),
    "a view beyond the pixels": (lambda s: of_test(s, 0, view=raised(VIEW, 0, 16)), "view is int64 .* with values from 1 to 16"),
    "a view of another length": (lambda s: of_test(s, 0, view=VIEW[:5]), r"view is int64 \[5\]"),
    "inputs that are not finite": (
        lambda s: with_inputs(s, lambda x: raised(x, int(s.tasks[2].train.rows[0]), float("nan"))),
        r"task 2 \(blobs 4-5\), train has inputs that are NaN or infinite",
    ),
    "infinite inputs": (lambda s: with_inputs(s, lambda x: raised(x, 0, float("inf"))), "task 0 .* NaN or infinite"),
    "test samples among the trained": (
        lambda s: of_test(s, 0, pool=s.tasks[0].train.pool, rows=s.tasks[0].train.rows[:40]),
        "test samples are trained on, such as row 0",
    ),
    "validation samples among the trained": (
        lambda s: of_task(s, 1, valid=s.tasks[1].train.select(torch.arange(3))),
        r"task 1 \(blobs 2-3\): row 80 is in train and in valid",
    ),
    "no steps": (lambda s: of_task(s, 1, iterations=0), "iterations=0"),
    "no fingerprint": (lambda s: replace(s, fingerprint=""), "no fingerprint"),
    "no tasks": (lambda s: replace(s, tasks=(), evaluation=()), "no task to learn"),
    "a goal without requests": (lambda s: replace(s, goal="retrain"), "goal=retrain and 0 requests"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_place_its_value_and_a_remedy(fault):
    change, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as found:
        check_stream(change(blob_stream()), "scenario=mine")
    assert found.value.what.startswith("scenario=mine: ")
    assert found.value.remedy


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("kind", ["split", "permuted"])
@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_a_right_stream_passes(setting, kind, outputs):
    check_stream(blob_stream(setting, outputs, kind, valid_fraction=0.2))


def test_values_that_no_task_uses_may_be_anything():
    made = blob_stream()
    first = replace(made, tasks=made.tasks[:1], evaluation=made.evaluation[:1])
    last = int(made.tasks[-1].train.rows[-1])
    check_stream(with_inputs(first, lambda x: raised(x, last, float("nan"))))


@pytest.mark.parametrize("setting", ["task", "domain"])
def test_labels_count_within_the_task_in_other_settings(setting):
    made = blob_stream(setting)
    with pytest.raises(DataError, match=f"the label 2 .*labels 0 to 1; setting {setting}: labels count from 0 within a task"):
        check_stream(of_test(made, 1, labels=raised(made.evaluation[1].split.labels, 0, 2)))


# ---- requests, answers, clients
def forgetting():
    requests = [{"classes": [3]}, {"samples": 5}]
    options = {"requests": requests, "goal": "retrain", "claim_at": 0.5, "relearn_steps": 0, "n_tasks": 1}
    return stream_from("unlearn", datasets={"blobs": Blobs()}, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: of_train(s, 2, rows=s.tasks[1].train.rows, labels=s.tasks[1].train.labels), "samples of an earlier request"),
        (lambda s: replace(s, tasks=(s.tasks[0], *s.tasks[1:]), goal=None), "goal=None and 2 requests"),
        (
            lambda s: replace(s, evaluation=tuple(c for c in s.evaluation if c.request != 1)),
            "request 1 .* has no evaluation set of the role forget_train",
        ),
        (lambda s: replace(s, evaluation=tuple(c for c in s.evaluation if c.role != "retain")), "no evaluation set measures"),
        (
            lambda s: of_train(s, 0, rows=s.tasks[0].train.rows[:10], labels=s.tasks[0].train.labels[:10]),
            "request .* asks to forget samples that were not learned before",
        ),
        (lambda s: of_train(s, 2, rows=s.tasks[0].train.rows, labels=s.tasks[0].train.labels), "samples of an earlier request"),
    ],
)
def test_a_fault_of_requests_is_found(change, message):
    check_stream(forgetting())
    with pytest.raises(DataError, match=message):
        check_stream(change(forgetting()))


def text_stream(rows=None, vocabulary=20, answers=None):
    prompts = answer_tokens.encode([[5, 6], [7], [8, 9], [4]], [[10, 1], [11, 1], [10, 1], [11, 1]], 4, 0)
    table = torch.tensor([[10, 1], [11, 1]]) if answers is None else answers
    pools = [
        Pool((prompts if rows is None else rows).clone(), torch.arange(4) % 2, False, 0, vocabulary, table) for _ in range(2)
    ]
    train, test = (Split(pool, torch.arange(4), torch.arange(4) % 2, 0) for pool in pools)
    task = Task(0, "texts", (0, 1), train)
    column = EvaluationSet("task 0: texts", test, metric="exact_match")
    return Stream("domain", "seen", (task,), (column,), (4,), Preprocess(), "f")


def test_faults_of_written_answers_are_found():
    check_stream(text_stream())
    with pytest.raises(DataError, match=r"tokens from -12 to 9 for a vocabulary of 11"):
        check_stream(text_stream(vocabulary=11))
    rows = text_stream().tasks[0].train.pool.inputs
    rows[1] = rows[1].abs() % 9
    with pytest.raises(DataError, match="sample 1 has no answer"):
        check_stream(text_stream(rows))
    with pytest.raises(DataError, match="answers go from 0 to 1, and 1 are known"):
        check_stream(text_stream(answers=torch.tensor([[10, 1]])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda owned: [owned[0][1:], owned[1]], r"task 0 \(blobs 0-1\): 0 clients own the sample at position"),
        (lambda owned: [owned[0], owned[0]], "clients own the sample"),
        (lambda owned: [owned[0], owned[1] + 1], r"a client owns the position 80, and the task has 80 samples"),
        (lambda owned: [owned[0].float(), owned[1].float()], "positions of clients are torch.float32"),
        (lambda owned: None, "has no clients"),
    ],
)
def test_every_sample_has_one_client(change, message):
    made = blob_stream()
    owned = IID().positions(made.tasks[0].train.labels, 2, 1, torch.Generator().manual_seed(1))
    owned = owned if 79 in owned[1].tolist() else owned[::-1]
    right = of_task(of_task(of_task(made, 0, clients=tuple(owned)), 1, clients=tuple(owned)), 2, clients=tuple(owned))
    check_clients(right)
    changed = change(owned)
    faulty = of_task(right, 0, clients=None if changed is None else tuple(changed))
    with pytest.raises(DataError, match=message):
        check_clients(faulty, "scenario=mine")


# ---- end to end
def broken(options: SplitOptions, access: DataAccess) -> Stream:
    """Scenario of a plug-in: the labels of the last test set are one too high."""
    made = split(options, access)
    return of_test(made, len(made) - 1, labels=made.evaluation[-1].split.labels + 1)


PLUGIN = ["scenario._target_=tests.scenarios.test_stream_checks.broken"]


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_a_run_and_the_kit_refuse_labels_beyond_the_outputs(setting, tmp_path):
    options = [*PLUGIN, f"scenario.setting={setting}"]
    message = "scenario=split_digits: evaluation set 'task 4: digits 8-9' has the label"
    with pytest.raises(DataError, match=message):
        run(make_spec("naive", options, results_dir=tmp_path))
    with pytest.raises(AssertionError, match=message):
        check_scenario("split_digits", options)


def test_test_labels_of_an_own_file_that_no_output_has_are_refused_before_training(tmp_path):
    images, labels = np.zeros((40, 8, 8), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels + 7)
    options = ["scenario=split", "scenario/dataset=npz", f"scenario.dataset.path={tmp_path}/own.npz", "scenario.n_tasks=2"]
    with pytest.raises(DataError, match=r"own.npz: y_test has label"):
        run(make_spec("naive", options, results_dir=tmp_path))


def test_each_tensor_is_read_once():
    made = blob_stream("domain", kind="permuted", n_tasks=5)
    bounds = Bounds()
    for task in made.tasks:
        bounds.of(task.train.rows)
    assert len(bounds.known) == 1, "permuted tasks share one tensor of rows"
