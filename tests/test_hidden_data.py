"""Nothing that a hook gets leads to test samples: in every kind of scenario, alone, with stacked seeds, and with clients."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from clbench.config.hydra_compose import conf_dir
from clbench.method import Method
from clbench.runs.factory import assemble, load_stream
from clbench.runs.parallel_seeds import run_stacked
from clbench.scenarios.separate_pools import separate_pools
from clbench.testing import make_spec, run
from clbench.testing.reach import reachable, reachable_by_collector
from clbench.testing.sought_data import SoughtData
from tests.scenarios.test_texts import OWN, write_own
from tests.streams import Blobs, blob_stream, stream_from

CPU = torch.device("cpu")
SHORT = ["trainer.epochs=1", "scenario.n_tasks=2"]
SOUGHT: list[SoughtData] = []
FOUND: list[str] = []
CALLED: set[str] = set()
SEQUENCE = {
    "datasets": {"a": Blobs(), "b": Blobs(n_classes=4)},
    "size": 4,
    "channels": 1,
    "fit": "pad",
    "mean": [0.5],
    "std": [0.2],
}
SEQUENCE |= {"crop": 0, "flip": False, "n_tasks": None}


def look(hook, **handed):
    CALLED.add(hook)
    for walk in (reachable, reachable_by_collector):
        FOUND.extend(f"{hook}: {found}" for sought in SOUGHT for found in sought.among(walk(handed)))


class Searching(Method):
    """Searches everything that its hooks get, once per task each."""

    def _look(self, hook, learner, **handed):
        if (hook, learner.task) not in self._done:
            self._done.add((hook, learner.task))
            look(hook, learner=learner, method=self, **handed)

    def setup(self, learner, stream):
        self._done = set()
        self._look("setup", learner, stream=stream)

    def begin_task(self, learner, task):
        self._look("begin_task", learner, task=task)

    def extend_batch(self, learner, batch):
        self._look("extend_batch", learner, batch=batch)
        return batch

    def penalty(self, learner, batch, logits):
        self._look("penalty", learner, batch=batch, logits=logits)
        return logits.new_zeros(())

    def edit_gradients(self, learner, batch):
        self._look("edit_gradients", learner, batch=batch)

    def edit_update(self, learner, updates):
        self._look("edit_update", learner, updates=updates)

    def after_step(self, learner):
        self._look("after_step", learner)

    def end_task(self, learner, task, history):
        self._look("end_task", learner, task=task, history=history)

    def state(self):
        look("state", method=self)
        return super().state()

    def load_state(self, learner, state):
        look("load_state", learner=learner, state=state)
        super().load_state(learner, state)


@dataclass
class Everywhere(Searching):
    """In one run."""

    access = "seen"
    requests = "handled"

    def fit(self, learner, task, train, history):
        self._look("fit", learner, task=task, train=train, history=history)
        train(task.train)

    def criterion(self, learner, batch, logits):
        self._look("criterion", learner, batch=batch, logits=logits)
        return super().criterion(learner, batch, logits)

    def predict(self, learner, inputs, task_id):
        self._look("predict", learner)
        return learner.logits(inputs, task_id)


@dataclass
class InSteps(Searching):
    """In stacked seeds and at clients, where other hooks are refused."""


@pytest.fixture(autouse=True)
def sought(monkeypatch):
    """Take note of the test data of every stream that a run loads."""
    for kept in (SOUGHT, FOUND, CALLED):
        kept.clear()

    def loaded(spec, device):
        stream = load_stream(spec, device)
        SOUGHT.append(SoughtData(stream))
        return stream

    monkeypatch.setattr("clbench.runs.factory.load_stream", loaded)


def spec_of(cls, folder, *options, seed=0):
    return make_spec({"_target_": f"tests.test_hidden_data.{cls.__name__}"}, [*SHORT, *options], seed=seed, results_dir=folder)


@pytest.mark.parametrize(
    "options",
    [
        ["scenario=split_digits", "scenario.valid_fraction=0.2", "eval.every=3"],
        ["scenario=permuted_digits"],
        ["scenario=rotated_digits"],
        ["scenario=unlearn_digits", "scenario.n_tasks=1", "scenario.relearn_steps=2"],
    ],
)
def test_no_hook_reaches_test_data(options, tmp_path):
    run(spec_of(Everywhere, tmp_path, *options))
    assert FOUND == []
    hooks = {"setup", "begin_task", "fit", "extend_batch", "criterion", "penalty", "edit_gradients", "edit_update", "after_step"}
    assert {*hooks, "end_task", "predict", "state"} <= CALLED


def test_nor_in_stacked_seeds(tmp_path):
    options = ["scenario=split_digits", "scenario.setting=task", "eval.every=5", "runner.compile=default"]
    records = run_stacked([spec_of(InSteps, tmp_path, *options, seed=seed) for seed in (0, 1)], lambda spec, event: None)
    assert [record.provenance["stacked"] for record in records] == [2, 2]
    assert FOUND == []
    assert {"edit_gradients", "edit_update", "penalty", "after_step"} <= CALLED


def test_nor_at_federated_clients_and_their_server(tmp_path):
    options = ["+federated=iid", "federated.clients=2", "federated.rounds=2", "scenario.setting=task", "eval.every=1"]
    run(spec_of(InSteps, tmp_path, *options))
    assert FOUND == []
    assert {"begin_task", "edit_gradients", "end_task"} <= CALLED


@pytest.mark.parametrize("name", ["biography_tiny", "texts classes", "texts answers", "sequence", "split", "permuted", "rotated"])
def test_the_stream_of_a_learner_reaches_no_test_data(name, tmp_path):
    if name == "sequence":
        stream = separate_pools(stream_from("sequence", **SEQUENCE))
    elif name in ("split", "permuted", "rotated"):
        more = {"angles": None, "min_angle": 0.0, "max_angle": 90.0} if name == "rotated" else {}
        kind = stream_from("rotated", dataset=Blobs(), n_tasks=2, **more) if more else blob_stream(kind=name)
        stream = separate_pools(kind)
    else:
        form = {"texts classes": ["model=tiny_bert"], "texts answers": ["model=tiny_gpt"]}.get(name, [])
        place = (
            [f"data.root={tmp_path}", "scenario.n_tasks=null", *write_own(tmp_path, OWN)] if form else ["model=biography_tiny"]
        )
        spec = make_spec("naive", [f"scenario={name.partition(' ')[0]}", *form, *place])
        stream = load_stream(spec, CPU)
    sought, learning = SoughtData(stream), stream.for_learning()
    handed = {"stream": learning, "rows": [row for task in learning.tasks for row in (task.train.raw(), task.train.pool.inputs)]}
    assert [found for walk in (reachable, reachable_by_collector) for found in sought.among(walk(handed))] == []
    assert sought.samples or "texts" in name or name == "biography_tiny"
    assert next(sought.among(reachable({"stream": stream})), None), "the whole stream must show what is sought"


def test_a_stream_of_biographies_has_no_question_of_the_held_out_people_in_the_pool_of_its_tasks():
    stream = load_stream(make_spec("naive", ["scenario=biography_tiny", "model=biography_tiny"]), CPU)
    held = {tuple(row) for row in stream.evaluation[0].split.raw().tolist()}
    assert not held & {tuple(row) for row in stream.tasks[0].train.pool.inputs.tolist()}
    assert {tuple(row) for row in stream.tasks[1].train.raw().tolist()} <= {
        tuple(row) for row in stream.tasks[0].train.pool.inputs.tolist()
    }


def test_no_path_of_data_can_be_reached_from_a_run_that_needs_none(tmp_path):
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images[::-1], y_test=labels[::-1])
    options = ["scenario=split", "scenario/dataset=npz", f"scenario.dataset.path={tmp_path}/own.npz", f"data.root={tmp_path}"]
    _, method, learner, training = assemble(make_spec("er", [*SHORT, *options]), CPU)
    walked = reachable({"learner": learner, "method": method, "training": training})
    assert [way for way, value in walked if str(tmp_path) in str(value) and isinstance(value, (str, type(tmp_path)))] == []


# ---- the search itself finds what is there
class Slotted:
    __slots__ = ("hidden",)


def kept_in(kind, tensor):
    slotted = Slotted()
    slotted.hidden = tensor
    return {
        "list": [[tensor]],
        "slot": slotted,
        "closure": lambda: tensor,
        "default": (lambda x=tensor: x),
        "generator": (each for each in [tensor]),
        "weak reference": weakref.ref(tensor),
        "array": tensor.numpy(),
        "view": tensor[1:, :1],
        "copy": tensor.clone(),
        "bound method": [tensor].append,
        "class": type("Own", (), {"hidden": {"a": tensor}})(),
    }[kind]


KINDS = ["list", "slot", "closure", "default", "generator", "weak reference", "array", "view", "copy", "bound method", "class"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_finds_test_data_wherever_it_is_kept(kind):
    stream = blob_stream()
    inputs = stream.evaluation[0].split.pool.inputs
    assert list(SoughtData(stream).among(reachable({"it": kept_in(kind, inputs)})))


def test_the_search_finds_rows_labels_and_model_inputs():
    stream = blob_stream()
    split, sought = stream.evaluation[1].split, SoughtData(stream)
    for kept in (split.rows.clone(), split.labels.clone(), stream.preprocess(split.raw())[3:4], split, split.pool):
        assert list(sought.among(reachable({"it": [kept]})))
    train = stream.tasks[1].train
    assert not list(sought.among(reachable({"it": [train.rows.clone(), train.labels, stream.preprocess(train.raw())]})))


# ---- separation
def test_pools_that_are_apart_stay_as_they_are():
    stream = blob_stream()
    assert separate_pools(stream) is stream


@pytest.mark.parametrize("views", [False, True])
def test_a_pool_of_training_and_test_samples_is_divided(views):
    made = blob_stream()
    train, test = made.tasks[0].train.pool, made.evaluation[0].split.pool
    inputs, targets = torch.cat([train.inputs, test.inputs]), torch.cat([train.targets, test.targets])
    whole = replace(train, inputs=inputs, targets=targets)
    first = len(train)
    ours = replace(train, inputs=inputs[:first], targets=targets[:first]) if views else whole
    theirs = replace(train, inputs=inputs[first:], targets=targets[first:]) if views else whole
    shift = 0 if views else first
    tasks = [replace(task, train=replace(task.train, pool=ours)) for task in made.tasks]
    columns = [replace(c, split=replace(c.split, pool=theirs, rows=c.split.rows + shift)) for c in made.evaluation]
    mixed = replace(made, tasks=tuple(tasks), evaluation=tuple(columns))
    assert list(SoughtData(mixed).among(reachable({"stream": mixed.for_learning()})))
    apart = separate_pools(mixed)
    assert not list(SoughtData(apart).among(reachable({"stream": apart.for_learning()})))
    for task, column, other in zip(apart.tasks, apart.evaluation, range(len(made)), strict=True):
        assert torch.equal(task.train.raw(), made.tasks[other].train.raw())
        assert torch.equal(task.train.labels, made.tasks[other].train.labels)
        assert torch.equal(column.split.raw(), made.evaluation[other].split.raw())
    pools = {id(split.pool): split.pool for split in (apart.tasks[0].train, apart.evaluation[0].split)}
    assert sum(pool.inputs.numel() for pool in pools.values()) == inputs.numel()


def test_rows_of_a_pool_that_no_task_uses_are_emptied():
    made = blob_stream(n_tasks=2, groups=[[0, 1, 2], [3, 4, 5]])
    first = replace(made, tasks=made.tasks[:1], evaluation=made.evaluation[:1])
    pool = separate_pools(first).tasks[0].train.pool
    used = made.tasks[0].train.rows
    assert torch.equal(pool.inputs[used], made.tasks[0].train.pool.inputs[used])
    assert not pool.inputs[made.tasks[1].train.rows].any()
    assert made.tasks[1].train.raw().any(), "the scenario's own pool is not changed"


def test_embedded_scenarios_are_named_here():
    files = {path.stem for path in (conf_dir() / "scenario").glob("*_digits.yaml")}
    assert files == {"split_digits", "permuted_digits", "rotated_digits", "unlearn_digits"}
