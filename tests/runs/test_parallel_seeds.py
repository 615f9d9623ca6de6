"""Runs side by side: the same records as one by one, from any interruption."""

import json
import signal
from dataclasses import replace

import pytest
import torch

import clbench.runs.parallel_seeds as module
from clbench.engine.replicas.stack import StackingError
from clbench.engine.training.loop import Training
from clbench.errors import DivergedError
from clbench.methods.ewc import EWC
from clbench.records import Record
from clbench.runs import checkpoint
from clbench.runs.parallel_seeds import run_stacked
from clbench.runs.run import Run
from clbench.testing import make_spec, run
from clbench.utils.time_limit import TooLongError

SEEDS = (0, 1, 2)


class Interruption(BaseException):
    """What a kill is to a process."""


def specs(folder, *overrides, method="ewc", seeds=SEEDS):
    return [make_spec(method, overrides, seed=seed, results_dir=folder) for seed in seeds]


def records(folder, *overrides, told=None, **options):
    made = run_stacked(
        specs(folder, *overrides, **options), lambda spec, message: told.append((spec, message)) if told is not None else None
    )
    assert all(isinstance(each, Record) for each in made), made
    return made


def test_records_are_those_of_single_runs(tmp_path):
    told = []
    made = records(tmp_path / "a", "eval.every=20", told=told)
    for spec, record in zip(specs(tmp_path / "b", "eval.every=20"), made, strict=True):
        alone = run(spec)
        assert record.identity == alone.identity
        assert record.provenance["stacked"] == 3
        assert alone.provenance["stacked"] == 1
        ours, theirs = record.result, alone.result
        assert [key for key in ours if key not in ("matrix", "curves") and ours[key] != theirs[key]] == []
        difference = torch.tensor(ours["matrix"]) - torch.tensor(theirs["matrix"])
        assert difference.abs().max() <= 2, "rounding may turn a sample or two"
        assert record.cost["samples"] == alone.cost["samples"]
        assert record.cost["method_state_bytes"] == alone.cost["method_state_bytes"]
        events = [message["event"] for told_spec, message in told if told_spec.id == record.id]
        assert events.count("task") == 5
        assert events[0] == "start"


def test_the_same_stack_gives_the_same_bits(tmp_path):
    once, again = (records(tmp_path / name) for name in "ab")
    assert [json.dumps(a.result) for a in once] == [json.dumps(b.result) for b in again]


@pytest.mark.parametrize(("method", "after"), [("ewc", 1), ("er", 4), ("si", 5), ("gpm", 7)])
def test_an_interrupted_stack_goes_on_to_the_same_bits(tmp_path, monkeypatch, method, after):
    """Killed after any checkpoint, in the middle of a round of checkpoints too."""
    whole = records(tmp_path / "whole", method=method)
    original, count = Run.save, 0

    def save(prepared, task, alone=True):
        nonlocal count
        original(prepared, task, alone)
        count += 1
        if count == after:
            raise Interruption

    monkeypatch.setattr(Run, "save", save)
    with pytest.raises(Interruption):
        records(tmp_path / "part", method=method)
    monkeypatch.setattr(Run, "save", original)
    learned = []
    learn = Training.begin
    monkeypatch.setattr(Training, "begin", lambda training, task: (learned.append(task.index), learn(training, task))[1])
    resumed = records(tmp_path / "part", method=method)
    assert [json.dumps(a.result) for a in whole] == [json.dumps(b.result) for b in resumed]
    assert min(learned) == after // 3, "goes on where all of them were"
    assert all(record.provenance["resumed"] == (after >= 3) for record in resumed)


def test_checkpoints_are_small_and_few(tmp_path, monkeypatch):
    sizes = []
    finish = Run.finish

    def look(prepared, stacked=1):
        (path,) = prepared.spec.checkpoints.glob("*.pt")
        sizes.append(path.stat().st_size)
        return finish(prepared, stacked)

    monkeypatch.setattr(Run, "finish", look)
    records(tmp_path / "a", method="naive")
    run(make_spec("naive", results_dir=tmp_path / "b"))
    assert max(sizes[:3]) < 1.1 * sizes[3], "a replica's checkpoint holds its own weights, not the stack's"


def test_what_cannot_be_stacked_runs_one_by_one_and_says_why(tmp_path):
    told = []
    made = records(tmp_path, method="gdumb", told=told)
    assert [record.provenance["stacked"] for record in made] == [1, 1, 1]
    (text,) = [message["text"] for _, message in told if message["event"] == "print"]
    assert text == "split_digits class gdumb (epochs=1): seeds run one by one: GDumb has its own fit"


