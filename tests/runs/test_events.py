"""The events of a run: when it is measured, with which model, and what a resumed run remembers."""

from __future__ import annotations

import pytest
import torch

from clbench.engine.evaluation.accuracy import evaluate
from clbench.runs.parallel_seeds import run_stacked
from clbench.runs.run import Run, prepare
from clbench.testing import make_spec

BRIEF = ("scenario.n_tasks=2", "trainer.epochs=2", "trainer.batch_size=100")


class Interruption(BaseException):
    """What a kill is to a process."""


def made(folder, *overrides, method="naive", told=None):
    return prepare(make_spec(method, [*BRIEF, *overrides], results_dir=folder), (told if told is not None else []).append)


def marks(result):
    return [(event["kind"], event["task"], event["step"]) for event in result["events"]]


def steps(run):
    """Return the number of steps of each task."""
    return [2 * -(-len(task.train) // 100) for task in run.stream.tasks]


def test_measurements_within_a_task_are_at_every_so_many_steps_from_its_beginning(tmp_path):
    run = made(tmp_path, "eval.every=3")
    wanted = [("untrained", -1, None)]
    for task, count in enumerate(steps(run)):
        wanted += [("within", task, step) for step in range(3, count + 1, 3)]
        wanted.append(("task", task, None))
    assert min(steps(run)) > 6
    assert marks(run.run().result) == wanted


def test_seeds_side_by_side_are_measured_at_the_same_steps(tmp_path):
    overrides = [*BRIEF, "eval.every=3"]
    specs = [make_spec("naive", overrides, seed=seed, results_dir=tmp_path) for seed in (0, 1)]
    records = run_stacked(specs, lambda spec, message: None)
    assert [record.provenance["stacked"] for record in records] == [2, 2]
    wanted = marks(made(tmp_path / "alone", "eval.every=3").run().result)
    assert [marks(record.result) for record in records] == [wanted] * 2


def test_every_row_is_of_the_model_at_its_event(tmp_path, monkeypatch):
    """The first row is of the untrained model, the last of the model at the end."""
    run, models = made(tmp_path), []
    measured = Run.measured

    def keep(self, row, kind, task, step):
        models.append({name: value.clone() for name, value in self.learner.model.state_dict().items()})
        measured(self, row, kind, task, step)

    monkeypatch.setattr(Run, "measured", keep)
    untrained = {name: value.clone() for name, value in run.learner.model.state_dict().items()}
    result = run.run().result
    assert all(torch.equal(value, models[0][name]) for name, value in untrained.items())
    assert all(torch.equal(value, models[-1][name]) for name, value in run.learner.model.state_dict().items())
    for row, model, event in zip(result["matrix"], models, result["events"], strict=True):
        run.learner.model.load_state_dict(model)
        run.learner.start(event["task"])
        assert row == [list(entry) for entry in evaluate(run.learner, run.method, run.stream.evaluation, run.eval_batch)]


def test_progress_shows_the_mean_over_tasks_of_unequal_size(tmp_path):
    told = []
    run = made(tmp_path, told=told)
    sizes = [len(column.split) for column in run.stream.evaluation]
    assert len(set(sizes)) > 1, "the sets differ in size"
    run.learner.start(1)
    run.measured([(sizes[0], sizes[0]), (0, sizes[1])], "task", 1, None)
    assert [message["acc"] for message in told if message["event"] == "task"] == [50]


@pytest.mark.parametrize("method", ["er", "ewc"])
def test_a_resumed_run_counts_what_was_done_before(tmp_path, monkeypatch, method):
    whole = made(tmp_path / "whole", method=method).run()
    save = Run.save

    def dies(run, task, alone=True):
        save(run, task, alone)
        raise Interruption

    monkeypatch.setattr(Run, "save", dies)
    with pytest.raises(Interruption):
        made(tmp_path / "part", method=method).run()
    monkeypatch.setattr(Run, "save", save)
    resumed = made(tmp_path / "part", method=method).run()
    assert resumed.result == whole.result
    assert resumed.provenance["resumed"] == 1
    assert resumed.cost["samples"] == whole.cost["samples"]
    assert resumed.cost["method_state_bytes"] == whole.cost["method_state_bytes"]
    assert len(resumed.cost["inference_ms"]) == len(whole.cost["inference_ms"])
