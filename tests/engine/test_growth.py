"""What must not grow with the number of tasks: work per step, and what a stream holds; counted in calls and tensors."""

import gc
import statistics
import sys
from contextlib import suppress

import pytest
import torch

from clbench.engine.training.loop import Training
from clbench.loggers.base import Loggers, RunInfo
from clbench.runs import checkpoint
from clbench.runs.run import Run, assemble, prepare
from clbench.testing import make_spec
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learner_for, trainer

FEW, MANY = 4, 24


def calls(function, *arguments):
    """Return how many functions, of Python and of C, are called while `function` runs."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count


def calls_per_step(name, options, setting, tasks):
    """Return the median number of calls in a step of the last of so many tasks."""
    stream = blob_stream(setting, kind="permuted", n_tasks=tasks)
    learner, method = learner_for(stream), shipped(name, **options)
    method.setup(learner, stream)
    training = Training(learner, method, trainer(epochs=1))
    step, found = training.step, []
    for task in stream.tasks[:-1]:
        training.learn(task)
    training.step = lambda batch: found.append(calls(lambda: losses.append(step(batch)))) or losses[-1]
    losses = []
    training.learn(stream.tasks[-1])
    assert len(found) == 15
    return statistics.median(found)


@pytest.mark.parametrize("setting", ["domain", "class"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("naive", {}),
        ("ewc", {}),
        ("ewc_online", {}),
        ("si", {}),
        ("lwf", {}),
        ("er", {"buffer_size": 48}),
        ("er", {"buffer_size": 48, "policy": "ring"}),
        ("agem", {"buffer_size": 48}),
        ("agem", {"buffer_size": 48, "fill": "stream"}),
        ("gpm", {"head": "free"}),  # a head so wide would be projected another way
    ],
)
def test_a_step_is_the_same_work_after_any_number_of_tasks(name, options, setting):
    few, many = (calls_per_step(name, options, setting, tasks) for tasks in (FEW, MANY))
    assert 0 < many <= few


def test_parameters_are_looked_up_in_linear_work():
    def work(tasks):
        learner = learner_for(blob_stream("task", kind="permuted", n_tasks=tasks))
        learner.start(tasks - 1)
        return calls(learner.trainable, True)

    assert work(2 * MANY) < 2.5 * work(MANY)


def test_a_checkpoint_is_linear_work(tmp_path, monkeypatch):
    """The matrix has tasks x tasks entries; saved one by one they would be most of what there is to save."""
    monkeypatch.setattr("clbench.runs.run.evaluate", lambda learner, method, columns, size: [(1, 2)] * len(columns))

    def work(tasks):
        options = ["scenario=permuted_digits", f"scenario.n_tasks={tasks}"]
        spec = make_spec("naive", options, results_dir=tmp_path)
        about = RunInfo.of(spec.identity, spec.id, "", spec.results_dir, 1, False)
        prepared = Run(spec, *assemble(spec, torch.device("cpu")), Loggers([], about, print), lambda message: None)
        prepared.training.learn = lambda *arguments: None
        monkeypatch.setattr(prepared, "save", lambda task: None)
        prepared.run()
        return calls(Run.save, prepared, prepared.stream.tasks[-1])

    assert work(4 * MANY) < 5 * work(MANY)


@pytest.mark.parametrize("as_lists", [False, True], ids=["tensor", "lists, as in 0.1.0"])
def test_the_matrix_comes_back_from_a_checkpoint(tmp_path, as_lists):
    def prepared():
        spec = make_spec("naive", results_dir=tmp_path)
        about = RunInfo.of(spec.identity, spec.id, "", spec.results_dir, 1, False)
        return Run(spec, *assemble(spec, torch.device("cpu")), Loggers([], about, print), lambda message: None)

    first = prepared()
    first.run()
    task, tree = checkpoint.load(first.folder, torch.device("cpu"))
    if as_lists:
        checkpoint.save(first.folder, task, {**tree, "matrix": tree["matrix"].tolist()})
    again = prepared()
    assert again.begin() == 5
    assert again.matrix == first.matrix
    assert torch.equal(torch.stack(again.rows), torch.tensor(first.matrix))


def test_permuted_tasks_hold_one_list_of_samples():
    stream = blob_stream("domain", kind="permuted", n_tasks=MANY)
    for splits in ([task.train for task in stream.tasks], [column.split for column in stream.evaluation]):
        assert len({split.rows.data_ptr() for split in splits}) == 1
        assert len({split.labels.data_ptr() for split in splits}) == 1
        assert len({split.view.data_ptr() for split in splits}) == MANY
    apart = blob_stream("class", kind="permuted", n_tasks=MANY)
    assert len({task.train.labels.data_ptr() for task in apart.tasks}) == MANY
    assert len({task.train.rows.data_ptr() for task in blob_stream("class").tasks}) == 3


def live_tensors():
    """Return (number, bytes) of the memory blocks that hold tensors."""
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if type(each) in (torch.Tensor, torch.nn.Parameter):
            with suppress(NotImplementedError):  # what torch.func left in other tests: a tensor without memory of its own
                block = each.untyped_storage()
                found[block.data_ptr()] = block.nbytes()
    return len(found), sum(found.values())


@pytest.mark.parametrize(
    ("name", "options"),
    [("naive", []), ("er", ["method.buffer_size=40"]), ("lwf", []), ("gpm", [])],
)
def test_a_run_holds_one_row_more_after_every_task_and_nothing_else(tmp_path, monkeypatch, name, options):
    tasks, after = 26, {}
    monkeypatch.setattr("clbench.runs.run.evaluate", lambda learner, method, columns, size: [(1, 2)] * len(columns))
    few = ["scenario=permuted_digits", f"scenario.n_tasks={tasks}", "trainer.iterations=2"]
    spec = make_spec(name, [*few, *options], results_dir=tmp_path)

    def report(message):
        if message["event"] == "task" and message["task"] in (5, 25):
            after[message["task"]] = live_tensors()

    prepare(spec, report).run()
    number, size = (late - early for early, late in zip(after[5], after[25], strict=True))
    row = torch.zeros(tasks, 2, dtype=torch.float64).nbytes
    assert number == 20
    assert size <= 20 * row if name == "gpm" else size == 20 * row  # a subspace that fills up takes less