def limited(folder, limits):
    """Return runs with a limit each; a limit below a second is for a run that never ends."""
    every = specs(folder, seeds=range(len(limits)))
    return [replace(spec, execution=replace(spec.execution, time_limit=limit)) for spec, limit in zip(every, limits, strict=True)]


def forever_if_short(spec):
    while spec.execution.time_limit < 1:
        signal.pause()
    return Record(spec.identity)


def ends(specs):
    """Return what ended each run, and the time limits that were reported."""
    clocks = []
    made = run_stacked(specs, lambda spec, message: clocks.append(message["seconds"]) if message["event"] == "clock" else None)
    return [type(each) for each in made], clocks


def test_runs_one_by_one_have_a_time_limit_each(tmp_path, monkeypatch):
    def cannot(*_):
        raise StackingError("a reason")

    monkeypatch.setattr(module, "_in_lockstep", cannot)
    monkeypatch.setattr(module, "train_run", lambda spec, report: forever_if_short(spec))
    found, clocks = ends(limited(tmp_path, [60, 0.05, 0.1, 60]))
    assert found == [Record, TooLongError, TooLongError, Record]
    assert clocks == [240, 60, 0.05, 0.1, 60]


def test_a_stack_that_was_halved_has_a_time_limit_for_each_half(tmp_path, monkeypatch):
    def train(some, report, outcomes):
        if len(some) == 4:
            raise torch.OutOfMemoryError
        outcomes.update({spec.id: forever_if_short(spec) for spec in some})

    monkeypatch.setattr(module, "_in_lockstep", train)
    found, clocks = ends(limited(tmp_path, [60, 60, 0.05, 0.05]))
    assert found == [Record, Record, TooLongError, TooLongError]
    assert clocks == [240, 120, 0.1]


def test_seeds_that_were_interrupted_elsewhere_lose_nothing(tmp_path, monkeypatch):
    """One seed alone got through two tasks; the others have not begun: it goes on by itself."""
    original = Run.save

    def save(prepared, task, alone=True):
        original(prepared, task, alone)
        if task.index == 1:
            raise Interruption

    monkeypatch.setattr(Run, "save", save)
    first, *rest = specs(tmp_path)
    with pytest.raises(Interruption):
        run(first)
    monkeypatch.setattr(Run, "save", original)
    assert checkpoint.stored(first.checkpoints) == [1]
    made = run_stacked([first, *rest], lambda spec, message: None)
    assert [record.provenance["resumed"] for record in made] == [1, 0, 0]
    assert [record.provenance["stacked"] for record in made] == [1, 2, 2]
    assert made[0].result == run(make_spec("ewc", results_dir=tmp_path / "apart")).result


def test_a_seed_that_diverges_fails_alone(tmp_path, monkeypatch):
    prepare = module.prepare

    def poisoned(spec, report):
        prepared = prepare(spec, report)
        if spec.seed == 1:
            with torch.no_grad():
                prepared.learner.model.heads[0].weight.fill_(float("nan"))
        return prepared

    monkeypatch.setattr(module, "prepare", poisoned)
    made = run_stacked(specs(tmp_path), lambda spec, message: None)
    assert isinstance(made[1], DivergedError)
    assert isinstance(made[0], Record)
    assert isinstance(made[2], Record)
    assert checkpoint.stored(specs(tmp_path)[1].checkpoints) == []


def test_only_one_configuration_at_a_time(tmp_path):
    with pytest.raises(ValueError, match="one configuration"):
        run_stacked(
            [make_spec("naive", results_dir=tmp_path), make_spec("ewc", results_dir=tmp_path)], lambda spec, message: None
        )


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_seed_whose_hook_fails_leaves_the_other_seeds_their_records(tmp_path, monkeypatch, kind):
    end_task = EWC.end_task

    def unlucky(self, learner, task, history):
        if learner.seed == 1 and task.index == 1:
            raise kind("unlucky")
        end_task(self, learner, task, history)

    monkeypatch.setattr(EWC, "end_task", unlucky)
    told = []
    made = run_stacked(specs(tmp_path), lambda spec, message: told.append((spec.seed, message)))
    assert [type(each) for each in made] == [Record, kind, Record]
    (text,) = [message["text"] for _, message in told if message["event"] == "print"]
    assert text == (
        f"split_digits class ewc (epochs=1): seeds run one by one, since one of them failed: {kind.__name__}: unlucky"
    )
